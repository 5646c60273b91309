// Draws the page's diagrams, and draws them again when the reader changes between light and dark.
(function () {
  "use strict";
  const blocks = Array.from(document.querySelectorAll("pre.mermaid"));
  const sources = blocks.map((block) => block.textContent);

  async function draw() {
    const dark = document.documentElement.dataset.theme === "dark";
    window.mermaid.initialize({
      startOnLoad: false,
      securityLevel: "strict",
      theme: dark ? "dark" : "neutral",
      fontFamily: "inherit",
    });
    blocks.forEach((block, i) => {
      block.removeAttribute("data-processed");
      block.textContent = sources[i];
    });
    await window.mermaid.run({ nodes: blocks });
  }

  function start() {
    draw();
    new MutationObserver(draw).observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["data-theme"],
    });
  }
  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();

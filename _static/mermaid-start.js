// Draws the page's diagrams, and draws them again when the reader changes between light and dark.
(function () {
  "use strict";
  const blocks = Array.from(document.querySelectorAll("pre.mermaid"));
  const sources = blocks.map((block) => block.textContent);

  // Dark text on light boxes, or the other way round; both pass the contrast rules.
  const colours = {
    light: { primaryColor: "#e6f1f8", primaryTextColor: "#1a1a1a", primaryBorderColor: "#0072b2", lineColor: "#4a4a4a" },
    dark: { primaryColor: "#1d3447", primaryTextColor: "#f2f2f2", primaryBorderColor: "#6cc3f0", lineColor: "#c8c8c8" },
  };

  async function draw() {
    const dark = document.documentElement.dataset.theme === "dark";
    window.mermaid.initialize({
      startOnLoad: false,
      securityLevel: "strict",
      theme: "base",
      themeVariables: { darkMode: dark, ...colours[dark ? "dark" : "light"] },
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

"""Keep the built site free of content networks.

MathJax comes from ``_static/vendor`` by the ordinary ``mathjax_path`` setting. Three things have no
such setting, and are done here:

* Jupyter Book adds every script below ``_static`` to every page: the vendored ones are taken off
  again, so that only a page with formulas or diagrams loads them;
* sphinxcontrib-mermaid starts Mermaid through a JavaScript module, which browsers refuse for pages
  opened from disk: diagrams are drawn by the plain script instead, again when the theme changes;
* sphinx-thebe writes the address of its script into every page, used or not: it is silenced.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinxcontrib.mermaid import mermaid

logger = logging.getLogger(__name__)

MERMAID_SCRIPTS = ("vendor/mermaid/mermaid.min.js", "mermaid-start.js")


def drop_page_wide_scripts(app: Sphinx, config: Config) -> None:
    """Remove what only some pages need from the scripts of all pages."""

    def wanted(entry: Any) -> bool:
        name = entry if isinstance(entry, str) else entry[0]
        return not name.startswith("vendor/") and name not in MERMAID_SCRIPTS

    config.html_js_files = [entry for entry in config.html_js_files if wanted(entry)]


def visit_mermaid(self: Any, node: nodes.Element) -> None:
    """The diagram's source in a block; ``alt`` is what a screen reader says of it."""
    alt = node.get("alt", "")
    if not alt:
        logger.warning("a mermaid diagram needs an :alt: text", location=node)
    attributes = {"role": "img", "aria-label": alt, "CLASS": "mermaid"}
    self.body.append(self.starttag(node, "pre", "", **attributes))
    self.body.append(f"{self.encode(node['code'])}</pre>\n")
    raise nodes.SkipNode


def add_mermaid(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Load Mermaid on the pages that hold a diagram."""
    if doctree is not None and doctree.next_node(mermaid):
        for name in MERMAID_SCRIPTS:
            app.add_js_file(name, loading_method="defer")


def drop_thebe(app: Sphinx, config: Config) -> None:
    """No page offers live code, so none needs Thebe. Jupyter Book loads it in any case: it stays
    without effect once none of its handlers is called."""
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]
    styles = app.registry.css_files
    styles[:] = [entry for entry in styles if "sphinx-thebe" not in entry[0]]


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinxcontrib.mermaid")
    app.config.mermaid_output_format = "svg"  # anything but "raw": keeps its module script away
    app.add_node(mermaid, override=True, html=(visit_mermaid, None))
    app.connect("config-inited", drop_page_wide_scripts)
    app.connect("config-inited", drop_thebe)
    app.connect("html-page-context", add_mermaid)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

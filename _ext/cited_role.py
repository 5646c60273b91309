"""The role ``{cited}`0.952` ``: a number quoted from a source, not measured by this book.

In HTML it is a marked span whose tooltip says so; in LaTeX and every other format it is plain text.
The test on prose accepts a decimal only when it is glued from a cell or stands in this role.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

TOOLTIP = "Quoted from the cited source; not measured by this book"


class cited(nodes.Inline, nodes.TextElement):
    """A quoted number."""


def cited_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: dict | None = None,
    content: list | None = None,
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Turn the role's text into one node; an empty role is a mistake worth a warning."""
    if not text.strip():
        message = inliner.reporter.error("{cited} needs the quoted number", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    return [cited(rawtext, text)], []


def visit_html(self: Any, node: cited) -> None:
    self.body.append(self.starttag(node, "span", "", CLASS="cited", title=TOOLTIP))


def depart_html(self: Any, node: cited) -> None:
    self.body.append("</span>")


def visit_plain(self: Any, node: cited) -> None:
    """Plain text: the number alone."""


def setup(app: Sphinx) -> dict[str, Any]:
    plain = (visit_plain, visit_plain)
    app.add_node(
        cited, html=(visit_html, depart_html), latex=plain, text=plain, man=plain, texinfo=plain
    )
    app.add_role("cited", cited_role)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

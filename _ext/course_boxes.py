"""Give the recurring boxes of a section their own class, by their title.

docutils derives a class from a box's title only where the author gives none, so ``:class: tip``
would change the look of *Predict first* from page to page. Here the title decides, always.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

BOXES = {
    "predict first": "course-predict",
    "what the articles say": "course-verdict",
    "pitfall": "course-pitfall",
    "to come": "course-to-come",
}


class CourseBoxes(SphinxTransform):
    """Adds the class of the first box whose words begin the title."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for box in self.document.findall(nodes.admonition):
            title = box.next_node(nodes.title)
            words = title.astext().strip().lower() if title is not None else ""
            for start, name in BOXES.items():
                if words.startswith(start):
                    box["classes"] = ["course-box", name]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(CourseBoxes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""What every page of the book owes a reader who cannot see it, or is offline.

* A figure gets an alternative text: the first sentences of its caption, which is the paragraph
  after the cell.
* A figure without such a caption is a warning, so the build fails.
* A full stop or a comma is never alone at the beginning of a line.
* Scripts for live kernels, which the theme declares twice, and for which the book has no use, are
  left out.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

LONGEST = 250  # characters of alternative text; the caption below the figure says the rest
SHORT = 28  # characters of TeX that surely fit a line of a phone
OPENING = re.compile(r"[(\[“\"]+$")
MARK = re.compile(r"[.,;:?!)\]”\"’']+")
log = logging.getLogger(__name__)


def plain_text(node: nodes.Node) -> str:
    """The text of a paragraph on one line, with the commands of its mathematics spelt without
    backslashes.
    """
    return re.sub(r"\s+", " ", re.sub(r"[\\{}]|\\,", "", node.astext())).strip()


def first_sentences(text: str, longest: int = LONGEST) -> str:
    """As many whole sentences of ``text`` as fit into ``longest`` characters, at least one, cut if
    it must be.
    """
    sentences = re.split(r"(?<=[.:;])\s+(?=[A-Z\"'(])", text)
    kept = sentences[0]
    for sentence in sentences[1:]:
        if len(kept) + 1 + len(sentence) > longest:
            break
        kept += " " + sentence
    return kept if len(kept) <= 2 * longest else kept[:longest].rsplit(" ", 1)[0] + " …"


def caption_of(image: nodes.image) -> nodes.Node | None:
    """The paragraph after the cell of an image, if it is a caption: emphasised, or opened by a bold
    **Figure.**
    """
    cell = image
    while cell.parent is not None and "cell" not in cell.get("classes", []):
        cell = cell.parent
    if cell.parent is None:
        return None
    following = cell.parent[cell.parent.index(cell) + 1 :]
    after = next(
        (node for node in following if not isinstance(node, nodes.comment | nodes.target)), None
    )
    start = next((node for node in after or [] if node.astext()), None)
    return (
        after
        if isinstance(after, nodes.paragraph) and isinstance(start, nodes.emphasis | nodes.strong)
        else None
    )


class AlternativeText(SphinxTransform):
    """Gives every image in the output of a cell the text of its caption."""

    default_priority = 880  # after the cells have become images and the substitutions are made

    def apply(self, **kwargs):
        for image in self.document.findall(nodes.image):
            if image.get("alt"):
                continue
            caption = caption_of(image)
            if caption is None:
                log.warning(
                    "a figure without alternative text: put its caption, *emphasised* or opened by "
                    "**Figure.**, right after the cell",
                    location=image,
                )
            else:
                image["alt"] = first_sentences(re.sub(r"^Figure\.\s*", "", plain_text(caption)))


class NoLonelyMarks(SphinxTransform):
    """Keeps a short formula on one line with the bracket before and the mark after it.

    A browser may break a line on either side of a formula, even before a full stop.
    """

    default_priority = 881

    def apply(self, **kwargs):
        for formula in list(self.document.findall(nodes.math)):
            parent = formula.parent
            place = parent.index(formula)
            before = parent[place - 1] if place else None
            after = parent[place + 1] if place + 1 < len(parent) else None
            opening = OPENING.search(before) if isinstance(before, nodes.Text) else None
            mark = MARK.match(after) if isinstance(after, nodes.Text) else None
            if len(formula.astext()) > SHORT or not (opening or mark):
                continue
            together = nodes.inline("", "", classes=["together"])
            parent.replace(formula, together)
            if opening:
                parent.replace(before, nodes.Text(before[: opening.start()]))
                together += nodes.Text(opening.group())
            together += formula
            if mark:
                parent.replace(after, nodes.Text(after[mark.end() :]))
                together += nodes.Text(mark.group())


def without_live_kernels(app: Sphinx) -> None:
    """Take the extension for live kernels out of the build; the book's cells run in the reader's
    own Jupyter.
    """
    for listeners in app.events.listeners.values():
        listeners[:] = [
            one
            for one in listeners
            if not getattr(one.handler, "__module__", "").startswith("sphinx_thebe")
        ]


def list_roles(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Entries of the bibliography are items of a list: the role they are given is no longer one."""
    if context.get("body"):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def bibliography_again(app: Sphinx, env) -> list[str]:
    """The places that citations lead to are numbered anew with every changed chapter: write that
    page in every build.
    """
    return [page for page in env.found_docs if page.endswith("/bibliography")]


def setup(app: Sphinx) -> dict:
    app.connect("env-updated", bibliography_again)
    app.add_transform(AlternativeText)
    app.add_transform(NoLonelyMarks)
    app.connect("builder-inited", without_live_kernels, priority=0)
    app.connect("html-page-context", list_roles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

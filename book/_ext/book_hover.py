"""Words of the glossary and symbols of the notation say what they mean under the pointer.

The first time that a page uses a term of ``about/glossary`` or a symbol of ``notation``, it becomes
a link to its definition, whose first sentence is the link's title.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parents[1]
GLOSSARY, NOTATION = "book/about/glossary", "book/notation"
NOT_IN = (
    nodes.reference | nodes.title | nodes.literal | nodes.literal_block | nodes.raw | nodes.table
)
SYMBOLS_OF_TERMS = {"F^*": "F*", "F^*(\\theta)": "F*"}


def plain(text: str) -> str:
    """A definition as a title: without links, emphasis and TeX commands.

    >>> plain("The *orbit*: $F^*$, see {doc}`/book/a4_symmetry`.")
    'The orbit: F*, see.'
    """
    text = re.sub(r"\s*\{\w+\}`[^`]*`,?", "", text)
    text = re.sub(r"\\(operatorname|mathbb|mathfrak)\b", "", text)
    text = re.sub(r"(?<!F)\*", "", re.sub(r"[`{}$\\^]", "", text))
    return re.sub(r"\s+", " ", text).strip()


@cache
def terms() -> dict[str, str]:
    """Term -> its definition, from the glossary."""
    text = (BOOK / "about" / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"^```\{glossary\}\n(.*?)^```", text, re.M | re.S)[1]
    entries = re.findall(r"^(\S.*)\n((?:  .+\n?)+)", body, re.M)
    return {term.strip(): plain(definition) for term, definition in entries}


@cache
def symbols() -> dict[str, str]:
    """TeX of a symbol -> its meaning, from the tables of the notation; what shares a row with
    others is left out.
    """
    text = (BOOK / "notation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \$([^$|]+)\$ \| ([^|]+) \|", text, re.M)
    return {tex.strip(): plain(meaning) for tex, meaning in rows}


def link(child: nodes.Node, address: str, title: str) -> nodes.reference:
    return nodes.reference(
        "", "", child, internal=True, refuri=address, reftitle=title, classes=["hover"]
    )


def inside(node: nodes.Node) -> bool:
    """Whether a text stands where a link may."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, NOT_IN) or "cell" in getattr(node, "attributes", {}).get("classes", []):
            return False
    return True


def define(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make the links of one page."""
    if not re.match(r"book/([abc]\d_\w+|index|own_network|playground)$", page):
        return
    if app.builder.format != "html":
        return
    relative = app.builder.get_relative_uri
    glossary, notation = relative(page, GLOSSARY), relative(page, NOTATION)
    left = dict(terms())
    signs = dict(symbols())
    for math in list(doctree.findall(nodes.math)):
        tex = math.astext().strip()
        term = SYMBOLS_OF_TERMS.get(tex)
        if term in left and inside(math):
            title = left.pop(term)
            math.replace_self(link(math.deepcopy(), f"{glossary}#{places(app)[term]}", title))
        elif tex in signs and inside(math):
            math.replace_self(link(math.deepcopy(), notation, f"{signs.pop(tex)}"))
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.paragraph) or not inside(text):
            continue
        pieces: list[nodes.Node] = [text]
        for term in [term for term in left if term != "F*"]:
            for place, piece in enumerate(pieces):
                found = isinstance(piece, nodes.Text) and re.search(
                    rf"\b{re.escape(term)}s?\b", piece, 0 if term.isupper() else re.I
                )
                if found:
                    word = link(
                        nodes.Text(found[0]), f"{glossary}#{places(app)[term]}", left.pop(term)
                    )
                    before, after = piece[: found.start()], piece[found.end() :]
                    new = [nodes.Text(before), word, nodes.Text(after)]
                    pieces[place : place + 1] = [n for n in new if n.astext()]
                    break
        if len(pieces) > 1:
            text.parent.replace(text, pieces)


def places(app: Sphinx) -> dict[str, str]:
    """Term -> its anchor in the glossary, as Sphinx numbered it."""
    objects = app.env.get_domain("std").get_objects()
    return {shown: where for _, shown, kind, _, where, _ in objects if kind == "term"}


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", define)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

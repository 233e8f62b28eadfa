"""What a reader can take away: every figure as SVG and PDF, every statement as a BibTeX entry.

* A figure that a notebook holds as SVG and PDF gets two links below it; the files stand in
  ``_figures`` of the rendered book.
* ``statements.bib`` holds the book and every labelled statement with its place; the line
  ``{{ entry of the book }}`` becomes the book's own entry.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from book_statements import BOOK, statements
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

FOLDER = "_figures"


def vectors(notebook: Path) -> Iterator[tuple[str, bytes]]:
    """The figures of a notebook that are there as SVG and as PDF, in its order."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/svg+xml" in data and "application/pdf" in data:
                pdf = base64.b64decode("".join(data["application/pdf"]))
                yield "".join(data["image/svg+xml"]), pdf


class FigureLinks(SphinxTransform):
    """Two links below every figure of a chapter that can be taken away."""

    default_priority = 890

    def apply(self, **kwargs):
        chapter = self.env.docname.removeprefix("book/")
        notebook = BOOK / f"{chapter}.ipynb"
        if "/" in chapter or not notebook.is_file():
            return
        number = sum(1 for _ in vectors(notebook))
        shown = [
            image for image in self.document.findall(nodes.image) if image["uri"].endswith(".svg")
        ]
        if len(shown) != number:
            return  # a cell hides its picture: which is which is not known
        for count, image in enumerate(shown, start=1):
            name = f"{chapter}_{count}"
            links = " ".join(
                f'<a class="take-away" download href="../{FOLDER}/{name}.{kind}" '
                f'title="this figure as {kind.upper()}">{kind.upper()}</a>'
                for kind in ("svg", "pdf")
            )
            place = image.parent
            html = f'<div class="take-aways">{links}</div>'
            place.insert(place.index(image) + 1, nodes.raw("", html, format="html"))


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """The files that the links lead to."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(exist_ok=True)
    for notebook in sorted(BOOK.glob("*.ipynb")):
        if f"book/{notebook.stem}" in app.env.found_docs:
            for count, (svg, pdf) in enumerate(vectors(notebook), start=1):
                (folder / f"{notebook.stem}_{count}.svg").write_text(svg, encoding="utf-8")
                (folder / f"{notebook.stem}_{count}.pdf").write_bytes(pdf)
    text = "\n".join([entry_of_the_book(), *entries_of_statements()])
    (folder / "statements.bib").write_text(text, encoding="utf-8")


def entry_of_the_book() -> str:
    """The BibTeX entry, from CITATION.cff."""
    text = (BOOK.parent / "CITATION.cff").read_text(encoding="utf-8")
    version = re.search(r"^version: *(\S+)", text, re.M)[1]
    year = re.search(r"^date-released: *(\d{4})", text, re.M)[1]
    return (
        "@book{flatorweak,\n  title = {Flat or Weak?},\n"
        "  author = {{The authors of Flat or Weak?}},\n"
        f"  year = {{{year}}},\n  note = {{Executable book, version {version}}}\n}}\n"
    )


def entries_of_statements() -> Iterator[str]:
    """One entry a statement: its title, and the page and the place in the book."""
    for path in sorted(BOOK.glob("[abc]*_*.md")):
        text = path.read_text(encoding="utf-8")
        chapter = re.search(r"^# (.+)$", text, re.M)[1]
        for one in statements(text):
            title = f"{one.kind.capitalize()}: {one.title}" if one.title else one.kind.capitalize()
            yield (
                f"@incollection{{flatorweak:{one.label},\n  title = {{{title}}},\n"
                f"  booktitle = {{Flat or Weak?}},\n  chapter = {{{chapter}}},\n"
                f"  crossref = {{flatorweak}},\n"
                f"  note = {{book/{path.stem}.html\\#{one.label}}}\n}}\n"
            )


def entry(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the book's entry in its place."""
    line = "{{ entry of the book }}"
    if line in source[0]:
        source[0] = source[0].replace(line, f"```bibtex\n{entry_of_the_book()}```")


def setup(app: Sphinx) -> dict:
    app.connect("source-read", entry)
    app.add_transform(FigureLinks)
    app.connect("build-finished", write_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

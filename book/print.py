"""Print the rendered book into one PDF, chapter by chapter, with an installed Chromium or Chrome.

    python book/print.py [HTML_FOLDER]

Needs `pip install -r requirements-browser.txt`. The mathematics is typeset before a page is
printed, solutions are open, links between chapters lead to the chapter in the PDF, and the front
page gets a link to the file.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

ROOT = Path(__file__).resolve().parents[1]
NAME = "flat-or-weak.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPEN = """() => {
  document.querySelectorAll('details').forEach(element => { element.open = true });
  document.querySelectorAll('.toggle-hidden')
    .forEach(element => element.classList.remove('toggle-hidden'));
  document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'light';
  return window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0;
}"""


def pages(html: Path) -> list[Path]:
    """The pages to print, in the order of the contents: the chapters, without the descriptions of
    the functions.
    """
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [contents["root"]] + [
        chapter["file"] for part in contents["parts"] for chapter in part["chapters"]
    ]
    return [html / f"{file}.html" for file in files if not file.startswith("book/api/")]


def printed(html: Path, browser: str) -> list[tuple[Path, str, PdfReader]]:
    """(page, title, its PDF) for every page."""
    found = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=browser,
            args=["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [],
        )
        page = chromium.new_context(offline=True).new_page()
        page.set_default_timeout(300_000)
        for path in pages(html):
            page.goto(path.as_uri(), wait_until="load")
            page.evaluate(OPEN)
            page.emulate_media(media="print")
            data = page.pdf(
                format="A4",
                scale=0.72,
                print_background=True,
                margin={"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
            )
            title = page.locator("h1").first.inner_text().rstrip("#").strip()
            found.append((path, title, PdfReader(io.BytesIO(data))))
            print(f"printed {path.stem}: {len(found[-1][2].pages)} pages", flush=True)
        chromium.close()
    return found


def bound(chapters: list[tuple[Path, str, PdfReader]], html: Path) -> PdfWriter:
    """All chapters in one file, with an outline; links to other chapters go to their first page."""
    book, starts = PdfWriter(), {}
    for path, title, reader in chapters:
        starts[path.as_uri()] = len(book.pages)
        book.append(reader, outline_item=title)
    book.add_metadata({"/Title": "Flat or Weak?"})
    for page in book.pages:
        kept = ArrayObject()
        for reference in page.get("/Annots") or []:
            link = reference.get_object()
            address = str((link.get("/A") or {}).get("/URI", ""))
            if address.startswith(html.as_uri()):
                start = starts.get(address.partition("#")[0])
                if start is None:
                    continue  # a page that is not printed
                del link["/A"]
                link[NameObject("/Dest")] = ArrayObject(
                    [book.pages[start].indirect_reference, NameObject("/Fit")]
                )
            kept.append(reference)
        page[NameObject("/Annots")] = kept
    return book


def main(arguments: list[str]) -> int:
    html = Path(arguments[0] if arguments else ROOT / "_build" / "html").resolve()
    browser = os.environ.get("FLATNESS_CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if not (html / "book" / "index.html").is_file():
        print(f"no rendered book in {html}: run `make book` first", file=sys.stderr)
        return 1
    if not browser:
        print(
            f"no browser found (looked for {', '.join(BROWSERS)}); name one in FLATNESS_CHROMIUM",
            file=sys.stderr,
        )
        return 1
    book = bound(printed(html, browser), html)
    book.compress_identical_objects()
    book.write(html / NAME)
    front = html / "book" / "index.html"
    text, link = (
        front.read_text(encoding="utf-8"),
        f'<p><a class="reference download" href="../{NAME}">This book as a PDF</a></p>\n',
    )
    if link not in text:
        front.write_text(text.replace("</article>", link + "</article>", 1), encoding="utf-8")
    print(f"{html / NAME}: {len(book.pages)} pages, {(html / NAME).stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The page of all statements, read from the chapters when the book is rendered.

The line ``{{ statements of the book }}`` becomes one table per chapter: every definition, lemma,
proposition, theorem and corollary with its beginning, and the assertion that first follows it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parents[1]
KINDS = "definition|lemma|proposition|theorem|corollary|conjecture"
PIECE = re.compile(
    rf"^(?P<fence>`{{3,}}|:{{3,}})\{{(?:prf:(?P<kind>{KINDS})|(?P<cell>code-cell))\}}"
    r"(?P<title>[^\n]*)\n(?P<body>.*?)^(?P=fence)\s*$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Statement:
    """A labelled statement of a chapter, and the first assertion after it and before the next."""

    kind: str
    label: str
    title: str
    beginning: str
    check: str


def statements(chapter: str) -> list[Statement]:
    """Those of one chapter, from its source, in its order."""
    found: list[Statement] = []
    for piece in PIECE.finditer(chapter):
        if piece["kind"]:
            label = re.search(r"^:label: *(\S+)", piece["body"], re.M)
            text = re.sub(r"^:\w+:.*\n", "", piece["body"], flags=re.M).strip()
            if label:
                kind, title = piece["kind"], piece["title"].strip()
                found.append(Statement(kind, label[1], title, beginning(text), ""))
        elif found and not found[-1].check and (check := first_assertion(piece["body"])):
            last = found.pop()
            found.append(Statement(last.kind, last.label, last.title, last.beginning, check))
    return found


TOKEN = re.compile(
    r"(?:[^\s$`]*(?:\$[^$]*\$|`[^`]*`))+[^\s$`]*|\S+"
)  # formulas and names in one piece


def beginning(text: str, longest: int = 220) -> str:
    """The first sentence, or as much of it as fits, with no formula cut in two. What begins with a
    displayed formula begins after it.

    >>> beginning("Let $n > d$. Then it holds.")
    'Let $n > d$.'
    >>> beginning("$$f = 0$$\\n\\nfor all $x$. Then"), beginning("Let $|x| = 1$ and more", 12)
    ('… for all $x$.', 'Let $\\\\vert x\\\\vert  = 1$ …')
    """
    text = re.sub(r"\A1\. ", "", text)  # a list: its first item
    after = re.sub(r"\A\$\$.*?\$\$(?: *\([\w-]+\))?\s*", "", text, flags=re.S)
    paragraph = re.split(r"\n\s*\n|\n\$\$|\n(?=[-*] |\d+\. )", after)[0].replace("\n", " ")
    sentence = re.split(r"(?<=[.:])\s+(?=[A-Z(])|(?<=\.)\s+(?=[$*])", paragraph)[0].strip()
    words, shown = TOKEN.findall(sentence), ""
    for word in words:
        if len(shown) + len(word) > longest:
            shown += " …"
            break
        shown += f" {word}" if shown else word
    shown = re.sub(r"(\{doc\}`)(?!/)", r"\1/book/", shown)
    shown = shown.replace(r"\|", r"\Vert ").replace("|", r"\vert ")
    return f"… {shown}" if after != text and shown else shown or "…"


def first_assertion(code: str, longest: int = 90) -> str:
    """The first assertion of a cell on one line, shortened.

    >>> first_assertion("x = 1\\nassert x == 1")
    'assert x == 1'
    """
    code = "\n".join("" if line.startswith((":", "%")) else line for line in code.splitlines())
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assert):
            text = " ".join(ast.unparse(node).split())
            return text if len(text) <= longest else text[: longest - 2] + " …"
    return ""


def table(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the tables in their place."""
    line = "{{ statements of the book }}"
    if line not in source[0]:
        return
    sections = []
    for path in sorted(BOOK.glob("[abc]*_*.md")):
        text = path.read_text(encoding="utf-8")
        rows = [
            f"| {{prf:ref}}`{s.label}`<br>{s.title} | {s.beginning} | "
            + (f"`{s.check}`" if s.check else "–").replace("|", "\\|")
            + " |"
            for s in statements(text)
        ]
        if rows:
            title = re.search(r"^# (.+)$", text, re.M)[1]
            head = "| | begins | first check after it |\n|---|---|---|"
            where = f"In {{doc}}`/book/{path.stem}`.\n"
            sections.append("\n".join([f"## {title}\n", where, head, *rows]))
    source[0] = source[0].replace(line, "\n\n".join(sections))


def pages_of_statements(app: Sphinx, env, added, changed, removed) -> list[str]:
    """They depend on all chapters: read them again in every build."""
    return [page for page in env.found_docs if page.endswith("/statements")]


def setup(app: Sphinx) -> dict:
    app.connect("source-read", table)
    app.connect("env-get-outdated", pages_of_statements)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Pages of the package's functions, made from their docstrings, and the links between them and the
chapters.

* In a page under ``book/api/`` the line ``{{ modules of "GROUP" }}`` becomes the documentation of
  the modules that the README lists under GROUP, and every function says which chapters use it.
* In a chapter every `flatness.module.name` in code type becomes a link, and so do the short names
  after it in the list "Functions used".
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
SOURCE = ROOT / "src"
PACKAGES = ("flatness", "flat_or_weak")


# ---- which modules, which functions, which chapters


def groups() -> dict[str, list[str]]:
    """Room -> the dotted names of its public modules; modules outside of rooms are in the group of
    their package.
    """
    table: dict[str, list[str]] = {}
    for name in sorted(all_modules()):
        table.setdefault(name.rpartition(".")[0], []).append(name)
    return table


@cache
def all_modules() -> frozenset[str]:
    """Dotted names of the public modules of the two packages, without the rooms themselves."""
    files = [path for package in PACKAGES for path in (SOURCE / package).rglob("*.py")]
    found = {".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in files}
    return frozenset(name for name in found if not any(p.startswith("_") for p in name.split(".")))


def _ours(name: str) -> bool:
    return name.split(".")[0] in PACKAGES


@cache
def canonical(name: str) -> str | None:
    """``flatness.module`` or ``flatness.module.object``, where the object is defined; None if there
    is no such thing.
    """
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:depth]))
        except ImportError:
            continue
        for attribute in parts[depth:]:
            if not hasattr(thing, attribute):
                return None
            thing = getattr(thing, attribute)
        if inspect.ismodule(thing):
            return thing.__name__ if _ours(thing.__name__) else None
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            return None
        home, qualified = (
            getattr(thing, "__module__", None) or "",
            getattr(thing, "__qualname__", ""),
        )
        return f"{home}.{qualified}" if _ours(home) else None
    return None


def names_used(code: str) -> set[str]:
    """Canonical names of the functions and classes of the package that a piece of code mentions."""
    tree, known = ast.parse(code), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _ours(node.module or ""):
            known.update(
                {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            )
        elif isinstance(node, ast.Import):
            known.update(
                {
                    alias.asname or alias.name.split(".")[0]: alias.name
                    if alias.asname
                    else alias.name.split(".")[0]
                    for alias in node.names
                    if _ours(alias.name)
                }
            )
    mentioned = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            path = ast.unparse(node)
            head, _, rest = path.partition(".")
            if head in known and re.fullmatch(r"[\w.]+", path):
                mentioned.add(known[head] + (f".{rest}" if rest else ""))
    return {name for name in map(canonical, mentioned) if name and name not in all_modules()}


@cache
def users() -> dict[str, list[str]]:
    """Function or class -> the chapters whose cells mention it, in the order of their names."""
    found = defaultdict(set)
    for path in sorted(BOOK.glob("*.ipynb")):
        cells = [
            cell
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == "code"
        ]
        code = "\n".join(
            "".join(cell["source"]) for cell in cells if not "".join(cell["source"]).startswith("%")
        )
        for name in names_used(code):
            found[name].add(path.stem)
    return {name: sorted(chapters) for name, chapters in found.items()}


# ---- pages of functions


def document_group(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace ``{{ modules of "GROUP" }}`` by one section per module of the group."""

    def sections(match: re.Match) -> str:
        table = groups()
        if match[1] not in table:
            raise KeyError(f"{page}: there is no room {match[1]!r}, only {', '.join(table)}")
        room = f"```{{eval-rst}}\n.. automodule:: {match[1]}\n   :no-members:\n```"
        return "\n\n".join(
            [room]
            + [
                f"## {name.rpartition('.')[2]}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```"
                for name in table[match[1]]
            ]
        )

    source[0] = re.sub(r'^\{\{ modules of "(.+)" \}\}$', sections, source[0], flags=re.M)


def pages_of_functions(app: Sphinx, env, added, changed, removed) -> list[str]:
    """They depend on all chapters and on the README: read them again in every build."""
    return [page for page in env.found_docs if page.startswith("book/api/")]


def as_written(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Turn a plain docstring into reStructuredText that shows it as it is written.

    Paragraphs stay paragraphs with their special characters escaped, `code` stays code, titles
    underlined by dashes become bold lines, examples and displayed formulas stay what they are, and
    what is indented keeps its line breaks.
    """
    out, block, pages = [], [], app.env.found_docs

    def flush():
        text, block[:] = list(block), []
        if not text:
            return
        if text[0].startswith(".. math::"):
            out.extend([*text, ""])
        elif text[0].lstrip().startswith(">>>"):
            out.extend([*inspect.cleandoc("\n".join(text)).splitlines(), ""])
        elif any(line.startswith(" ") for line in text):  # a list of parameters, or a formula
            out.extend(
                [
                    "| "
                    + "\u00a0" * (len(line) - len(line.lstrip()))
                    + _escape(line.strip(), pages)
                    for line in text
                ]
                + [""]
            )
        else:
            out.extend([*_escape("\n".join(text), pages).splitlines(), ""])

    previous = None
    for line in [*lines, ""]:
        if re.fullmatch(r"-{3,}", line.strip()) and previous:
            block.pop()
            flush()
            out.extend([f"**{_escape(previous.strip(), pages)}**", ""])
        elif not line.strip():
            flush()
        else:
            if (
                line.lstrip().startswith(">>>")
                and block
                and not block[0].lstrip().startswith(">>>")
            ):
                flush()
            block.append(line)
        previous = line
    chapters = [
        c for c in users().get(canonical(name) or "", []) if f"book/{c}" in app.env.found_docs
    ]
    if chapters:
        out.extend(
            ["*Used in:* " + ", ".join(f":doc:`/book/{chapter}`" for chapter in chapters) + ".", ""]
        )
    lines[:] = out


def _escape(text: str, pages: set[str]) -> str:
    """Text for reStructuredText: literal, except that `code` and ``code`` become code and names of
    chapters links.
    """

    def piece(part: str) -> str:
        if part.startswith("`") and len(part) > 1:
            return "``" + part.strip("`") + "``"
        return (
            f":doc:`/book/{part}`"
            if part in chapters
            else re.sub(r"([\\*_`|<>:\[\]])", r"\\\1", part)
        )

    chapters = {page.removeprefix("book/") for page in pages if re.match(r"book/[abc]\d+_", page)}
    return "".join(map(piece, re.split(r"(``[^`]+``|`[^`]+`|\b[abc]\d+_\w+\b)", text)))


# ---- links in chapters


class FunctionLinks(SphinxTransform):
    """Names of functions in code type become references to their documentation."""

    default_priority = 500

    def apply(self, **kwargs):
        if self.env.docname.startswith("book/api/"):
            return
        for section in self.document.findall(nodes.section):
            used = section[0].astext() == "Functions used"
            modules: list[str] = []
            for literal in list(section.findall(nodes.literal)):
                if isinstance(literal.parent, addnodes.pending_xref | nodes.reference):
                    continue
                text = literal.astext().removesuffix("()")
                full = text if text.startswith(tuple(f"{p}." for p in PACKAGES)) else None
                target = canonical(full) if full else None
                if full and target:
                    module = next(
                        m
                        for m in (full, full.rpartition(".")[0], target.rpartition(".")[0], "")
                        if not m or m in all_modules()
                    )
                    modules.insert(0, module)
                elif used and re.fullmatch(r"\w+", text):
                    target = next((t for m in modules if (t := canonical(f"{m}.{text}"))), None)
                if target and (full or used):
                    kind = "mod" if target in all_modules() or target in groups() else "obj"
                    link = addnodes.pending_xref(
                        "",
                        literal.deepcopy(),
                        refdomain="py",
                        reftype=kind,
                        reftarget=target,
                        refdoc=self.env.docname,
                        refexplicit=True,
                        refwarn=True,
                    )
                    literal.replace_self(link)


def skip_guests(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """What a module only passes on is documented where it is defined, once."""
    home, here = getattr(thing, "__module__", None), app.env.temp_data.get("autodoc:module")
    guest = what == "module" and here and home and home != here and _ours(home)
    return True if guest and home in all_modules() else None


def setup(app: Sphinx) -> dict:
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("autodoc-skip-member", skip_guests)
    app.connect("source-read", document_group)
    app.connect("env-get-outdated", pages_of_functions)
    app.connect("autodoc-process-docstring", as_written)
    app.add_transform(FunctionLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

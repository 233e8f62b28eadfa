"""Code that is plumbing, and long proofs, fold under a line that says what they are.

What stays open is short and reads like the formula beside it. A cell folds if it only imports and
sets up, reads a record, only draws, mostly checks, ends in a table, or has more than eight lines;
its outputs stay. Two cells of imports in a row are one. A tag in the chapter decides otherwise:
`open` keeps a cell open.
"""

from __future__ import annotations

import ast
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx_proof.nodes import proof_node

LONGEST_OPEN = 8  # lines of code
LONGEST_PROOF = 1500  # characters: about ten lines on a page
SETTING_UP = re.compile(r"default_device|default_dtype|set_|rcParams|Generator\(|manual_seed")
RECORDED = re.compile(r"\bload_record\(|\brecorded\(")
DRAWING = re.compile(r"figures\.|plt\.|\bax(es)?\b|\bfig\b")


def label(code: str) -> str | None:
    """What a cell's fold is called, or None for a cell that stays open.

    >>> label("import torch\\nx = 2"), label("y = 2 * x"), label("assert y == 4")
    ('imports and settings', None, 'check')
    >>> label("assert y == 4\\ntypeset(frame, 'Four.')"), label("typeset(frame, 'Four.')")
    ('check and table', 'table')
    >>> label("table = load_record('splits').table"), label("y = f(x)\\nassert y == 4\\nprint(y)")
    ('recorded results', 'computation and check (3 lines)')
    """
    if code.startswith("%"):
        return None
    lines = [line for line in code.splitlines() if line.strip()]
    statements = ast.parse(code).body
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    rest = [s for s in statements if s not in imports]
    if imports and all(
        isinstance(s, ast.Assign) and (isinstance(s.value, ast.Constant) or _sets_up(s))
        for s in rest
    ):
        return "imports and settings"
    if rest and _typesets(rest[-1]):
        return "check and table" if any(isinstance(s, ast.Assert) for s in rest) else "table"
    checks = [s for s in rest if _checks(s)]
    if rest and all(_checks(s) or _prints(s) for s in rest):
        return "check" if checks else None
    drawn = sum(bool(DRAWING.search(ast.unparse(s))) for s in rest)
    if drawn and (2 * drawn >= len(rest) or len(lines) > LONGEST_OPEN or checks):
        return "how this is drawn"
    said = [s for s in rest if _prints(s)]
    plumbing = 2 * (len(checks) + len(said)) >= len(rest) and checks
    long_words = any(s.end_lineno != s.lineno for s in said)
    recorded = RECORDED.search(code)
    if len(lines) <= LONGEST_OPEN and not (plumbing or long_words or recorded):
        return None
    if recorded and not checks and len(lines) <= LONGEST_OPEN:
        return "recorded results"
    if checks:
        return f"computation and check ({len(lines)} lines)"
    return f"computation ({len(lines)} lines)"


def _sets_up(statement: ast.stmt) -> bool:
    return bool(SETTING_UP.search(ast.unparse(statement)))


def _prints(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("print(")


def _checks(statement: ast.stmt) -> bool:
    """An assertion, or a loop over nothing else."""
    if isinstance(statement, ast.For):
        return all(isinstance(s, ast.Assert) for s in statement.body)
    return isinstance(statement, ast.Assert)


def _typesets(statement: ast.stmt) -> bool:
    """Whether a statement only shows a table."""
    text = ast.unparse(statement)
    return isinstance(statement, ast.Expr) and text.startswith(("typeset(", "display(typeset("))


class Folding(SphinxTransform):
    """Puts the input of a cell that folds into a <details> element."""

    default_priority = 885

    def apply(self, **kwargs):
        imports = None  # the cell before, if it only imports and has no output
        for cell in list(self.document.findall(nodes.container)):
            if "cell_input" not in cell.get("classes", []) or "tag_open" in cell.parent["classes"]:
                continue
            name = label(cell.astext())
            if name is None:
                continue
            whole = cell.parent
            alone = name == "imports and settings" and len(whole) == 1
            if alone and imports is not None and _follows(whole, imports):
                whole.remove(cell)
                whole.parent.remove(whole)
                imports.insert(len(imports) - 1, cell)
                continue
            fold(cell, name)
            imports = whole if alone else None
        for proof in list(self.document.findall(proof_node)):
            emphasise_opening(proof)
            if len(proof.astext()) > LONGEST_PROOF:
                fold(proof, "proof")


def _follows(cell: nodes.Node, other: nodes.Node) -> bool:
    place = cell.parent.index(cell)
    return place > 0 and cell.parent[place - 1] is other


def emphasise_opening(proof: nodes.Node) -> None:
    """The word "Proof." in italics, as in print."""
    first = next(proof.findall(nodes.Text), None)
    if first is not None and first.startswith("Proof. "):
        rest = nodes.Text(first.removeprefix("Proof. "))
        first.parent.replace(first, [nodes.emphasis("", "Proof."), nodes.Text(" "), rest])


def fold(node: nodes.Node, name: str) -> None:
    """Put a node into a <details> element with this summary."""
    place = node.parent.index(node)
    opening = f'<details class="folded"><summary>{name}</summary>'
    node.parent.insert(place + 1, nodes.raw("", "</details>", format="html"))
    node.parent.insert(place, nodes.raw("", opening, format="html"))


def setup(app: Sphinx) -> dict:
    app.add_transform(Folding)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

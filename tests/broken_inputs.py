"""Running part of a chapter on a broken input: what `test_book_notices` needs.

A chapter is cut back to the statements that an assertion of it rests on, so that the check runs in
seconds. The input is a record (a column shuffled, a sign turned), a function of the package, or a
line of its source.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]

# Loads what is slow to load and never broken, then runs each job (a line of JSON) in a fork of
# itself: pieces of code in one namespace, answered by the error at which they stopped. First,
# functions of the package are wrapped wherever they are known.
SERVER = """
import importlib, json, os, sys
import matplotlib, matplotlib.pyplot, numpy, pandas, scipy.optimize, scipy.stats, torch
matplotlib.use("Agg")
torch.set_num_threads(1)

def answer(job):
    sys.path.insert(0, job["source"])
    if job["results"]:
        os.environ["FLATNESS_RESULTS"] = job["results"]
    import flatness
    assert flatness.__file__.startswith(job["source"]), flatness.__file__
    for name in job["imports"]:
        importlib.import_module(name)
    for module, function, code in job["wrapped"]:
        old = getattr(importlib.import_module(module), function)
        new = eval(code)(old)
        for known in [m for n, m in sys.modules.items() if n.startswith("flat")]:
            for key, value in list(vars(known).items()):
                if value is old:
                    setattr(known, key, new)
    namespace = {"__name__": "__main__"}
    for code in job["pieces"]:
        try:
            exec(compile(code, "cell", "exec"), namespace)
        except Exception as error:
            return [type(error).__name__, str(error)[:500], code[:200]]
    return ["passed", "", ""]

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    assert not any(name.startswith("flat") for name in sys.modules)
    child = os.fork()
    if not child:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(json.dumps(["no answer", "", ""]), file=answers, flush=True)
"""


def cells(chapter: str) -> list[str]:
    """The code of a chapter, cell by cell, from its source."""
    notebook = jupytext.read(ROOT / "book" / f"{chapter}.md")
    return [
        c.source for c in notebook.cells if c.cell_type == "code" and not c.source.startswith("%")
    ]


def bare(code: str) -> str:
    """Code without spaces, and with one kind of quotation mark."""
    return "".join(code.split()).replace("'", '"')


def names(code: str | list[ast.stmt]) -> tuple[set[str], set[str], set[str]]:
    """What a piece of code reads that it did not define before, what it defines, and what it
    changes in place.
    """
    body = ast.parse(code).body if isinstance(code, str) else code
    read: set[str] = set()
    defined: set[str] = set()
    changed: set[str] = set()
    for statement in body:
        loop = _stored(statement.target) if isinstance(statement, ast.For) else set()
        read |= _free(statement) - defined - loop
        for node in ast.walk(statement):
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
                changed.add(_root(node))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                if isinstance(node.value.func, ast.Attribute):
                    changed.add(_root(node.value.func))
        defined |= _stored(statement)
    changed = {name for name in changed if name not in ("", "plt") and "figures" not in name}
    return read | (changed - defined), defined, changed


def _stored(node: ast.AST) -> set[str]:
    """Names that a statement binds at the top level."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).split(".")[0] for a in node.names}
    inner = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if isinstance(node, inner):
        return set()
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    return set().union(*map(_stored, ast.iter_child_nodes(node)), set())


def _free(node: ast.AST) -> set[str]:
    """Names that are read and not bound inside: arguments, comprehensions, locals of functions."""
    inside = set().union(*map(_free, ast.iter_child_nodes(node)), set())
    if isinstance(node, ast.AugAssign):
        return inside | ({node.target.id} if isinstance(node.target, ast.Name) else set())
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.Lambda | ast.FunctionDef):
        a = node.args
        bound = {x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if x}
        if isinstance(node, ast.FunctionDef):
            bound |= set().union(*map(_stored, node.body), {node.name})
        return inside - bound
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return inside - set().union(*(_stored(g.target) for g in node.generators))
    return inside


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def leading_to(chapter: str, assertion: str) -> list[str]:
    """The statements that the assertion holding this text rests on, in order, up to and with it.

    Raises ValueError if the chapter has no such assertion.
    """
    statements: list[ast.stmt] = []
    for cell in cells(chapter):
        for statement in ast.parse(cell).body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Assert) and bare(assertion) in bare(ast.unparse(node)):
                    return _slice(statements, statement)
            statements.append(statement)
    raise ValueError(f"assertion: book/{chapter}.md has none with {assertion!r}")


def _slice(before: list[ast.stmt], target: ast.stmt) -> list[str]:
    wanted, kept = names([target])[0], [ast.unparse(target)]
    for statement in reversed(before):
        read, defined, changed = names([statement])
        if wanted & (defined | changed):
            kept.insert(0, ast.unparse(statement))
            wanted = (wanted - (defined - read)) | read
    return kept


@contextmanager
def server() -> Iterator[subprocess.Popen[str]]:
    """The process that runs the pieces."""
    environment = {k: v for k, v in os.environ.items() if k != "FLATNESS_RESULTS"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "book",
        env=environment | {"OMP_NUM_THREADS": "1"},
    ) as process:
        yield process


def run(
    process: subprocess.Popen[str],
    pieces: list[str],
    *,
    source: Path = ROOT / "src",
    wrapped: list[tuple[str, str, str]] = [],  # noqa: B006
    results: Path | None = None,
) -> list[str]:
    """What the server answers: [name of the error, what it says, beginning of the piece], or
    ["passed", "", ""].
    """
    code = "\n".join(pieces)
    modules = {n.module for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ImportFrom)}
    job = {
        "pieces": pieces,
        "wrapped": wrapped,
        "imports": sorted(name for name in modules - {None} if name.startswith("flat")),
        "source": str(source),
        "results": results and str(results),
    }
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def broken_record(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], folder: Path) -> None:
    """Write the record to ``folder`` with its table changed."""
    content = json.loads((ROOT / "results" / f"{name}.json").read_text())
    table = change(pd.DataFrame(content["table"]))
    content["table"] = {column: table[column].tolist() for column in table}
    (folder / f"{name}.json").write_text(json.dumps(content))


def turned(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The column with its order reversed: every correlation with it changes its sign."""
    return lambda t: t.assign(**{column: t[column].max() + t[column].min() - t[column]})


def shuffled(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The column in another order: it belongs to other networks."""
    order = np.random.default_rng(0).permutation
    return lambda t: t.assign(**{column: t[column].to_numpy()[order(len(t))]})


def times(column: str, factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The column in another unit."""
    return lambda t: t.assign(**{column: t[column] * factor})


def broken_source(module: str, written: str, slip: str, folder: Path) -> Path:
    """A copy of the packages with one line of ``flatness/<module>.py`` changed."""
    for name in ("flatness", "flat_or_weak"):
        shutil.copytree(
            ROOT / "src" / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    path = folder / "flatness" / f"{module}.py"
    code = path.read_text()
    assert code.count(written) == 1, f"{module}.py no longer holds {written!r}"
    path.write_text(code.replace(written, slip))
    return folder

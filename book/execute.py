"""Turn the edited chapters into executed notebooks.

Every page of the book is a pair: ``book/<chapter>.md`` is what people edit,
``book/<chapter>.ipynb`` is made from it here, executed from top to bottom in a fresh kernel and
committed with its outputs. The rendered page and the regression test both read the notebook.

    python book/execute.py                 execute chapters whose source, code or records changed
    python book/execute.py a3_trace ...    execute these chapters, changed or not
    python book/execute.py --check         execute nothing; exit 1 and name the stale chapters

A chapter is stale when its fingerprint, stored in the notebook, no longer matches: a hash of the
chapter's cells, of the code (comments and docstrings apart) of every ``flatness`` module that it
imports, directly or through others, of the records that it read, of the embedded images, of the
style of the figures, and of the versions of the libraries.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
SOURCE = ROOT / "src"
PACKAGES = ("flatness", "flat_or_weak")
STATUS = BOOK / "_status.json"
CELL_TIMEOUT_S = 900
# Run after the chapter's last cell and not kept: the largest resident memory of the kernel and of
# any process that it started, in bytes, and the records that the chapter read.
AFTERWARDS = """import json, resource, sys
peak = max(resource.getrusage(who).ru_maxrss
           for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
read = getattr(sys.modules.get("flat_or_weak.records"), "READ", set())
print(json.dumps({"peak": peak * (1 if sys.platform == "darwin" else 1024),
                  "records": sorted(read)}))"""
# kernels side by side: threads that wait for each other cost more than they bring
RECORDING = threading.Lock()
RUNNING: list[NotebookClient] = []  # what is executed now


def chapters() -> list[str]:
    """Names of all pages, in alphabetical order."""
    return sorted(path.stem for path in BOOK.glob("*.md"))


def source_notebook(chapter: str) -> nbformat.NotebookNode:
    """The notebook that ``<chapter>.md`` describes, without outputs, with cell identifiers given by
    position.
    """
    notebook = jupytext.read(BOOK / f"{chapter}.md")
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata["kernelspec"]})
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"
    return notebook


@functools.cache
def _bare_code(text: str) -> str:
    """A module's syntax tree without docstrings: what can change a result."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:]
    return _written_out(tree)


def _written_out(node: object) -> str:
    """A syntax tree as text, the same in every version of Python: what ``ast.dump`` writes in 3.11,
    newer fields left out if empty.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_written_out, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, getattr(node, name)) for name in node._fields]
    shown = [
        f"{name}={_written_out(value)}"
        for name, value in fields
        if not (value is None and getattr(type(node), name, ...) is None)
        and not (name == "type_params" and value == [])
    ]
    return f"{type(node).__name__}({', '.join(shown)})"


def _module_path(name: str) -> Path | None:
    """File of one of our modules, given by its dotted name, or None if there is none."""
    path = SOURCE.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _home(package: str, name: str) -> str:
    """The module that ``from package import name`` reads: a submodule, or where a room's
    ``__init__`` has the name from."""
    path = _module_path(package)
    if path is not None and path.name == "__init__.py" and not _module_path(f"{package}.{name}"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in (
                a.asname or a.name for a in node.names
            ):
                return node.module or package
        return package
    return f"{package}.{name}" if _module_path(f"{package}.{name}") else package


@functools.cache
def _imports(code: str) -> frozenset[str]:
    """Dotted names of our modules that a piece of code imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            found.update(_home(node.module, alias.name) for alias in node.names)
    return frozenset(name for name in found if name.split(".")[0] in PACKAGES)


def modules_used(code: str) -> list[str]:
    """All of our modules that ``code`` reaches through imports, sorted.

    A room's ``__init__`` only passes names on, so it is looked through, not counted.
    """
    queue, seen = set(_imports(code)), set()
    while queue:
        name = queue.pop()
        path = _module_path(name)
        if path is None or name in seen:
            continue
        seen.add(name)
        queue |= _imports(path.read_text(encoding="utf-8")) - seen
    return sorted(name for name in seen if _module_path(name).name != "__init__.py")


def fingerprint(notebook: nbformat.NotebookNode, records: Iterable[str] = ()) -> str:
    """SHA-256 of everything that can change the chapter's outputs, given the names of the records
    that it read.
    """
    code = "\n".join(
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and not cell.source.startswith("%")
    )
    digest = hashlib.sha256()
    for cell in notebook.cells:
        digest.update(
            f"{cell.cell_type}\0{cell.source}\0{sorted(cell.metadata.get('tags', []))}\0".encode()
        )
    modules = modules_used(code)
    for name in modules:
        digest.update(_bare_code(_module_path(name).read_text(encoding="utf-8")).encode())
    files = [ROOT / "results" / f"{name}.json" for name in records]
    if "flat_or_weak.figures" in modules:
        files.append(SOURCE / "flat_or_weak" / "book.mplstyle")
    if "flatness.datasets.pools" in modules:
        files += (SOURCE / "flatness" / "datasets" / "data").glob("*.npz")
    for path in sorted(files):
        digest.update(path.name.encode() + (path.read_bytes() if path.is_file() else b""))
    digest.update(_versions().encode())
    return digest.hexdigest()


def _versions() -> str:
    """The locked versions of what the package computes with: the first block of requirements."""
    return (ROOT / "requirements.txt").read_text(encoding="utf-8").split("# book")[0]


def is_stale(chapter: str) -> bool:
    """Whether the executed notebook is missing, was cleared, or does not belong to the present
    source, code, data and results.
    """
    path = BOOK / f"{chapter}.ipynb"
    if not path.is_file():
        return True
    notebook = nbformat.read(path, as_version=4)
    if any(cell.get("execution_count", 1) is None for cell in notebook.cells):
        return True
    stored = notebook.metadata
    present = fingerprint(source_notebook(chapter), stored.get("records", []))
    return stored.get("fingerprint") != present


def execute(chapter: str) -> float:
    """Run the chapter in a fresh kernel, write its notebook atomically and return the seconds it
    took.

    Raises RuntimeError naming the cell if a cell fails or prints to stderr: a chapter shows no
    warnings.
    """
    notebook = source_notebook(chapter)
    notebook.cells.append(nbformat.v4.new_code_cell(AFTERWARDS))
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        record_timing=False,
        resources={"metadata": {"path": str(BOOK)}},
    )
    RUNNING.append(client)
    try:
        client.execute()
    finally:
        RUNNING.remove(client)
    seconds = time.perf_counter() - start
    after = json.loads(notebook.cells.pop().outputs[0].text)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"{chapter}, {cell['id']} printed to stderr:\n{output['text']}")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": notebook.metadata["kernelspec"],
            "records": after["records"],
            "fingerprint": fingerprint(notebook, after["records"]),
        }
    )
    temporary = BOOK / f".{chapter}.ipynb.tmp"
    nbformat.write(notebook, temporary)
    os.replace(temporary, BOOK / f"{chapter}.ipynb")
    record_run(chapter, seconds, after["peak"])
    return seconds


def record_run(chapter: str, seconds: float, peak: int) -> None:
    """Note run time, peak memory in bytes and date for the status page. They stay out of the
    notebook, which is the same after every run.
    """
    with RECORDING:
        runs = json.loads(STATUS.read_text(encoding="utf-8")) if STATUS.is_file() else {}
        runs[chapter] = {
            "seconds": round(seconds, 1),
            "peak_gb": round(peak / 1e9, 2),
            "date": f"{date.today():%Y-%m-%d}",
            "python": platform.python_version(),
        }
        temporary = STATUS.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(
            json.dumps({name: runs[name] for name in chapters() if name in runs}, indent=1) + "\n",
            encoding="utf-8",
        )
        os.replace(temporary, STATUS)


def end_at_once(number: int, frame: object) -> None:
    """Ctrl-C and its like: end the kernels, whose cells may take minutes, and this process. The
    chapters under way keep their old notebooks.
    """
    for client in list(RUNNING):
        with suppress(Exception):  # not started yet, or ended
            os.kill(client.km.provisioner.pid, signal.SIGKILL)
    print(f"ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
    os._exit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute the chapters of the book.")
    parser.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="chapters to execute (default: the stale ones)",
    )
    parser.add_argument(
        "--check", action="store_true", help="name the stale chapters and execute nothing"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="chapters executed side by side (default 1)"
    )
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.chapters) - set(chapters())):
        parser.error(f"no such chapter: {', '.join(unknown)}; the book has {', '.join(chapters())}")
    todo = [Path(name).stem for name in options.chapters] or [
        name for name in chapters() if is_stale(name)
    ]
    if options.check:
        print("\n".join(f"stale: {name}" for name in todo) or "every chapter is up to date")
        return 1 if todo else 0
    if not todo:
        print(f"All {len(chapters())} pages are up to date; nothing to execute.")

    def run(name: str) -> str | None:
        print(f"executing {name} ...", flush=True)
        try:
            print(f"executed  {name} in {execute(name):.0f} s", flush=True)
        except (
            Exception
        ) as error:  # reported below, with the chapter's name, after the others have run
            print(f"FAILED    {name}: {error}", file=sys.stderr, flush=True)
            return name
        return None

    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [name for name in pool.map(run, todo) if name]
    return 1 if failed else 0


if __name__ == "__main__":
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), end_at_once)
    sys.exit(main())

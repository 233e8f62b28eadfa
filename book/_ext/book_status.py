"""The status page, computed when the book is rendered, and the buttons that open a chapter in the
cloud.

The line ``{{ status of the chapters }}`` becomes a table: how long a chapter ran, when, what it
checks, and whether it belongs to the present code. With ``public_repository`` set (or the variable
FLATNESS_REPOSITORY), every chapter gets buttons for Binder, Colab and the repository.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config

BOOK = Path(__file__).resolve().parents[1]
NO_BREAK = "\u2011"  # a hyphen at which no line ends


def _execute_module():
    spec = importlib.util.spec_from_file_location("book_execute", BOOK / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(chapter: str, run: dict, stale: bool) -> str:
    """One line of the table, for an executed chapter."""
    cells = [
        cell
        for cell in nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
    ]
    code = "\n".join(cell.source for cell in cells if not cell.source.startswith("%"))
    checks = sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))
    failed = [cell for cell in cells for output in cell.outputs if output.output_type == "error"]
    verdict = (
        "a cell failed"
        if failed
        else "passed, but the code has changed since"
        if stale
        else "passed"
    )
    return (
        f"| {{doc}}`/book/{chapter}` | {len(cells)} | {checks} | {run.get('seconds', '–')} | "
        f"{run.get('peak_gb', '–')} | {run.get('date', '–').replace('-', NO_BREAK)} | {verdict} |"
    )


def status(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the table in its place."""
    line = "{{ status of the chapters }}"
    if line not in source[0]:
        return
    execute = _execute_module()
    runs = (
        json.loads(execute.STATUS.read_text(encoding="utf-8")) if execute.STATUS.is_file() else {}
    )
    shown = [
        name
        for name in execute.chapters()
        if f"book/{name}" in app.env.found_docs and (BOOK / f"{name}.ipynb").is_file()
    ]
    order = re.findall(r"book/(\w+)$", (BOOK.parent / "_toc.yml").read_text("utf-8"), re.M)
    shown.sort(key=lambda name: order.index(name) if name in order else len(order))
    rows = [row(name, runs.get(name, {}), execute.is_stale(name)) for name in shown]
    seconds = sum(runs.get(name, {}).get("seconds", 0.0) for name in shown)
    table = [
        "| chapter | code cells | checks | seconds | memory, GB | executed | last verdict |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    pythons = sorted({runs[name]["python"] for name in shown if "python" in runs.get(name, {})})
    summary = f"{len(shown)} pages, {seconds:.0f} seconds of recorded run time in all"
    if pythons:
        summary += f", with Python {' and '.join(pythons)}"
    source[0] = source[0].replace(line, "\n".join([*table, "", f"{summary}."]))


def cloud(app: Sphinx, config: Config) -> None:
    """Buttons for Binder, Colab and the repository, where the repository has a public address."""
    address = os.environ.get("FLATNESS_REPOSITORY") or config.public_repository
    if address:
        config.html_theme_options.update(
            {
                "repository_url": address,
                "repository_branch": "main",
                "path_to_docs": "",
                "use_repository_button": True,
                "launch_buttons": {
                    "binderhub_url": "https://mybinder.org",
                    "colab_url": "https://colab.research.google.com",
                    "notebook_interface": "jupyterlab",
                },
            }
        )


def setup(app: Sphinx) -> dict:
    app.add_config_value("public_repository", "", "html", types=str)
    app.connect("config-inited", cloud)
    app.connect("source-read", status)
    app.connect(
        "env-get-outdated",
        lambda app, env, *pages: [
            page for page in env.found_docs if page.startswith("book/about/")
        ],
    )
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Imports go one way: downwards through the rooms, and never from the library to the book."""

import ast
from pathlib import Path

import pytest

import flatness

ROOT = Path(flatness.__file__).parent
BELOW = {
    "_internal": "",
    "statistics": "_internal",
    "networks": "_internal statistics",
    "datasets": "_internal statistics networks",
    "curvature": "_internal statistics networks datasets",
    "symmetry": "_internal statistics networks datasets curvature",
    "interpolators": "_internal statistics networks datasets curvature symmetry",
    "weakness": "_internal statistics networks",
    "feasibility": "_internal statistics networks",
}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return names | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    names = imported(path)
    assert not any(name.split(".")[0] == "flat_or_weak" for name in names)
    room = path.relative_to(ROOT).parts[0]
    if room in BELOW:
        used = {name.split(".")[1] for name in names if name.startswith("flatness.")}
        assert used <= {room, *BELOW[room].split()}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_only_names_what_is_in_it(room):
    docstring, *rest = ast.parse((ROOT / room / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(n, ast.ImportFrom | ast.Assign) for n in rest)

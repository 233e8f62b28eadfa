"""Mutation testing: which small changes of a module its tests do not notice.

    python tools/mutation.py curvature/trace symmetry/orbits

mutmut makes the mutants of each module of ``flatness`` and runs the module's tests (those of its
room, where it has none of its own) and doctests on every one, in a copy under _build/mutants. A
survivor asks for a test of a property or a value, or is one that nothing can notice: an equivalent
expression, a chunk size, the wording of an error.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def prepare(module: str) -> Path:
    """A fresh copy of the packages and tests, with mutmut's configuration."""
    place = ROOT / "_build" / "mutants" / module
    shutil.rmtree(place, ignore_errors=True)
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    room, name = module.split("/")
    path, own = f"src/flatness/{module}.py", f"tests/{room}/test_{name}.py"
    tests = own if (ROOT / own).exists() else f"tests/{room}"
    (place / path).write_text(checked_below((place / path).read_text()))
    table = {
        "source_paths": ["src"],
        "only_mutate": [path],
        "use_git_change_detection": False,
        "pytest_add_cli_args_test_selection": [tests, path],
        "timeout_multiplier": 5.0,
        "timeout_constant": 2.0,
    }
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    configuration = (ROOT / "pyproject.toml").read_text()
    (place / "pyproject.toml").write_text(f"{configuration}\n[tool.mutmut]\n{settings}\n")
    return place


def checked_below(text: str) -> str:
    """The module with every `@checked(...)` above a function f turned into `f = checked(...)(f)`
    below it: mutmut leaves decorated functions alone.
    """
    lines = text.splitlines() + [""]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef) or not node.decorator_list:
            continue
        if any(not ast.unparse(call).startswith("checked(") for call in node.decorator_list):
            continue
        first = node.decorator_list[0].lineno - 1
        call = " ".join(line.strip() for line in lines[first : node.lineno - 1]).removeprefix("@")
        lines[first : node.lineno - 1] = [""] * (node.lineno - 1 - first)
        lines[node.end_lineno] = f"{' ' * node.col_offset}{node.name} = {call}({node.name})"
    return "\n".join(lines) + "\n"


def mutmut(place: Path, *arguments: str) -> None:
    """The tests that start processes must import the mutated package too, not the installed one."""
    package = place / "mutants" / "src"
    package.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LONG_PROPERTIES": "1"}
    environment["PYTHONPATH"] = str(package)
    command = [sys.executable, "-m", "mutmut", *arguments]
    subprocess.run(command, cwd=place, env=environment, check=True)


if __name__ == "__main__":
    for module in sys.argv[1:] or ["curvature/trace", "symmetry/orbits", "feasibility/pairs"]:
        copy = prepare(module)
        mutmut(copy, "run", "--max-children", os.environ.get("JOBS", "1"))
        print(f"== flatness/{module}: what no test noticed")
        mutmut(copy, "results")

"""Mutation testing: how many small changes of a module its tests notice.

    python tests/mutation.py curvature symmetry     mutate these modules, run their tests, write tests/mutants.json

mutmut makes the mutants and runs them in a copy under _build/mutants/<module>; `mutmut browse`
there shows each one. It leaves alone what is outside functions and in decorated ones (constants,
properties); the decorator that checks arguments is written below the function in the copy, so that
it does not count as one. A survivor has a class, and a reason that people write into
tests/mutants.json and the next run keeps: `equivalent` (nothing to notice), `performance` (the same
values, slower or with more memory), `message` (the text of an error), `missed` (a test could
notice).
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "mutants.json"
CLASSES = ("equivalent", "performance", "message", "missed")

# mutmut stops a mutant after ten times the usual processor time; its limit of wall-clock time,
# meant for those that only wait, is raised twentyfold, as a busy machine must not look like a
# mutant that was noticed.
RUN = """
from mutmut.workers import isolation
register = isolation.register_timeout
isolation.register_timeout = lambda pid, timeout_s: register(pid=pid, timeout_s=20 * timeout_s)
from mutmut.__main__ import cli
cli()
"""

# The files whose subject a module is; the others have a file of their own name.
FEASIBILITY = ("test_feasibility.py", "test_certificates.py", "test_extension.py")
TESTS = {name: FEASIBILITY for name in ("refutations", "certificates", "labelled_points")}


def files_of(module: str) -> list[str]:
    """What tests a module: its files, and the module itself for its doctests."""
    return [f"tests/{name}" for name in TESTS.get(module, (f"test_{module}.py",))] + [
        f"src/flatness/{module}.py"
    ]


def prepare(module: str) -> Path:
    """A fresh copy of package and tests with mutmut's configuration, which has no command line for
    it.
    """
    place = ROOT / "_build" / "mutants" / module
    shutil.rmtree(place, ignore_errors=True)
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = place / "src" / "flatness" / f"{module}.py"
    path.write_text(checked_below(path.read_text()))
    table = {
        "source_paths": ["src"],
        "only_mutate": [f"src/flatness/{module}.py"],
        "use_git_change_detection": False,
        "pytest_add_cli_args_test_selection": files_of(module),
        "timeout_multiplier": 5.0,
        "timeout_constant": 2.0,
    }
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    (place / "pyproject.toml").write_text(
        (ROOT / "pyproject.toml").read_text() + f"\n[tool.mutmut]\n{settings}\n"
    )
    return place


def checked_below(text: str) -> str:
    """The module with every `@checked(...)` above a function f turned into `f = checked(...)(f)` on
    the empty line below it.
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef) or not node.decorator_list:
            continue
        if not all(
            isinstance(call, ast.Call) and getattr(call.func, "id", "") == "checked"
            for call in node.decorator_list
        ):
            continue
        first = node.decorator_list[0].lineno - 1
        call = " ".join(line.strip() for line in lines[first : node.lineno - 1]).removeprefix("@")
        lines[first : node.lineno - 1] = [""] * (node.lineno - 1 - first)
        if node.end_lineno == len(lines):
            lines.append("")
        assert not lines[node.end_lineno].strip(), f"no empty line below {node.name}"
        lines[node.end_lineno] = f"{' ' * node.col_offset}{node.name} = {call}({node.name})"
    return "\n".join(lines) + "\n"


def run(place: Path) -> None:
    """Every mutant, in a fork of a process that has torch and pytest loaded already."""
    # The path is for tests that start processes: they too must import the mutated package, not the
    # installed one.
    package = place / "mutants" / "src"
    package.mkdir(parents=True)  # a path that does not exist when Python starts stays unknown to it
    search = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search}
    workers = os.environ.get("JOBS", "1")
    subprocess.run(
        [sys.executable, "-c", RUN, "run", "--max-children", workers],
        cwd=place,
        env=environment,
        check=True,
    )


def results(module: str, place: Path) -> dict:
    """Counts of one module's run, and its survivors as (place, function, original line, mutated
    line).
    """
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    path = f"src/flatness/{module}.py"
    codes = json.loads((place / "mutants" / f"{path}.meta").read_text())["exit_code_by_key"]
    statuses = {name: status_by_exit_code[code] for name, code in codes.items()}
    killed = sum(status in ("killed", "segfault") for status in statuses.values())
    timeouts = sum(status == "timeout" for status in statuses.values())
    os.chdir(place)  # where mutmut looks for its files
    survivors = [
        survivor(path, (place / path).read_text(), name, get_diff_for_mutant(name, path=path))
        for name, status in statuses.items()
        if status not in ("killed", "segfault", "timeout")
    ]
    return {
        "date": date.today().isoformat(),
        "tool": "mutmut",
        "version": version("mutmut"),
        "tests": files_of(module),
        "mutants": len(statuses),
        "killed": killed,
        "timeouts": timeouts,
        "survived": len(survivors),
        "rate": round((killed + timeouts) / len(statuses), 4),
        "survivors": survivors,
    }


def survivor(path: str, text: str, name: str, diff: str) -> dict:
    """Where the mutant `name` changes the source, from its diff, whose lines are counted from the
    head of the function.
    """
    function = re.sub(r"^x_|^xǁ", "", name.split(".")[-1].partition("__mutmut_")[0]).replace(
        "ǁ", "."
    )
    header, *hunk = diff.splitlines()[2:]
    removed = [line[1:].strip() for line in hunk if line.startswith("-")]
    added = [line[1:].strip() for line in hunk if line.startswith("+")]
    offset = int(re.match(r"@@ -(\d+)", header)[1]) + next(
        i for i, line in enumerate(hunk) if line.startswith("-")
    )
    lines, first = text.splitlines(), head(ast.parse(text), function) + offset - 1
    line = next(
        number for number in range(first, len(lines) + 1) if lines[number - 1].strip() == removed[0]
    )
    return {
        "line": f"{path}:{line}",
        "function": function,
        "original": " ".join(removed),
        "mutated": " ".join(added),
    }


def head(tree: ast.Module, function: str) -> int:
    """Line of `def` of a function or a Class.method."""
    body = tree.body
    for part in function.split("."):
        node = next(node for node in body if getattr(node, "name", None) == part)
        body = node.body
    return node.lineno


def with_reasons(found: dict, former: dict) -> dict:
    """The survivors with the class and reason that the same change had in the former record, else
    with none.
    """
    known: dict[tuple, list] = {}
    for old in former.get("survivors", []):
        known.setdefault((old["function"], old["original"], old["mutated"]), []).append(
            (old["class"], old["reason"])
        )
    for new in found["survivors"]:
        reasons = known.get((new["function"], new["original"], new["mutated"]), [])
        new["class"], new["reason"] = reasons.pop(0) if reasons else (None, None)
    return found


def main(modules: list[str]) -> None:
    for module in modules:
        place = prepare(module)
        run(place)
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        record[module] = with_reasons(results(module, place), record.get(module, {}))
        RECORD.write_text(
            json.dumps(dict(sorted(record.items())), indent=1, ensure_ascii=False) + "\n"
        )
        found = record[module]
        print(
            f"\n{module}: {found['killed']} killed, {found['timeouts']} timeouts, {found['survived']} survived "
            f"of {found['mutants']} mutants ({100 * found['rate']:.1f} %)"
        )
        for mutant in found["survivors"]:
            if mutant["class"] is None:
                print(f"{mutant['line']}\n  - {mutant['original']}\n  + {mutant['mutated']}")


if __name__ == "__main__":
    main(sys.argv[1:])

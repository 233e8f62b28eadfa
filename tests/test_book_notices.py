"""Break the package on purpose: a chapter must fail. This is what rules out chapters whose checks
are tautologies.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Runs the code cells of a notebook in order in one namespace, up to and including cell `last`;
# prints where it stopped.
RUNNER = """
import json, sys, matplotlib
matplotlib.use("Agg")
import flatness, torch
torch.set_num_threads(1)
assert flatness.__file__.startswith(sys.argv[1]), flatness.__file__
cells = [c for c in json.load(open(sys.argv[2]))["cells"] if c["cell_type"] == "code"]
cells = cells[: int(sys.argv[3]) + 1]
namespace = {}
for number, cell in enumerate(cells):
    try:
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
    except Exception as error:
        print(json.dumps([number, type(error).__name__]))
        break
else:
    print(json.dumps(["passed"]))
"""

# chapter, module, what is written there, what a slip of the pen would make of it, cell that must
# notice
MUTANTS = [
    ("a3_trace", "networks/two_layer", "net.a.square() * slopes", "net.a.abs() * slopes"),
    ("a3_trace", "curvature/trace", "q = others.scatter_(-1, c, -rest)", "q = others"),
    (
        "a3_trace",
        "curvature/trace",
        "gram = (slope @ pairs.mT)",
        "gram = (torch.ones_like(slope) @ pairs.mT)",
    ),
    (
        "b6_pair_proxy",
        "feasibility/pairs",
        "self.verdict[probes, labels], self.proven[probes, labels] = FEASIBLE, True",
        "self.verdict[probes, labels], self.proven[probes, labels] = INFEASIBLE, True",
    ),
    (
        "b6_pair_proxy",
        "feasibility/pairs",
        "self.verdict[pair], self.proven[pair] = INFEASIBLE, proven",
        "self.verdict[pair], self.proven[pair] = FEASIBLE, proven",
    ),
    (
        "a4_symmetry",
        "symmetry/orbits",
        "return kappa(p) * A ** (1 / (p + 1)) * B ** (p / (p + 1))",
        "return kappa(p) * A ** (p / (p + 1)) * B ** (1 / (p + 1))",
    ),
    (
        "b1_language",
        "weakness/tasks",
        "return superset_sum(t.unseen.astype(np.int64))",
        "return superset_sum(t.reach.astype(np.int64))",
    ),
]
LAST_CELL = {
    "a3_trace": 4,
    "a4_symmetry": 5,
    "b1_language": 11,
    "b6_pair_proxy": 2,
}  # the fast cells of the chapter


def run_chapter(package, chapter):
    command = [
        sys.executable,
        "-c",
        RUNNER,
        str(package),
        str(ROOT / "book" / f"{chapter}.ipynb"),
        str(LAST_CELL[chapter]),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT / "book",
        env={**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def package(tmp_path):
    for name in ("flatness", "flat_or_weak"):
        shutil.copytree(
            ROOT / "src" / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


@pytest.mark.parametrize(("chapter", "module", "written", "slip"), MUTANTS)
def test_broken_package_is_noticed(package, chapter, module, written, slip):
    path = package / "flatness" / f"{module}.py"
    code = path.read_text()
    assert code.count(written) == 1, f"{module}.py no longer holds {written!r}"
    path.write_text(code.replace(written, slip))
    stopped = run_chapter(package, chapter)
    assert stopped != ["passed"], f"{chapter} did not notice {slip!r} in {module}.py"

"""An installed wheel: the records are in it, and every command of the README works elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from flat_or_weak import records
from flat_or_weak.engine.registry import EXPERIMENTS
from flat_or_weak.engine.verify import PLANNED

ROOT = Path(__file__).resolve().parents[1]


def test_the_records_are_where_the_code_looks_for_them():
    """In a checkout in ``results/``; in a wheel in the folder that the build puts them in."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    (source, target), *others = built["targets"]["wheel"]["force-include"].items()
    assert not others and ROOT / source == records.RESULTS
    assert target == f"{records._HERE.relative_to(ROOT / 'src')}/results"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel in an environment of its own, which borrows the other packages from this one.

    A function that runs its Python in an empty folder, with a home of its own and no other
    variables.
    """
    base = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", base, ROOT], check=True, cwd=base)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "venv"], check=True)
    python = base / "venv" / "bin" / "python"
    (wheel,) = base.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    (home, work), ours = (base / "home", base / "work"), sysconfig.get_path("purelib")
    home.mkdir(), work.mkdir()
    (site,) = (base / "venv" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{ours}\n{sysconfig.get_path('platlib')}\n")
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}

    def run(*arguments, status=0, **more):
        found = subprocess.run(
            [python, *map(str, arguments)],
            cwd=work,
            env=variables | {name: str(value) for name, value in more.items()},
            capture_output=True,
            text=True,
        )
        assert found.returncode == status, found.stdout + found.stderr
        return found.stdout + found.stderr

    assert run("-c", "import flatness; print(flatness.__file__)").startswith(str(site))
    run.site, run.home, run.work = site, home, work
    return run


@pytest.mark.slow
def test_an_installed_wheel_has_the_records(installed):
    listed = installed("-m", "flat_or_weak", "list")
    missing = [line.split()[0] for line in listed.splitlines() if line.endswith("not recorded")]
    assert missing == list(PLANNED) and "]  recorded" in listed
    for name in EXPERIMENTS.keys() - PLANNED:
        assert (installed.site / "flat_or_weak" / "results" / f"{name}.json").read_bytes() == (
            records.RESULTS / f"{name}.json"
        ).read_bytes()
    assert "summary:" in installed("-m", "flat_or_weak", "show", "pair_proxy_mnist")
    said = installed("-m", "flat_or_weak", "verify", "head_to_head", "--device", "cpu")
    assert "agrees   head_to_head" in said and "1 of 1 records agree" in said


@pytest.mark.slow
def test_a_verification_without_a_record_fails(installed):
    path = installed.site / "flat_or_weak" / "results" / "noise_draws.json"
    aside = shutil.move(path, installed.work / "aside")
    try:
        said = installed("-m", "flat_or_weak", "verify", "noise_draws", status=1)
    finally:
        shutil.move(aside, path)
    assert "UNKNOWN" in said and "no such record" in said and "0 of 1 records agree" in said


@pytest.mark.slow
def test_new_records_go_to_the_users_folder(installed):
    run = ("-m", "flat_or_weak", "run", "head_to_head", "--scale", "quick", "--device", "cpu")
    before = sorted(os.listdir(installed.site / "flat_or_weak" / "results"))
    default = Path(installed(*run).rpartition("recorded in ")[2].splitlines()[0])
    assert installed.home in default.parents
    named = installed.work / "mine"
    installed(*run, "--folder", named)
    installed(*run, FLATNESS_RESULTS=installed.work / "variable")
    for folder in (named, installed.work / "variable"):
        again = json.loads((folder / default.name).read_text())
        assert again["table"] == json.loads(default.read_text())["table"]
    assert "summary:" in installed("-m", "flat_or_weak", "show", "head_to_head_quick")
    assert sorted(os.listdir(installed.site / "flat_or_weak" / "results")) == before


@pytest.mark.slow
def test_the_library_measures_and_fetches(installed):
    make = (
        "import numpy, torch; from torch import nn; torch.manual_seed(0);"
        "model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3));"
        "torch.save(model.state_dict(), 'model.pt');"
        "numpy.savez('images.npz', x=torch.randn(12, 6).numpy(), y=numpy.arange(12) % 3)"
    )
    installed("-c", make)
    said = installed("-m", "flatness", "measure", "model.pt", "--data", "images.npz")
    assert "trace" in said
    said = installed("-m", "flatness", "fetch", "all", "--from", installed.work, status=1)
    assert "mnist: neither t10k-labels-idx1-ubyte nor" in said
    said = installed("-c", "from flatness.datasets import load; print(load('mnist').source)")
    assert said.strip() == "embedded"

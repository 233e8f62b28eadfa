"""Circumstances that one does not think of: no home, nothing writable, a clock that jumps, a build
that is killed.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import coin_experiment
import nbformat
import pytest
from process_groups import alive

import flat_or_weak
from flat_or_weak.engine import registry, runner
from flat_or_weak.engine.experiment import Experiment

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("execute", ROOT / "book" / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)
QUICK = ("run", "head_to_head", "--scale", "quick", "--device", "cpu", "--workers", "1")

# ---- a user without rights and without a home, in a checkout that is not theirs


@pytest.fixture(scope="module")
def nobody():
    """A function that runs Python in a read-only copy of the checkout, as a user who has no entry,
    no home, no variables, and may read everything and write nothing.
    """
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can become somebody else, by setpriv")
    copy = Path(tempfile.mkdtemp(prefix="checkout-"))
    for name in ("src", "results"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    subprocess.run(["chmod", "-R", "a=rX", copy], check=True)
    become = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    become += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    if subprocess.run([*become, sys.executable, "-c", ""], capture_output=True).returncode:
        shutil.rmtree(copy)
        pytest.skip("this root may not hand on the right to read")

    def run(*arguments, status=0, **variables):
        found = subprocess.run(
            [*become, sys.executable, *arguments],
            cwd=copy,
            env={"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"} | variables,
            capture_output=True,
            text=True,
        )
        assert found.returncode == status, found.stdout + found.stderr
        assert "Traceback" not in found.stderr
        return found.stdout + found.stderr

    yield run
    shutil.rmtree(copy)


@pytest.mark.slow
def test_nobody_reads_the_records_and_measures(nobody):
    assert "[quick, paper]  recorded" in nobody("-m", "flat_or_weak", "list")
    assert "summary:" in nobody("-m", "flat_or_weak", "show", "pair_proxy_mnist")
    load = "from flatness.datasets import load; print(load('mnist').source)"
    assert nobody("-c", load).strip() == "embedded"
    figure = "import flat_or_weak.figures, matplotlib.pyplot as p; p.figure().canvas.draw()"
    nobody("-c", figure, MPLBACKEND="agg")


@pytest.mark.slow
def test_nobody_is_told_where_nothing_can_be_written(nobody):
    said = nobody("-m", "flat_or_weak", *QUICK, status=2)
    assert "folder: cannot write to" in said and "results" in said
    fetch = ("-m", "flatness", "fetch", "mnist", "--from", "/nowhere")
    assert "no home folder; set FLATNESS_DATA" in nobody(*fetch, status=1)
    assert "neither t10k-labels-idx1-ubyte nor" in nobody(*fetch, status=1, FLATNESS_DATA="/tmp")


@pytest.mark.slow
def test_nobody_records_in_a_folder_of_their_own(nobody):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        said = nobody("-m", "flat_or_weak", *QUICK, FLATNESS_RESULTS=folder)
        assert f"recorded in {folder}" in said
        assert os.listdir(folder) and (Path(folder) / "head_to_head_quick.json").stat().st_uid


# ---- a clock that jumps


@pytest.fixture
def coin(monkeypatch):
    config = coin_experiment.CoinConfig(units=6, seconds=0)
    experiment = Experiment("coins", coin_experiment, {"paper": config})
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", experiment)


def run(folder, **options):
    path = runner.run_and_record(
        "coin", device="cpu", folder=folder, workers=1, progress=False, **options
    )
    content = json.loads(path.read_text())
    assert 0 <= content["provenance"]["seconds"] < 60
    return content["table"], content["summary"]


@pytest.mark.parametrize("jump", [-1e9, -3600, 1e9])
def test_a_run_does_not_mind_a_clock_that_jumps(tmp_path, monkeypatch, coin, jump):
    whole, compute = run(tmp_path / "whole"), coin_experiment.compute

    def stop(config, device, dtype, *, number):
        now = time.time() + jump
        monkeypatch.setattr(time, "time", lambda: now)
        if number == 3:
            raise KeyboardInterrupt
        return compute(config, device, dtype, number=number)

    with monkeypatch.context() as patched:
        patched.setattr(coin_experiment, "compute", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() + 1e8,) * 2)
    assert run(tmp_path, resume=True) == whole


def test_staleness_is_of_content_and_not_of_time(small_book):
    page = small_book("x = 1\nprint(x)")
    before = execute.fingerprint(execute.source_notebook("page"))
    os.utime(page, (time.time() + 1e8,) * 2)
    assert execute.fingerprint(execute.source_notebook("page")) == before
    os.utime(small_book("x = 2\nprint(x)"), (0, 0))
    assert execute.fingerprint(execute.source_notebook("page")) != before


def test_a_page_whose_outputs_were_cleared_is_stale(small_book, monkeypatch, capsys):
    path = small_book("print('old')").with_suffix(".ipynb")
    monkeypatch.setattr(execute, "STATUS", path.parent / "_status.json")
    execute.execute("page")
    assert execute.main(["--check"]) == 0
    cleared = nbformat.read(path, 4)
    for cell in cleared.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    nbformat.write(cleared, path)
    assert execute.main(["--check"]) == 1
    assert "stale: page" in capsys.readouterr().out


# ---- another kernel: one that is not there, and one of the user's in place of ours


def test_a_page_of_another_kernel_is_not_executed(tmp_path, small_book, capsys):
    path = small_book("print('old')")
    path.write_text(path.read_text().replace("name: python3}", "name: another}"))
    assert execute.main(["page"]) == 1
    assert "FAILED    page: No such kernel named another" in capsys.readouterr().err
    assert not list(path.parent.glob("*.ipynb*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="only an environment comes before a home")
def test_a_kernel_of_the_users_with_the_same_name_is_not_taken(tmp_path, small_book, monkeypatch):
    theirs = tmp_path / ".local" / "share" / "jupyter" / "kernels" / "python3"
    theirs.mkdir(parents=True)
    kernel = {"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}
    (theirs / "kernel.json").write_text(json.dumps(kernel))
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_PATH", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    small_book("import sys\nprint(sys.prefix)")
    process = executing(tmp_path)
    assert process.communicate(timeout=240) and process.returncode == 0
    (cell,) = [
        cell
        for cell in nbformat.read(tmp_path / "book" / "page.ipynb", 4).cells
        if cell.cell_type == "code"
    ]
    assert cell.outputs[0].text.strip() == sys.prefix


# ---- a build that is killed while a chapter is executed


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A function that writes the only page of a book of its own, with one cell."""
    (tmp_path / "book").mkdir()
    (tmp_path / "requirements.txt").write_text("# book\n")
    shutil.copy(ROOT / "book" / "execute.py", tmp_path / "book")
    monkeypatch.setattr(execute, "BOOK", tmp_path / "book")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    path = tmp_path / "book" / "page.md"

    def write(code):
        path.write_text(
            "---\nkernelspec: {display_name: Python 3, language: python, name: python3}\n---\n\n"
            f"# Page\n\n```{{code-cell}} ipython3\n{code}\n```\n"
        )
        return path

    return write


def executing(folder):
    return subprocess.Popen(
        [sys.executable, folder / "book" / "execute.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_execution_leaves_the_old_notebook_and_no_kernel(tmp_path, small_book, number):
    notebook, flag = tmp_path / "book" / "page.ipynb", tmp_path / "flag"
    small_book("print('old')")
    process = executing(tmp_path)
    assert process.communicate(timeout=120) and process.returncode == 0
    old = notebook.read_bytes()
    mark = f"import os, pathlib, time\npathlib.Path({str(flag)!r}).write_text(str(os.getpid()))\n"
    small_book(mark + "time.sleep(60)\nprint('new')")
    process = executing(tmp_path)
    while not (flag.exists() and flag.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    kernel = int(flag.read_text())
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert notebook.read_bytes() == old
    assert [path.name for path in notebook.parent.glob("*.ipynb*")] == ["page.ipynb"]
    end = time.monotonic() + 30
    while kernel in alive(os.getpgid(kernel) if exists(kernel) else -1):
        assert time.monotonic() < end, "the kernel still runs"
        time.sleep(0.1)
    small_book("print('new')")
    process = executing(tmp_path)
    assert process.communicate(timeout=120) and process.returncode == 0
    (cell,) = [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]
    assert cell.outputs[0].text == "new\n"


def exists(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_execution_that_dies_while_it_writes_leaves_the_old_notebook(
    tmp_path, small_book, monkeypatch
):
    small_book("print('old')")
    execute.STATUS, status = tmp_path / "book" / "_status.json", execute.STATUS
    try:
        execute.execute("page")
        old = (tmp_path / "book" / "page.ipynb").read_bytes()

        def half(notebook, path):
            Path(path).write_text(nbformat.writes(notebook)[:100])
            raise KeyboardInterrupt

        small_book("print('new')")
        monkeypatch.setattr(nbformat, "write", half)
        with pytest.raises(KeyboardInterrupt):
            execute.execute("page")
    finally:
        execute.STATUS = status
    assert (tmp_path / "book" / "page.ipynb").read_bytes() == old and execute.is_stale("page")


def test_the_package_that_is_tested_is_the_one_of_this_checkout():
    assert ROOT in Path(flat_or_weak.__file__).parents

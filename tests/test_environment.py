"""The set-up of the environment, killed at many moments and begun again, and done once.

The project and its requirement are tiny and local, so nothing is looked up anywhere.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BACKEND = """
import pathlib, time, zipfile


def build_editable(folder, config_settings=None, metadata_directory=None):
    with open("log", "a") as log:
        log.write("built\\n")
    time.sleep(float(pathlib.Path("pause").read_text()))
    wheel(pathlib.Path(folder) / "project-1.0-py3-none-any.whl", "project")
    return "project-1.0-py3-none-any.whl"


def wheel(path, name):
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "answer = 42\\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        tag = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\n" + tag)
        file.writestr(f"{info}/RECORD", "")
"""


@pytest.fixture
def project(tmp_path):
    """A folder with our Makefile and set-up, a book of one page, and one requirement."""
    for name in ("Makefile", "tools/environment.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.md").write_text("")
    (tmp_path / "pause").write_text("0")
    (tmp_path / "backend.py").write_text(BACKEND)
    exec(compile(BACKEND, "backend.py", "exec"), backend := {})
    backend["wheel"](tmp_path / "tiny-1.0-py3-none-any.whl", "tiny")
    (tmp_path / "requirements.txt").write_text("./tiny-1.0-py3-none-any.whl\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "project"\nversion = "1.0"\n'
    )
    return tmp_path


def make(project, *goals):
    """A make in a session of its own."""
    return subprocess.Popen(
        ["make", f"PYTHON={sys.executable}", *goals],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def set_up(project, *goals):
    process = make(project, *(goals or [".venv/.ready"]))
    said, _ = process.communicate(timeout=120)
    return said, process.returncode


def is_whole(project):
    program = "import tiny, project; assert tiny.answer == project.answer == 42"
    python = project / ".venv" / "bin" / "python"
    return (
        not subprocess.run([python, "-c", program], cwd="/").returncode
        and (project / ".venv" / ".ready").exists()
        and not list(project.glob(".venv?*"))
    )


def built(project):
    log = project / "log"
    return log.read_text().count("built") if log.exists() else 0


@pytest.mark.slow
def test_a_set_up_is_made_once_and_again_only_for_other_requirements(project):
    said, status = set_up(project)
    assert status == 0 and "setting up" in said and is_whole(project)
    os.utime(project / "requirements.txt")
    said, status = set_up(project)
    assert status == 0 and "setting up" not in said and built(project) == 1
    (project / "requirements.txt").write_text("# other\n./tiny-1.0-py3-none-any.whl\n")
    os.utime(project / "requirements.txt", (time.time() + 60,) * 2)  # a clock that was wrong
    said, status = set_up(project)
    assert status == 0 and "setting up" in said and "interrupted" not in said
    assert built(project) == 2 and is_whole(project)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_set_up_killed_at_any_moment_is_begun_again(project, number):
    """At the start, while Python is copied, while pip is installed, during pip, at the end."""
    moments = [lambda: (project / ".venv").exists()]
    moments.append(lambda: list(project.glob(".venv/bin/python*")))
    moments.append(lambda: list(project.glob(".venv/lib/python*/site-packages/pip/__main__.py")))
    moments.append(lambda: list(project.glob(".venv/lib/python*/site-packages/tiny.py")))
    moments.append(lambda: (project / "log").exists())
    (project / "pause").write_text("3")
    for reached in moments:
        (project / "log").unlink(missing_ok=True)
        process = make(project, ".venv/.ready")
        while not reached():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
        assert process.returncode != 0 and not (project / ".venv" / ".ready").exists()
    (project / "pause").write_text("0")
    said, status = set_up(project)
    assert status == 0 and "interrupted: beginning again" in said and is_whole(project)


@pytest.mark.slow
def test_what_outlives_a_killed_set_up_is_waited_for(project):
    """The set-up alone is killed; its pip goes on, and the next set-up does not run into it."""
    (project / "pause").write_text("4")
    process = make(project, ".venv/.ready")
    while not (project / "log").exists():
        time.sleep(0.01)
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,args="], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    (script,) = [
        int(pid)
        for pid, group, args in rows
        if int(group) == process.pid and args.startswith(sys.executable + " tools/environment.py")
    ]
    os.kill(script, signal.SIGKILL)
    killed = time.monotonic()
    process.communicate(timeout=60)
    (project / "pause").write_text("0")
    said, status = set_up(project)
    assert time.monotonic() - killed > 2 and status == 0
    assert "interrupted: beginning again" in said and is_whole(project)


@pytest.mark.slow
def test_two_goals_and_two_makes_share_one_set_up(project):
    """The goals themselves fail in this folder: what they need is not installed."""
    (project / "pause").write_text("1")
    both = [make(project, "-j4", "-k", "book", "test", "lint") for _ in range(2)]
    said = "".join(process.communicate(timeout=120)[0] for process in both)
    assert said.count("== setting up") == built(project) == 1 and is_whole(project)


@pytest.mark.slow
def test_a_failed_installation_is_not_taken_for_a_set_up(project):
    (project / "requirements.txt").write_text("./missing.whl\n")
    said, status = set_up(project)
    assert status != 0 and "missing.whl" in said and not (project / ".venv" / ".ready").exists()
    (project / "requirements.txt").write_text("./tiny-1.0-py3-none-any.whl\n")
    assert set_up(project)[1] == 0 and is_whole(project)


def test_the_set_up_is_made_before_the_goals_that_share_it():
    """What the slow tests see happen, read off the rules."""
    rules = (ROOT / "Makefile").read_text()
    for goal in ("book", "execute", "lint", "verify", "benchmarks"):
        assert f"\n{goal}: $(READY)\n" in rules
    assert "\ntest: $(READY) " in rules


def test_another_interpreter_or_other_requirements_are_another_environment(project, monkeypatch):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import environment
    finally:
        sys.path.pop(0)
    seen = {environment.identity(project / "requirements.txt", project)}
    for name in ("requirements.txt", "pyproject.toml"):
        (project / name).write_text((project / name).read_text() + "# other\n")
        seen.add(environment.identity(project / "requirements.txt", project))
    monkeypatch.setattr(sys, "version", "3.99")
    seen.add(environment.identity(project / "requirements.txt", project))
    assert len(seen) == 4

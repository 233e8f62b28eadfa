"""The kernels of the chapters' regression test are forked, and as fresh as those that are not."""

import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from jupyter_client.provisioning import local_provisioner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

import warm_kernels  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")

FACTS = """import json, os, sys
import matplotlib
ours = [m for m in sys.modules if m.split(".")[0] in ("flatness", "flat_or_weak")]
print(json.dumps({
    "ours": ours, "names": sorted(n for n in globals() if n in ("mark", "warm_kernels")),
    "folder": os.getcwd(), "own group": os.getpgid(0) == os.getpid(), "parent": os.getppid(),
    "book": sys.path.count(BOOK), "variable": os.environ.get("ONE_OF_THE_TEST"),
    "backend": matplotlib.get_backend()}))
mark = 1"""


def told(client, code):
    """What the code prints."""
    texts = []
    client.execute_interactive(
        code, timeout=60, output_hook=lambda m: texts.append(m["content"].get("text", ""))
    )
    return "".join(texts)


def end(manager, client):
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.context.destroy(linger=0)


def test_each_kernel_is_fresh_and_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(local_provisioner, "launch_kernel", local_provisioner.launch_kernel)
    monkeypatch.setenv("ONE_OF_THE_TEST", "set")
    made = []
    monkeypatch.setattr(warm_kernels.atexit, "register", lambda close: made.append(close.__self__))
    warm_kernels.install(["matplotlib.pyplot"])
    facts, kernels = [], []
    for folder in (tmp_path, Path.cwd()):
        kernels.append(start_new_kernel(cwd=str(folder)))
        code = FACTS.replace("BOOK", repr(str(Path(warm_kernels.__file__).parent)))
        facts.append(json.loads(told(kernels[-1][1], code)))
    (nursery,) = made
    for one, folder in zip(facts, (tmp_path, Path.cwd())):
        assert one["ours"] == one["names"] == [] and one["book"] == 0
        assert one["folder"] == str(folder) and one["variable"] == "set"
        assert one["own group"] and one["parent"] == nursery.process.pid
        assert one["backend"] == warm_kernels.BACKEND
    first, second = (manager.provisioner.process for manager, _ in kernels)
    assert first.poll() is second.poll() is None
    end(*kernels[0])
    assert first.poll() == 0 and second.poll() is None
    end(*kernels[1])
    nursery.close()
    assert nursery.process.poll() is not None and not os.path.exists(f"/proc/{second.pid}")


def test_other_commands_start_as_usual(monkeypatch):
    asked = []
    monkeypatch.setattr(
        local_provisioner, "launch_kernel", lambda command, **how: asked.append(how)
    )
    warm_kernels.install()
    local_provisioner.launch_kernel(["julia", "kernel.jl"], cwd="here")
    assert asked == [{"cwd": "here"}]


def test_a_nursery_that_died_says_so():
    nursery = warm_kernels.Nursery([])
    try:
        nursery.process.kill()
        nursery.process.wait()
        with pytest.raises((ChildProcessError, BrokenPipeError)):
            nursery.launch(["python", "-m", "ipykernel_launcher"])
    finally:
        with contextlib.suppress(BrokenPipeError):
            nursery.close()

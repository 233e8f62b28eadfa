"""The command: weights and arrays from files, a table, and errors that name the file."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from flatness.__main__ import main
from flatness.measures import measure
from flatness.measures.command import read_weights

N, K = 12, 3
G = torch.Generator().manual_seed(0)
X = torch.randn(N, 2, 3, generator=G, dtype=torch.float64)
Y = X.flatten(1)[:, :K].argmax(1)
POINTS = torch.randn(9, 2, 3, generator=G, dtype=torch.float64)


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, K))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        torch.save(mlp(seed).state_dict(), f"m{seed}.pt")
    np.savez("data.npz", x=X.numpy(), y=Y.numpy().astype(np.uint8))
    np.savez("points.npz", x=POINTS.numpy())
    return tmp_path


def test_the_table_is_that_of_measure(folder, capsys):
    command = "measure m0.pt m1.pt --data data.npz --points points.npz --probes 4 --csv t.csv"
    assert main([*command.split(), "--blocks"]) == 0
    shown = capsys.readouterr()
    assert "orbit_trace" in shown.out and "m1.pt" in shown.out and not shown.err
    assert "left out: epochs needs epochs=" in shown.out
    models = [mlp(0), mlp(1)]
    found = measure(models, X, Y, points=POINTS, probes=POINTS[:4]).table(blocks=True)
    table = pd.read_csv("t.csv")
    assert table.pop("file").tolist() == ["m0.pt", "m1.pt"]
    pd.testing.assert_frame_equal(table, found.reset_index(drop=True), check_dtype=False)


def test_few_measures_of_a_checkpoint(folder, capsys):
    torch.save({"epoch": 3, "model_state_dict": mlp(0).state_dict()}, "checkpoint.pt")
    assert main("measure checkpoint.pt --data data.npz --measures trace margin".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["trace", "margin"]
    torch.testing.assert_close(dict(read_weights("checkpoint.pt")), dict(mlp(0).state_dict()))


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        return open, ("trapped", "w")


def test_code_is_never_run(folder, capsys):
    for name, write in (
        ("model.pt", lambda: torch.save(mlp(0), "model.pt")),
        ("trap.pt", lambda: torch.save(Trap(), "trap.pt")),
        ("raw.pt", lambda: (folder / "raw.pt").write_bytes(pickle.dumps(Trap()))),
    ):
        write()
        assert main(["measure", name, "--data", "data.npz"]) == 2
        assert f"{name}: not a file of weights alone" in capsys.readouterr().err
    np.savez("trap.npz", x=np.array([Trap()], dtype=object), y=Y.numpy())
    (folder / "trap.npy").write_bytes((folder / "trap.pt").read_bytes())
    for name in ("trap.npz", "trap.npy"):
        assert main(["measure", "m0.pt", "--data", name]) == 2
        assert f"{name}: " in capsys.readouterr().err
    assert not (folder / "trapped").exists()


def test_errors_name_the_file_or_option(folder, capsys):
    torch.save([1], "list.pt")
    torch.save(nn.Conv2d(1, 1, 1).state_dict(), "conv.pt")
    (folder / "text.pt").write_text("text")
    (folder / "text.npz").write_text("text")
    np.save("array.npy", X.numpy())
    np.savez("pixels.npz", x=(X * 9).numpy().astype(np.uint8), y=Y.numpy())
    np.savez("real.npz", x=X.numpy(), y=Y.numpy() / 2)
    np.savez("short.npz", x=X.numpy(), y=Y.numpy()[1:])
    np.savez("wide.npz", x=X.numpy()[:, :1], y=Y.numpy())
    for command, said in (
        ("no.pt --data data.npz", "no.pt: no such file"),
        ("text.pt --data data.npz", "text.pt: not a file of weights alone"),
        ("list.pt --data data.npz", "list.pt: expected a state dict, got list"),
        ("conv.pt --data data.npz", "'weight' of shape (1, 1, 1, 1) is no weight"),
        ("m0.pt --data no.npz", "no.npz: no such file"),
        ("m0.pt --data text.npz", "text.npz: "),
        ("m0.pt --data array.npy", "array.npy: expected an .npz file"),
        ("m0.pt --data points.npz", "points.npz: expected an array 'y', the file has x"),
        ("m0.pt --data pixels.npz", "scale images as they were in training"),
        ("m0.pt --data real.npz", "real.npz: expected whole numbers"),
        ("m0.pt --data short.npz", "y: expected 12 int64 classes"),
        ("m0.pt --data wide.npz", "x: expected inputs (n, ...) of 6"),
        ("m0.pt --data data.npz --measures flat", "names: no measure 'flat'"),
        ("m0.pt --data data.npz --points points.npz --probes 10", "--probes: expected 1 to 9"),
        ("m0.pt --data data.npz --csv no/t.csv", "no/t.csv"),
    ):
        assert main(["measure", *command.split()]) == 2, command
        shown = capsys.readouterr().err
        assert said in shown.replace("'no'", "no/t.csv"), shown
    for command in ("m0.pt", "m0.pt --data data.npz --probes 3", "--data data.npz"):
        with pytest.raises(SystemExit) as stopped:
            main(["measure", *command.split()])
        assert stopped.value.code == 2
    assert "--probes N needs --points FILE" in capsys.readouterr().err

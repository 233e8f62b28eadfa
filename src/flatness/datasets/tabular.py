"""Two tables of handwritten digits, embedded whole: the data sets for experiments off MNIST.

* ``"digits"``: 5,620 digits as 8 x 8 counts of ink, 0..16 (Alpaydin and Kaynak 1998, *Optical
  Recognition of Handwritten Digits*, UCI Machine Learning Repository); scikit-learn carries 1,797
  of them under the same name;
* ``"pen-digits"``: 10,992 digits as 8 points of the pen's way, 0..100 (Alpaydin and Alimoglu 1996,
  *Pen-Based Recognition of Handwritten Digits*, the same repository).

Both are published under CC BY 4.0. A feature is the stored integer divided by the largest one, a
label is an integer 0..9. The files are written by `write` from the text that the KEEL repository
distributes (one sample a line, the class last).
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from flatness.datasets.archives import IntegrityError
from flatness.datasets.pools import Points, _check_dtype, _check_int

LARGEST = {"digits": 16, "pen-digits": 100}
SHA256 = {  # of data/<name>.npz
    "digits": "67104366f6dc78458555dab4afefe1d4b6bdb22391c3efb6d428645945f3bf44",
    "pen-digits": "58340b71ced7c2eade1fcddc423b87af46cf05f7a953a78234a9fd3ca195da62",
}


def load_table(
    name: str,
    n_train: int = 250,
    *,
    num_probes: int = 100,
    seed: int = 42,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
) -> tuple[Points, Points, Points]:
    """Training set, probe points and test set: a random permutation under ``seed`` cut in three.

    The first ``n_train`` rows of the permutation train, the next ``num_probes`` are probe points,
    all others are the test set (at least one).  ``Points.index`` are rows of the table.

    ValueError or TypeError for a bad argument; `flatness.datasets.archives.IntegrityError` if the
    file is not the one that comes with the package.

    >>> train, probes, test = load_table("digits")
    >>> train.x.shape, probes.x.shape, test.x.shape, train.x.min().item(), train.x.max().item()
    (torch.Size([250, 64]), torch.Size([100, 64]), torch.Size([5270, 64]), 0.0, 1.0)
    """
    _check_dtype(dtype)
    rows, labels = _table(name)
    _check_int("n_train", n_train, 1, len(rows) - 1)
    _check_int("num_probes", num_probes, 0, len(rows) - 1 - n_train)
    _check_int("seed", seed)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    x = rows.to(dtype).div_(LARGEST[name]).to(device)
    y = labels.to(torch.int64).to(device)

    def part(index: torch.Tensor) -> Points:
        return Points(x[index.to(device)], y[index.to(device)], index)

    train, probes, test = order.tensor_split([n_train, n_train + num_probes])
    return part(train), part(probes), part(test)


@cache
def _table(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features uint8 (n, d) and labels uint8 (n,) as stored."""
    if not isinstance(name, str) or name not in SHA256:
        raise ValueError(f"name: expected one of {', '.join(map(repr, SHA256))}, got {name!r}")
    path = files("flatness.datasets") / "data" / f"{name}.npz"
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
        raise IntegrityError(
            f"{path}: refused, not the file that comes with the package; "
            f"SHA-256 {found}, expected {SHA256[name]}"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def write(name: str, source: Path, target: Path) -> str:
    """Write ``target/<name>.npz`` from the text of the table; its SHA-256, which belongs into
    `SHA256`. Lines that begin with ``@`` are the header.
    """
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    rows = np.array(
        [[int(v) for v in line.split(",")] for line in lines if line.strip() and line[0] != "@"]
    )
    if rows.min() < 0 or rows[:, :-1].max() != LARGEST[name]:
        raise ValueError(
            f"source: expected features 0..{LARGEST[name]} of {name}, got "
            f"{rows.min()}..{rows[:, :-1].max()}"
        )
    path = Path(target) / f"{name}.npz"
    np.savez_compressed(path, x=rows[:, :-1].astype(np.uint8), y=rows[:, -1].astype(np.uint8))
    return hashlib.sha256(path.read_bytes()).hexdigest()

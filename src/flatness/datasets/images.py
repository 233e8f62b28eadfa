"""MNIST and Fashion-MNIST with Paper B's exact splits.

All indices are those of the global pool (`flatness.datasets.pools`): 0..59999 are the training
images in file order and 60000..69999 the test images.

Source of the splits: Paper B, the description of its experiments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from flatness.datasets import archives
from flatness.datasets.pools import (
    N_POOL,
    N_TRAIN,
    Points,
    _check_dtype,
    _check_int,
    embedded_pool,
    load_pool,
)

NAMES = tuple(archives.ARCHIVES)
TRAIN_ONLY_FROM = (
    24_000  # from this child size on, Paper B's unseen pool leaves the test images out
)


@dataclass(frozen=True, eq=False)
class Split:
    """One child task with its probe points and test set.

    Attributes
    ----------
    name : "mnist" or "fashion-mnist".
    source : "embedded" or "full", where the images were read from.
    train : `Points`, the child's training set, in the order of the random permutation.
    probes : `Points`, the probe points with their true labels.
    test : `Points`, the 10,000 test images.
    unseen : int64 ``(m,)`` on the CPU, global indices of the whole unseen pool (see `unseen_pool`);
        the images themselves come in chunks from ``load_pool(name).chunks(split.unseen)``.
    """

    name: str
    source: str
    train: Points
    probes: Points
    test: Points
    unseen: torch.Tensor


def load(
    name: str,
    n_child: int = 250,
    *,
    num_probes: int = 100,
    seed_child: int = 42,
    seed_probes: int = 99,
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Split:
    """The split of Paper B: child training set, probe points, test set.

    Parameters
    ----------
    name : "mnist" or "fashion-mnist".
    n_child : size of the child's training set, 1..60000.
    num_probes : number of probe points, 0..size of the unseen pool.
    seed_child, seed_probes : seeds of the two permutations (Paper B: 42 and 99).
    data : folder with the four IDX files (plain or ``.gz``, or in a subfolder called `name`) to be
        used instead of the embedded images and the cache.
    device, dtype : of the images.  Pixels are divided by 255 in this dtype.

    Raises
    ------
    ValueError or TypeError for a bad argument; MissingImages if an image is not at hand;
    `flatness.datasets.archives.IntegrityError` if a file is damaged.

    >>> split = load("mnist", 250)
    >>> split.train.x.shape, split.probes.x.shape, split.test.x.shape, len(split.unseen)
    (torch.Size([250, 784]), torch.Size([100, 784]), torch.Size([10000, 784]), 69750)
    """
    _check_dtype(dtype)
    archives.archive(name)
    child = child_indices(n_child, seed_child)
    unseen = unseen_pool(n_child, seed_child)
    probes = unseen[probe_positions(len(unseen), num_probes, seed_probes)]
    test = torch.arange(N_TRAIN, N_POOL)
    if data is not None:
        pool = load_pool(name, data)
    else:
        pool = embedded_pool(name)
        lacking = [
            (kind, len(pool.missing(index)), len(index))
            for kind, index in (("training images", child), ("probe points", probes))
        ]
        if any(absent for _, absent, _ in lacking):
            what = " and ".join(
                f"{absent:,} of the {total:,} {kind}" for kind, absent, total in lacking if absent
            )
            pool = load_pool(
                name,
                wanted=f"{what} of this split (n_child={n_child}, "
                f"seed_child={seed_child}, seed_probes={seed_probes})",
            )
    train, probes, test = (pool.points(index, device, dtype) for index in (child, probes, test))
    return Split(name, pool.source, train, probes, test, unseen)


def child_indices(n_child: int, seed: int = 42) -> torch.Tensor:
    """The child's training images: the first `n_child` entries of ``torch.randperm(60000)`` under
    `seed`.

    Children of one seed are nested.  int64 ``(n_child,)``.

    >>> child_indices(3).tolist() == child_indices(5)[:3].tolist()
    True
    """
    _check_int("n_child", n_child, 1, N_TRAIN)
    _check_int("seed_child", seed)
    return torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(seed))[:n_child]


def unseen_pool(n_child: int, seed_child: int = 42) -> torch.Tensor:
    """Global indices, ascending, of the images that a child of `n_child` images does not see.

    Three rules, Paper B's own at the sizes that it uses:

    - ``n_child < 24000``: the remaining training images, then the 10,000 test images;
    - ``24000 <= n_child < 60000``: the remaining training images only (the paper has 24000; that
      sizes in between follow the same rule is our choice);
    - ``n_child = 60000``: the test images.

    >>> [len(unseen_pool(n)) for n in (250, 12000, 24000, 60000)]
    [69750, 58000, 36000, 10000]
    """
    unseen = torch.ones(N_POOL, dtype=torch.bool)
    unseen[child_indices(n_child, seed_child)] = False
    if TRAIN_ONLY_FROM <= n_child < N_TRAIN:
        unseen[N_TRAIN:] = False
    return unseen.nonzero().squeeze(1)


def probe_positions(n_unseen: int, num_probes: int = 100, seed: int = 99) -> torch.Tensor:
    """Positions of the probe points in the unseen pool: the first `num_probes` entries of
    ``torch.randperm(n_unseen)`` under `seed`.  int64 ``(num_probes,)``."""
    _check_int("n_unseen", n_unseen)
    if n_unseen < 0:
        raise ValueError(f"n_unseen: expected a number of images >= 0, got {n_unseen}")
    if isinstance(num_probes, int) and not 0 <= num_probes <= n_unseen:
        raise ValueError(
            f"num_probes: expected an integer in 0..{n_unseen}, n_unseen, got {num_probes}"
        )
    _check_int("num_probes", num_probes, 0, n_unseen)
    _check_int("seed_probes", seed)
    return torch.randperm(n_unseen, generator=torch.Generator().manual_seed(seed))[:num_probes]

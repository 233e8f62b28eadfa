"""Writes the embedded image subsets ``data/<name>.npz`` from the full data sets.

    python -m flatness fetch all && python -m flatness.datasets.embed

Each archive is a plain compressed ``.npz`` (readable with ``numpy.load``, nothing pickled) of three
arrays: ``index`` int32 ``(m,)``, ascending global indices; ``images`` uint8 ``(m, 784)``;
``labels`` uint8 ``(m,)``. It covers every test image and the splits in `COVERED`; its SHA-256,
which is printed, belongs into `flatness.datasets.archives.EMBEDDED`.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from flatness.datasets.images import child_indices, probe_positions, unseen_pool
from flatness.datasets.pools import N_POOL, N_TRAIN, load_pool

COVERED = {  # name: {child size: seeds of its sets of 100 probe points}; child seed 42 throughout
    "mnist": {100: [99], 250: range(99, 109), 500: [99], 1000: [99], 2000: [99]},
    "fashion-mnist": {100: [99], 250: range(99, 109), 500: [99], 1000: [99]},
}


def covered_indices(name: str) -> torch.Tensor:
    """Ascending global indices of the images that are embedded for this data set."""
    if name not in COVERED:
        raise ValueError(f"name: expected one of {', '.join(COVERED)}, got {name!r}")
    wanted = [torch.arange(N_TRAIN, N_POOL)]
    for n_child, probe_seeds in COVERED[name].items():
        unseen = unseen_pool(n_child)
        wanted.append(child_indices(n_child))
        wanted += [unseen[probe_positions(len(unseen), 100, seed)] for seed in probe_seeds]
    return torch.cat(wanted).unique()


def embed(name: str, target: Path, data: str | Path | None = None) -> Path:
    """Write ``target/<name>.npz`` from the full data set (in the cache, or in folder `data`)."""
    index = covered_indices(name)
    pool = load_pool(name, data)
    path = Path(target) / f"{name}.npz"
    np.savez_compressed(
        path,
        index=index.to(torch.int32).numpy(),
        images=pool.images[index].numpy(),
        labels=pool.labels[index].numpy(),
    )
    return path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m flatness.datasets.embed", description="Write the embedded subsets."
    )
    parser.add_argument(
        "--from",
        dest="data",
        metavar="FOLDER",
        help="folder with the IDX files or with a subfolder per data set; default: the cache",
    )
    parser.add_argument(
        "--to", dest="target", metavar="FOLDER", type=Path, default=Path(__file__).parent / "data"
    )
    options = parser.parse_args(argv)
    for name in COVERED:
        path = embed(name, options.target, options.data)
        content = path.read_bytes()
        print(
            f"{path}: {len(covered_indices(name)):,} images, {len(content) / 1e6:.2f} MB, "
            f"SHA-256 {hashlib.sha256(content).hexdigest()}"
        )


if __name__ == "__main__":
    main()

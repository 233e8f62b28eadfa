"""The command ``python -m flatness measure``: weights and data from files, never pickled code."""

from __future__ import annotations

import argparse
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatness.measures.table import measure
from flatness.networks.torch_models import from_state_dict

NESTED = ("state_dict", "model_state_dict")


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file of ``torch.save(model.state_dict(), path)``, on the CPU.

    A checkpoint that holds it under "state_dict" or "model_state_dict" will do. Only tensors are
    read (``weights_only``): a file that holds a whole model is code, and refused with a ValueError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols of pickle, whose code is not run
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # whatever a file of something else does to its reader
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(
            f"{path}: not a file of weights alone ({reason}); "
            "write one with torch.save(model.state_dict(), path)"
        ) from error
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: expected a state dict, got {type(found).__name__}")
    return found


def read_arrays(path: Path, *names: str) -> list[Tensor]:
    """Arrays of an .npz file as tensors; ValueError where one is not there or holds no numbers."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(f"{path}: expected an .npz file with {' and '.join(names)}")
        with file:
            if missing := [name for name in names if name not in file]:
                raise ValueError(
                    f"{path}: expected an array {missing[0]!r}, the file has {', '.join(file)}"
                )
            arrays = {name: file[name] for name in names}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an .npz file ({error})") from error
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: arrays of numbers only ({error})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in ("iu" if name == "y" else "f"):
            wanted = "whole numbers, the classes" if name == "y" else "floating-point numbers"
            raise ValueError(
                f"{path}: expected {wanted} in {name!r}, got {array.dtype}"
                + ("" if name == "y" else "; scale images as they were in training")
            )
    return [
        torch.from_numpy(np.ascontiguousarray(a.astype(np.int64 if name == "y" else float)))
        for name, a in arrays.items()
    ]


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m flatness measure",
        description="Flatness and weakness of trained stacks of Linear and ReLU layers.",
        epilog="What a measure lacks is said below the table. Other models: flatness.measures."
        "measure in Python.",
    )
    parser.add_argument(
        "weights", nargs="+", type=Path, help="files of torch.save(model.state_dict(), FILE)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help=".npz with the training set: x, floating-point (n, ...), and y, classes (n,)",
    )
    parser.add_argument(
        "--points",
        type=Path,
        metavar="FILE",
        help=".npz with x, unlabelled inputs: for activation patterns, and for probes",
    )
    parser.add_argument(
        "--probes",
        type=int,
        metavar="N",
        help="certify the pair proxy at the first N of the points",
    )
    parser.add_argument(
        "--measures", nargs="+", metavar="NAME", help="these only (default: all that can be had)"
    )
    parser.add_argument("--blocks", action="store_true", help="the exact trace by layer as well")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to FILE")
    options = parser.parse_args(argv)
    if options.probes is not None and options.points is None:
        parser.error("--probes N needs --points FILE, whose first N inputs are the probes")
    try:
        found = _measured(options)
        table = found.table(blocks=options.blocks)
        table.insert(0, "file", [path.name for path in options.weights])
        print(table.set_index("file").T.to_string(float_format="{:.6g}".format))
        for name, lacks in found.left_out.items():
            print(f"left out: {name} needs {lacks}")
        if options.csv is not None:
            table.to_csv(options.csv, index=False)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _measured(options: argparse.Namespace) -> Any:
    x, y = read_arrays(options.data, "x", "y")
    points = read_arrays(options.points, "x")[0] if options.points is not None else None
    probes = None
    if points is not None and options.probes is not None:
        if not 1 <= options.probes <= len(points):
            raise ValueError(
                f"--probes: expected 1 to {len(points)}, the inputs in {options.points}, got "
                f"{options.probes}"
            )
        probes = points[: options.probes].flatten(1)
    networks = from_state_dict(*(read_weights(path) for path in options.weights))
    return measure(
        networks,
        x.flatten(1),
        y,
        names=options.measures,
        points=None if points is None else points.flatten(1),
        probes=probes,
    )

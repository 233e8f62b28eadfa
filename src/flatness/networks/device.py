"""One place that decides where computations run and in which precision."""

from __future__ import annotations

import os

import torch


def default_device(name: str | None = None) -> torch.device:
    """The device called ``name``, else the one in the environment variable FLATNESS_DEVICE, else
    CUDA, MPS, or the CPU.

    Raises ValueError if PyTorch does not know the device or cannot reach it.
    """
    wanted, origin = (
        (name, "device") if name else (os.environ.get("FLATNESS_DEVICE", ""), "FLATNESS_DEVICE")
    )
    if not wanted:
        return torch.device(
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"{origin}: cannot use {wanted!r} ({str(error).splitlines()[0]})"
        ) from error
    return torch.device(wanted)


def default_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it (CPU, CUDA), float32 on MPS.

    Double precision is what makes the book's numbers the same on every machine: rounding
    differences between processors stay far below the printed digits through hundreds of SGD epochs.

    >>> default_dtype(torch.device("cpu"))
    torch.float64
    """
    return torch.float32 if device.type == "mps" else torch.float64

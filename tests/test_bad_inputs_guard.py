"""No public door of the library escapes the trial of odd arguments, and the trial can fail."""

import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import Case, defects

import flatness

GROUPS = [
    importlib.import_module(path.stem)
    for path in sorted(Path(__file__).parent.glob("test_bad_inputs_*.py"))
    if path != Path(__file__)
]
COVERED = {
    re.sub(r" \(.*\)$", "", case.name).rpartition(".")[2]
    for group in GROUPS
    for case in group.CASES
}
ROOMS = [
    importlib.import_module(f"flatness.{room.name}")
    for room in pkgutil.iter_modules(flatness.__path__)
    if room.ispkg and not room.name.startswith("_")
]
DOORS = [
    (room.__name__, name)
    for room in ROOMS
    for name in room.__all__
    if hasattr(getattr(room, name), "__wrapped__")  # by checked: it states rules for its arguments
]


@pytest.mark.parametrize(("room", "name"), DOORS)
def test_every_checked_door_is_tried(room, name):
    assert name in COVERED


def ones():
    return {"x": torch.ones(3, 2, dtype=torch.float64), "y": torch.arange(3.0, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("function", "build", "found"),
    [
        (lambda x, y: x.sum() + y.sum(), ones, "x: nan): accepted"),
        (lambda x, y: (x.sum(1) * y).sum(), ones, "y: one in axis 0): accepted"),
        (lambda x, y: (x.reshape(-1)[:3] + y).sum(), ones, "obscure RuntimeError"),
        (
            lambda x, y: torch.as_strided(x, (2,), (1,)) + y.sum(),
            ones,
            "x: strided): another result",
        ),
        (lambda a: 1.0 / a if a else float("nan"), lambda: {"a": 2.0}, "a: 0.0): not finite"),
        (
            lambda a: a / 0 if a == 1.5 else a,
            lambda: {"a": 2.0},
            "a: 1.5): obscure ZeroDivisionError",
        ),
        (lambda n: n + 1, lambda: {"n": 2}, "n: 2.5): accepted"),
        (lambda word: len(str(word)), lambda: {"word": "it"}, "word: no such): accepted"),
        (lambda values: np.sum(values), lambda: {"values": np.ones(3)}, "values: inf): accepted"),
    ],
)
def test_the_trial_finds_what_is_wrong(function, build, found):
    assert any(found in defect for defect in defects(Case(function, build, "it"))[1])


def test_an_endless_call_is_found(monkeypatch):
    monkeypatch.setattr("bad_inputs.SECONDS", 1)

    def endless(n):
        while n == 0:
            pass

    assert "it(n: 0): no answer in 1 s" in defects(Case(endless, lambda: {"n": 2}, "it"))[1]


def test_the_trial_is_large():
    assert len(DOORS) > 100

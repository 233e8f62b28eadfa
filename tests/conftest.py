"""Shared set-up of the tests: repeatable hypothesis runs, one thread per process, and the longest
files first, so that no worker is left with one at the end.
"""

import json
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings
from properties import examples

settings.register_profile(
    "repeatable",
    max_examples=examples(100),
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
torch.set_num_threads(1)

EXECUTED = Path(__file__).resolve().parents[1] / "book" / "_status.json"


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # it would take the files with the most tests first


def pytest_collection_modifyitems(items):
    """The chapters, as long as their last execution took, then the files as they come."""
    entries = json.loads(EXECUTED.read_text()) if EXECUTED.is_file() else {}

    def place(item):
        seconds = entries.get(item.path.stem, {}).get("seconds", 60)
        return -seconds if item.path.suffix == ".ipynb" else 0

    items.sort(key=place)

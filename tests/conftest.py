"""Shared set-up of the tests: repeatable hypothesis runs and one thread per process."""

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

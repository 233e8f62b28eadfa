"""The guard of a study whose plan was frozen before its first recorded network."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def check_plan(config: Any, plan: ModuleType) -> None:
    """Raises ValueError unless the plan in the code (its ``fingerprint()`` and its date ``FROZEN``)
    is the one that the configuration's ``plan`` and ``frozen`` name.
    """
    if (config.plan, config.frozen) != (plan.fingerprint(), plan.FROZEN):
        raise ValueError(
            f"plan: the configuration names {config.plan[:12]} of {config.frozen}, here it is "
            f"{plan.fingerprint()[:12]} of {plan.FROZEN}; what is recorded under one plan is "
            "not continued or repeated under another"
        )

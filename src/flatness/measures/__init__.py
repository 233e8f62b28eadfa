"""All measures of a reader's own network in one table.

* `command`: the command ``python -m flatness measure``.
* `modules`: what is measured of a ``torch.nn.Module`` that is no stack of Linear and ReLU layers.
* `registry`: the measures of a stack of Linear and ReLU layers that chapter c2_head_to_head
  compares, what each needs, and what each is invariant under.
* `table`: one row per network, one column per measure.
"""

from flatness.measures.modules import (
    MODULE_MEASURES,
    ModuleMeasure,
    ModuleSubject,
    outputs_and_features,
)
from flatness.measures.registry import (
    MEASURES,
    NEEDS,
    Measure,
    Subject,
    certified_pairs,
    lacking,
    measure_all,
)
from flatness.measures.table import Measured, measure

__all__ = [
    "MEASURES",
    "MODULE_MEASURES",
    "Measure",
    "Measured",
    "ModuleMeasure",
    "ModuleSubject",
    "NEEDS",
    "Subject",
    "certified_pairs",
    "lacking",
    "measure",
    "measure_all",
    "outputs_and_features",
]

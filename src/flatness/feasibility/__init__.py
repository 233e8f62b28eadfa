"""Weakness of trained networks: which classes at which points a network's features still allow.

* `certificates`: certificates of feasibility and infeasibility, and their checks.
* `extension`: how many labellings of several probe points are consistent with the training
  policy, jointly.
* `labelled_points`: labelled feature points as input: what is accepted, and the errors that name
  what is not.
* `pairs`: certified feasibility of (probe, class) pairs: the pair proxy of Paper B, section on
  the feature-classifier vocabulary.
* `policy_cone`: the cone of last layers that keep a labelling, and Newton's method inside it.
* `refutations`: refutations: Farkas vectors by non-negative least squares, and HiGHS for what is
  left.
"""

from flatness.feasibility.certificates import (
    Check,
    Farkas,
    certified_system,
    exact_farkas,
    exact_witness,
    farkas_residual,
    margins,
    verify,
)
from flatness.feasibility.extension import Count, Estimate, count_labellings, estimate_labellings
from flatness.feasibility.labelled_points import (
    TrainingPolicyInfeasible,
    checked_system,
    refuse_contradictions,
)
from flatness.feasibility.pairs import (
    EnsembleVerdicts,
    PairVerdicts,
    pair_verdicts,
    pair_verdicts_ensemble,
    training_layer,
)
from flatness.feasibility.policy_cone import PolicyCone, homogenise, whiten
from flatness.feasibility.refutations import constraint_rows, linear_program, many_class, two_class

__all__ = [
    "Check",
    "Count",
    "EnsembleVerdicts",
    "Estimate",
    "Farkas",
    "PairVerdicts",
    "PolicyCone",
    "TrainingPolicyInfeasible",
    "certified_system",
    "checked_system",
    "constraint_rows",
    "count_labellings",
    "estimate_labellings",
    "exact_farkas",
    "exact_witness",
    "farkas_residual",
    "homogenise",
    "linear_program",
    "many_class",
    "margins",
    "pair_verdicts",
    "pair_verdicts_ensemble",
    "refuse_contradictions",
    "training_layer",
    "two_class",
    "verify",
    "whiten",
]

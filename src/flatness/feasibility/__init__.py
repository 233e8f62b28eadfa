"""Weakness of trained networks: which classes at which points a network's features still allow.

* `certificates`: certificates of feasibility and infeasibility, and their checks.
* `exact`: systems decided in rational arithmetic, and floating-point proofs that spare it.
* `extension`: how many labellings of several probe points are consistent with the training
  policy, jointly.
* `frames`: exact changes of coordinates that bring features near the origin and to size one.
* `labelled_points`: labelled feature points as input: what is accepted, and the errors that name
  what is not.
* `labelling_tree`: the tree of labellings of probe points that are consistent with the training
  policy.
* `labellings`: one count of labellings and several estimates of it, without deciding anything
  twice.
* `newton_systems`: the linear systems of Newton's method on the barrier, assembled and solved a few
  at a time.
* `oracle`: the certified oracle that pairs and joint labellings share.
* `pairs`: certified feasibility of (probe, class) pairs: the pair proxy of Paper B, section on
  the feature-classifier vocabulary.
* `policy_cone`: the cone of last layers that keep a labelling, and Newton's method inside it.
* `refutations`: refutations: Farkas vectors by non-negative least squares, and HiGHS for what is
  left.
* `thinning`: which labellings of a level survive: systematic sampling with known probabilities.
* `verdicts`: verdicts on (probe, class) pairs: each with its certificate, of one network or an
  ensemble.
* `verification`: every certificate of a network's verdicts, evaluated again from the raw
  features.
* `whitening`: whitening: homogeneous features in coordinates in which they have the identity as
  Gram matrix.
"""

from flatness.feasibility.certificates import (
    Farkas,
    exact_farkas,
    exact_witness,
    farkas_residual,
    margins,
)
from flatness.feasibility.exact import decide, proven
from flatness.feasibility.extension import Count, Estimate, count_labellings, estimate_labellings
from flatness.feasibility.frames import Frame, frame_of
from flatness.feasibility.labelled_points import (
    TrainingPolicyInfeasible,
    checked_system,
    refuse_contradictions,
)
from flatness.feasibility.labellings import Labellings
from flatness.feasibility.oracle import Oracle
from flatness.feasibility.pairs import pair_verdicts, pair_verdicts_ensemble
from flatness.feasibility.policy_cone import PolicyCone
from flatness.feasibility.refutations import constraint_rows, linear_program, many_class, two_class
from flatness.feasibility.verdicts import EnsembleVerdicts, PairVerdicts
from flatness.feasibility.verification import Check, certified_system, verify
from flatness.feasibility.whitening import homogenise, whiten

__all__ = [
    "Check",
    "Count",
    "EnsembleVerdicts",
    "Estimate",
    "Farkas",
    "Frame",
    "Labellings",
    "Oracle",
    "PairVerdicts",
    "PolicyCone",
    "TrainingPolicyInfeasible",
    "certified_system",
    "checked_system",
    "constraint_rows",
    "count_labellings",
    "decide",
    "estimate_labellings",
    "exact_farkas",
    "exact_witness",
    "farkas_residual",
    "frame_of",
    "homogenise",
    "linear_program",
    "many_class",
    "margins",
    "pair_verdicts",
    "pair_verdicts_ensemble",
    "proven",
    "refuse_contradictions",
    "two_class",
    "verify",
    "whiten",
]

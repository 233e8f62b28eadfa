r"""Certified feasibility of (probe, class) pairs: the pair proxy of Paper B, section on the
feature-classifier vocabulary.

Layers below the last are frozen, so a network is its feature map ``phi`` with values in ``R^D``.
The *training policy* is the set of last layers ``(W, b)``, ``W (K, D)``, ``b (K,)``, that strictly
classify the training points. The pair ``(p, c)`` is *feasible* if some member of it strictly
predicts ``c`` at the probe ``p``.  The *pair proxy* is the number of feasible pairs.  The training
policy is an open convex cone: the size of a margin is a matter of scale, and only its sign has a
meaning.

Every verdict carries a certificate (see :mod:`flatness.feasibility.certificates`): ``1`` a witness,
``0`` a Farkas vector; a pair for which neither passes its check is ``-1``, undecided, and counts as
neither. What floating point cannot decide goes to rational arithmetic
(:mod:`flatness.feasibility.exact`), which also tells refutations from ties within rounding.

A network's pairs are settled in stages over one oracle and one ledger of verdicts: the centre of
the cone, which gives every probe a class; refutations from two classes (least squares in
``R^(D+1)``); then :meth:`flatness.feasibility.oracle.Oracle.decide` for what is left.
"""

import numpy as np
from numpy.typing import ArrayLike

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness._internal.processes import map_processes
from flatness.feasibility import refutations
from flatness.feasibility.labelled_points import TrainingPolicyInfeasible, checked_system
from flatness.feasibility.oracle import FEASIBLE, INFEASIBLE, UNDECIDED, Oracle
from flatness.feasibility.verdicts import EnsembleVerdicts, PairVerdicts, _Ledger

TIES = rules.one_of("mark", "decide")


@checked(features=None, labels=None, probes=None, num_classes=None, exact=None, ties=TIES)
def pair_verdicts(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    exact: bool = True,
    ties: str = "mark",
) -> PairVerdicts:
    """Certified verdicts for every probe and class.

    Parameters: ``features (n, D)`` and ``probes (q, D)``, finite, read as float64 (lower precision
    is converted exactly); ``labels (n,)`` integers in ``[0, num_classes)``; ``num_classes >= 2``.
    Arrays or tensors.  Duplicated points are fine.

    Pairs that floating point leaves open are decided in rational arithmetic, within the limits of
    :mod:`flatness.feasibility.exact`, unless ``exact=False``. A refutation whose multipliers cancel
    within rounding only is a tie: the last bit of the features decides it. It counts as infeasible
    and is marked (``proven``, ``ties``), or with ``ties="decide"`` is decided for the very numbers
    given. An empty training policy that is a tie is treated in the same way.

    Raises ``ValueError`` for anything else, and :class:`TrainingPolicyInfeasible` when no last
    layer keeps the training labels (two equal points with different labels are named).

    Points 0 and 2 on a line have classes 0 and 1, so a probe between them may have either, and one
    beyond must follow:

    >>> pair_verdicts([[0.0], [2.0]], [0, 1], [[-1.0], [1.0], [2.0], [3.0]], 2).verdict.tolist()
    [[1, 0], [1, 1], [0, 1], [0, 1]]
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 2)
    return _pair_verdicts(features, labels, probes, num_classes, exact, ties)


@checked(
    overflow=False,
    features=None,
    labels=None,
    probes=None,
    num_classes=None,
    exact=None,
    ties=TIES,
    workers=rules.at_least(1),
)
def pair_verdicts_ensemble(
    features: ArrayLike,
    labels: ArrayLike,
    probes: ArrayLike,
    num_classes: int,
    *,
    exact: bool = True,
    ties: str = "mark",
    workers: int | None = None,
    progress: bool = True,
) -> EnsembleVerdicts:
    """:func:`pair_verdicts` of ``M`` networks: ``features (M, n, D)``, ``labels (n,)``, ``probes
    (M, q, D)``.

    A network whose training policy is empty, or that cannot be measured, is marked (``networks[m]
    is None``, reason kept), not an error, unless no network has finite features. ``workers``
    processes (default: the number of usable cores); the verdicts do not depend on it.
    """
    features, labels, probes = checked_system(features, labels, probes, num_classes, 3)
    jobs = [(f, labels, p, num_classes, exact, ties) for f, p in zip(features, probes, strict=True)]
    results = map_processes(_marked, jobs, workers=workers, progress=progress, label="pair proxy")
    return EnsembleVerdicts(
        tuple(net for net, _, _ in results),
        {m: reason for m, (_, _, reason) in enumerate(results) if reason},
        np.array([policy for _, policy, _ in results], dtype=np.int8),
    )


def _marked(job: tuple) -> tuple[PairVerdicts | None, int, str]:
    """The verdicts of one network, its policy, and the reason if there are none."""
    for name, array in (("features", job[0]), ("probes", job[2])):
        if not np.isfinite(array).all():
            return None, UNDECIDED, f"{name}: expected finite values only"
    try:
        found = _pair_verdicts(*job)
        return found, found.policy, ""
    except TrainingPolicyInfeasible as error:
        return None, INFEASIBLE, str(error)
    except Exception as error:  # whatever it is, it is this network's and costs no other
        return None, UNDECIDED, f"{type(error).__name__}: {error}"


def _pair_verdicts(
    features: np.ndarray,
    labels: np.ndarray,
    probes: np.ndarray,
    num_classes: int,
    exact: bool,
    ties: str,
) -> PairVerdicts:
    oracle = Oracle(features, labels, probes, num_classes, exact, ties)
    ledger = _Ledger(oracle)
    if oracle.policy == FEASIBLE:
        if oracle.centre is not None:
            ledger.offer(np.arange(1), oracle.centre[None], "centre")
        _two_classes(oracle, ledger)
        left = ledger.left()
        oracle.decide(oracle.n + left[:, :1], left[:, 1:], ledger)
    return ledger.close()


def _two_classes(oracle: Oracle, ledger: _Ledger) -> None:
    """Refute pairs by the points of two classes, where no direction seen so far speaks against
    it."""
    classes = oracle.num_classes
    centre = np.zeros((classes, oracle.cone.d)) if oracle.centre is None else oracle.centre
    above = refutations.sides(oracle.cone, centre, ledger.own)
    above[:, range(classes), range(classes)] = True
    order = np.argsort(-(ledger.own @ centre.T), axis=1, kind="stable")
    for number, (probe, label) in enumerate(ledger.left()):
        for rival in order[probe][~above[probe, label, order[probe]]]:
            if above[probe, label, rival]:
                continue
            own = np.array([oracle.n + probe])
            answer = refutations.two_class(oracle.cone, ledger.own[probe], label, rival, oracle.n)
            if isinstance(answer, np.ndarray):
                above[:, label, rival] |= ledger.own @ answer > refutations.CLEAR
                continue
            found, proven = oracle.refutation(answer, own, np.array([label]))
            if found is not None and (proven or not oracle.strict):
                ledger.refute(number, found, proven, "two classes")
                break

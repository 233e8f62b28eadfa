r"""Verdicts on (probe, class) pairs: each with its certificate, of one network or an ensemble.

A verdict is ``1`` feasible, with a witness; ``0`` infeasible, with a Farkas vector; ``-1``
undecided, where neither passes its check. While they are sought they stand in a ledger, which asks
the oracle about the pairs still open and tries every layer that it meets on all of them.
"""

from dataclasses import dataclass, field

import numpy as np

from flatness.feasibility.certificates import MARGIN, Farkas, _depths
from flatness.feasibility.oracle import FEASIBLE, INFEASIBLE, UNDECIDED, Oracle

NEAR = 0.95  # a start lies so far from the centre on the way to the best layer known


@dataclass(frozen=True)
class PairVerdicts:
    """Verdicts of one network for ``q`` probes and ``K`` classes, each with its certificate.

    ``verdict (q, K)`` int8 holds 1 feasible, 0 infeasible, -1 undecided.  ``witnesses (w, K, D +
    1)`` are layers with the bias in the last column; ``witness_of (q, K)`` is the witness of a
    feasible pair, else -1. ``refutations`` are Farkas vectors (rows of the training points ``0 .. n
    - 1`` and of the probe as point ``n``) and ``refutation_of (q, K)`` points into them, else -1.
    ``settled`` counts the pairs by the step that settled them.

    ``rational`` has, for a witness whose rounding to float64 is none, the layer as an array of
    fractions, by its number. ``proven (q, K)`` is true where the verdict is known to hold in exact
    arithmetic: for every witness, and for a refutation unless its multipliers cancel within
    rounding only. ``policy`` is 1, or -1 where the training policy itself is undecided, and with it
    all pairs.
    """

    verdict: np.ndarray
    witnesses: np.ndarray
    witness_of: np.ndarray
    refutations: tuple[Farkas, ...]
    refutation_of: np.ndarray
    settled: dict[str, int]
    rational: dict[int, np.ndarray]
    proven: np.ndarray
    policy: int = FEASIBLE

    @property
    def pair_proxy(self) -> int:
        """Number of feasible pairs."""
        return int((self.verdict == FEASIBLE).sum())

    @property
    def extensions(self) -> np.ndarray:
        """Feasible classes of each probe, ``(q,)``: ``ext(x)`` of Paper B; their sum is the pair
        proxy.
        """
        return (self.verdict == FEASIBLE).sum(1)

    @property
    def undecided(self) -> int:
        """Number of undecided pairs."""
        return int((self.verdict == UNDECIDED).sum())

    @property
    def ties(self) -> int:
        """Number of infeasible pairs that hold within rounding only."""
        return int(((self.verdict == INFEASIBLE) & ~self.proven).sum())


@dataclass(frozen=True)
class EnsembleVerdicts:
    """Verdicts of ``M`` networks; ``networks[m]`` is ``None``, and ``reasons[m]`` says why, where
    no last layer keeps the training labels or the network cannot be measured (features that are not
    finite, say).

    ``policy (M,)`` int8: the training policy has a member (1), is empty by a certificate (0), or
    neither is known (-1).
    """

    networks: tuple[PairVerdicts | None, ...]
    reasons: dict[int, str] = field(default_factory=dict)
    policy: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))

    @property
    def policy_feasible(self) -> np.ndarray:
        """Which networks have a training policy known to be nonempty, ``(M,)`` bool."""
        return np.array([net is not None and net.policy == FEASIBLE for net in self.networks])

    @property
    def pair_proxy(self) -> np.ndarray:
        """``(M,)`` float64; NaN marks a network without a training policy known to be nonempty
        (never a zero)."""
        counts = [np.nan if net is None else net.pair_proxy for net in self.networks]
        return np.where(self.policy_feasible, counts, np.nan)

    @property
    def undecided(self) -> np.ndarray:
        """Undecided pairs of each network, ``(M,)``; 0 where there are no verdicts."""
        return np.array([0 if net is None else net.undecided for net in self.networks])


class _Ledger:
    """The pairs of one network as questions to its oracle, and their verdicts so far."""

    def __init__(self, oracle: Oracle):
        self.oracle, shape = oracle, (len(oracle.points) - oracle.n, oracle.num_classes)
        self.own, self.points = oracle.rows[oracle.n :], oracle.points[oracle.n :]
        self.single, d = self.own.T.astype(np.float32), self.own.shape[1]
        # rounding of the difference of two logits in single precision, for rows of length one and
        # layers with entries up to one: twice what it can be
        self.blur = 4 * (d + 2) * np.sqrt(d) * 2.0**-24
        self.verdict = np.full(shape, UNDECIDED, dtype=np.int8)
        self.witness_of, self.refutation_of = np.full(shape, -1), np.full(shape, -1)
        self.proven = np.zeros(shape, dtype=bool)
        self.layers: list[np.ndarray] = []  # witnesses, in the coordinates of the cone
        self.framed: list[np.ndarray] = []  # and in the frame, as they were tested
        self.rational: dict[int, np.ndarray] = {}
        self.refutations: list[Farkas] = []
        self.settled: dict[str, int] = {}
        self.pairs = np.argwhere(self.verdict == UNDECIDED)
        self.nearest = np.full(shape, -1)  # the layer that comes nearest to a pair, -1 the centre
        self.gap = np.full(shape, -np.inf)  # by how much it misses it
        if oracle.centre is not None:
            logits = self.own @ oracle.centre.T / np.abs(oracle.centre).max(initial=1e-300)
            self.gap = logits - logits.max(1, keepdims=True)

    def left(self) -> np.ndarray:
        """The undecided pairs ``(P, 2)``, which are from now on the questions."""
        self.pairs = np.argwhere(self.verdict == UNDECIDED)
        return self.pairs

    def open(self, index: np.ndarray) -> np.ndarray:
        return self.verdict[tuple(self.pairs[index].T)] == UNDECIDED

    def queue(self, index: np.ndarray) -> np.ndarray:
        """The farthest of each class first: a layer that gives a pair far from all known ones
        helps many."""
        left = index[self.open(index)]
        probes, classes = self.pairs[left].T
        gap = self.gap[probes, classes]
        order = np.lexsort((gap, classes))
        rank = np.arange(len(order)) - np.searchsorted(classes[order], classes[order])
        return left[order[np.lexsort((gap[order], rank))]]

    def starts(self, index: np.ndarray) -> np.ndarray:
        """Near the layer that comes nearest to giving the probe its class."""
        centre = self.oracle.centre
        assert centre is not None  # asked for members of the policy only
        numbers = self.nearest[tuple(self.pairs[index].T)]
        known = np.stack([centre if n < 0 else self.layers[n] for n in numbers])
        return (1 - NEAR) * centre + NEAR * known

    def offer(self, index: np.ndarray, layers: np.ndarray, step: str) -> None:
        """Try layers ``(B, K, d)`` for whatever they predict at undecided pairs: screened in single
        precision, certified in double."""
        size = np.abs(layers).max((1, 2), keepdims=True, initial=1e-300)
        gaps = (layers / size).astype(np.float32) @ self.single
        gaps -= gaps.max(1, keepdims=True)
        number, won, probes = np.nonzero((gaps > -self.blur) & (self.verdict.T == UNDECIDED))
        code, left = probes * gaps.shape[1] + won, np.arange(len(number))
        certain, asked = [left[:0]], np.zeros(len(number), dtype=bool)
        given = np.zeros(self.verdict.size, dtype=bool)
        frames = np.empty((*layers.shape[:2], self.points.shape[1]))
        while len(left):  # the first layer that gives a pair for certain is its witness
            first = left[np.unique(code[left], return_index=True)[1]]
            tried, which = np.unique(number[first], return_inverse=True)
            frames[tried] = framed = layers[tried] @ self.oracle.transform
            depth = _depths(framed[which], self.points[probes[first]], won[first])
            deep = first[self.oracle.in_policy(framed)[which] & (depth > MARGIN)]
            asked[first] = given[code[deep]] = True
            left = left[~(asked[left] | given[code[left]])]
            certain.append(deep)
        taken, before = np.concatenate(certain), len(self.layers)
        entered = np.unique(number[taken])
        for n in entered:
            mine = np.sort(taken[number[taken] == n])
            self._enter(probes[mine], won[mine], layers[n], frames[n], step)
        if len(entered):
            self._remember(gaps[entered].transpose(0, 2, 1), before)

    def _remember(self, gaps: np.ndarray, before: int) -> None:
        """Compare the gaps ``(E, q, K)`` of new layers, numbered from ``before``, with the least so
        far."""
        best = gaps.argmax(0)
        gap = np.take_along_axis(gaps, best[None], 0)[0]
        nearer = gap > self.gap
        self.gap[nearer], self.nearest[nearer] = gap[nearer], before + best[nearer]

    def accept(self, index: int, layer: np.ndarray, step: str) -> None:
        probe, label = self.pairs[index]
        self.rational[len(self.layers)] = layer
        blank = (np.zeros((len(layer), d)) for d in (self.oracle.cone.d, self.points.shape[1]))
        self._enter(np.array([probe]), np.array([label]), *blank, step)

    def _enter(self, probes, labels, layer, framed, step) -> None:
        if len(probes):
            self.verdict[probes, labels], self.proven[probes, labels] = FEASIBLE, True
            self.witness_of[probes, labels] = len(self.layers)
            self.layers.append(layer)
            self.framed.append(framed)
            self.settled[step] = self.settled.get(step, 0) + len(probes)

    def refute(self, index: int, farkas: Farkas, proven: bool, step: str) -> None:
        pair = tuple(self.pairs[index])
        self.verdict[pair], self.proven[pair] = INFEASIBLE, proven
        self.refutation_of[pair] = len(self.refutations)
        self.refutations.append(farkas)
        self.settled[step] = self.settled.get(step, 0) + 1

    def close(self) -> PairVerdicts:
        """The verdicts, with witnesses for the given features; one that rounding would spoil is
        kept as fractions."""
        frame, shape = self.oracle.frame, (0, self.oracle.num_classes, self.points.shape[1])
        framed = np.stack(self.framed) if self.framed else np.empty(shape)
        given = frame.given(framed)
        rational = {number: frame.rational(layer) for number, layer in self.rational.items()}
        again = frame.framed(given)
        good = (again == framed).all((1, 2))  # the numbers that passed the test
        good[~good] = self.oracle.in_policy(again[~good])
        good[list(rational)] = False
        if frame.shift.any():
            probes, labels = np.nonzero(self.verdict == FEASIBLE)
            numbers = self.witness_of[probes, labels]
            good[numbers[_depths(again[numbers], self.points[probes], labels) <= MARGIN]] = False
        for number in np.flatnonzero(~good):
            if number not in rational:
                rational[int(number)] = frame.rational(framed[number])
            given[number] = rational[int(number)].astype(float)
        return PairVerdicts(
            self.verdict,
            given,
            self.witness_of,
            tuple(self.refutations),
            self.refutation_of,
            self.settled,
            rational,
            self.proven,
            self.oracle.policy,
        )

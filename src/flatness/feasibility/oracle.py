r"""The certified oracle: may some probes have given labels together, under one training policy?

Both the pair proxy (one probe, one label) and the count of joint labellings ask it. It answers by
the cheapest step that can: Newton's method on a barrier for many questions at once, every iterate
being a candidate layer for all of them; a refutation from the rows that the barrier found tight;
the linear programmes of HiGHS; rational arithmetic. Only certificates that pass their check in the
exact coordinates of :mod:`flatness.feasibility.frames` count.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from flatness.feasibility import exact as rational
from flatness.feasibility import refutations
from flatness.feasibility.certificates import MARGIN, RESIDUAL, Farkas, _margins, _residual
from flatness.feasibility.frames import frame_of
from flatness.feasibility.labelled_points import TrainingPolicyInfeasible, refuse_contradictions
from flatness.feasibility.policy_cone import PolicyCone
from flatness.feasibility.whitening import whiten

CHUNK = 250_000  # entries of the Hessians worked on at a time: they should stay in the cache
PROMISING = 1e-6  # residual below which rational arithmetic looks for multipliers on a support
FEASIBLE, INFEASIBLE, UNDECIDED = 1, 0, -1
EMPTY = "no last layer strictly classifies all training points"
TIE = ", within rounding (ties='decide' asks rational arithmetic)"


class Docket(Protocol):
    """Questions ``0 .. B - 1`` of one kind, and what has been answered."""

    def open(self, index: np.ndarray) -> np.ndarray:
        """Mask of the questions that have no answer yet."""

    def queue(self, index: np.ndarray) -> np.ndarray:
        """Those of the questions that have no answer yet, in the order in which to ask them."""

    def starts(self, index: np.ndarray) -> np.ndarray:
        """Layers ``(B, K, d)`` strictly inside the cone, one for each question, to start from."""

    def offer(self, index: np.ndarray, layers: np.ndarray, step: str) -> None:
        """Try layers inside the cone, one for each question, as witnesses."""

    def accept(self, index: int, layer: np.ndarray, step: str) -> None:
        """A layer of fractions, in the frame, that is a witness in rational arithmetic."""

    def refute(self, index: int, farkas: Farkas, proven: bool, step: str) -> None:
        """A Farkas vector that passed its test; ``proven``: an exact one exists on its support."""


class Oracle:
    """Questions about the training policy of labelled features ``(n, D)`` at probes ``(q, D)``.

    ``points (n + q, D + 1)`` are all points in the ``frame``, ``rows (n + q, d)`` in the whitened
    coordinates of the ``cone``; a layer ``W`` there is ``W @ transform`` in the frame. ``policy``
    is 1 where a member of the training policy is known, -1 where neither a member nor a refutation
    was found. ``exact``: what floating point leaves open goes to rational arithmetic; with
    ``ties = "decide"`` a refutation that holds within rounding only does, too. ``centre (K, d)``
    is that of the cone, ``None`` where floating point finds no member.

    Raises :class:`TrainingPolicyInfeasible`, with a Farkas vector that passed its test, where no
    last layer keeps the labels.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        probes: np.ndarray,
        num_classes: int,
        exact: bool = True,
        ties: str = "mark",
    ):
        self.frame = frame_of(features, probes)
        self.n, self.labels, self.num_classes = len(labels), labels, num_classes
        self.exact = exact
        self.strict = exact and ties == "decide"
        self.points = self.frame.points(np.concatenate([features, probes]))
        refuse_contradictions(self.points[: self.n], labels)
        self.rows, self.lengths, self.transform = whiten(self.points)
        self.cone = PolicyCone(self.rows[: self.n], labels, num_classes)
        self.budget = rational.Budget()
        self.policy, member = self._member()
        self.centre: np.ndarray | None = None
        if member is not None:
            self.centre = self.cone.centre(member)

    def in_policy(self, layers: np.ndarray) -> np.ndarray:
        """Mask ``(B,)`` of the layers ``(B, K, D + 1)`` of the frame whose margins at all training
        points are certain."""
        points, good = self.points[: self.n], np.zeros(len(layers), dtype=bool)
        own, logits = (slice(None), self.labels, np.arange(self.n)), layers @ points.T
        slack = np.subtract(logits[own][:, None], logits, out=logits)
        slack[own] = np.inf
        size = np.linalg.norm(layers, axis=-1).max(-1) * np.linalg.norm(points, axis=1).max()
        good = slack.min((1, 2)) > 2 * MARGIN * size
        doubtful = np.flatnonzero(~good)
        if len(doubtful):
            good[doubtful] = _margins(layers[doubtful], points, self.labels).min(1) > MARGIN
        return good

    def refutation(
        self, farkas: Farkas | None, own: np.ndarray, labels: np.ndarray
    ) -> tuple[Farkas | None, bool]:
        """A Farkas vector of the whitened rows as one of the given rows, ``None`` unless it passes
        its test, and whether an exact one is known to exist on its support."""
        if farkas is None:
            return None, False
        source = np.concatenate([np.arange(self.n), own])
        system = self.points[source], np.concatenate([self.labels, labels]), self.num_classes
        weights = farkas.weights / self.lengths[source[farkas.points]]
        given = Farkas(farkas.points, farkas.rivals, weights / weights.max())
        rho = _residual(given, *system)
        if rho <= RESIDUAL and rational.proven(given, *system):
            return given, True
        if self.exact and rho <= PROMISING:
            sharp = rational.proof(given, *system)
            if sharp is not None and _residual(sharp, *system) <= RESIDUAL:
                return sharp, True
        return (given, False) if rho <= RESIDUAL else (None, False)

    def decide(
        self, own: np.ndarray, labels: np.ndarray, docket: Docket, groups: np.ndarray | None = None
    ) -> None:
        """Answer all open questions: may the points ``own (B, r)`` have the labels ``(B, r)``?

        Questions of one group (neighbours) are worked on together, so that the layers offered to
        them do not depend on what else is asked.
        """
        waiting = np.arange(len(own))
        stuck: list[tuple[int, np.ndarray | None]] = []
        size = max(1, CHUNK // (self.num_classes * self.cone.d) ** 2)
        if self.centre is None:
            stuck, waiting = [(int(b), None) for b in waiting], waiting[:0]
        while len(waiting := waiting[docket.open(waiting)]):
            cut = len(waiting) if groups is None else _cut(groups[waiting], size)
            batch, waiting = waiting[:cut], waiting[cut:]
            stuck += self._push(batch, size if groups is None else cut, own, labels, docket)
        for b, layer in stuck:
            self._settle(b, own[b], labels[b], layer, docket)

    def _push(self, queue, width, own, labels, docket) -> list[tuple[int, np.ndarray]]:
        """Newton's method for the questions of a queue, which enter in turn, unless a layer found
        meanwhile has answered them; those it leaves open, with its last layers."""

        def enter(room):
            nonlocal queue
            if not room:
                return queue[:0], np.empty(0)
            queue = docket.queue(queue)
            new, queue = queue[:room], queue[room:]
            return new, docket.starts(new) if len(new) else np.empty(0)

        def inspect(index, layers):
            docket.offer(index, layers, "Newton")
            return ~docket.open(index)

        return self.cone.stream(enter, width, self.rows[own], labels, inspect)

    def _settle(self, b, own, labels, layer, docket) -> None:
        one, tie = np.array([b]), None
        for step, found, farkas in self._ladder(own, labels, layer) if docket.open(one)[0] else ():
            if found is not None and found.dtype == object:
                docket.accept(b, found, step)
            elif found is not None:
                docket.offer(one, found[None], step)
            if docket.open(one)[0]:
                passed, proven = self._passed(farkas, own, labels, step)
                if passed is not None and (proven or not self.strict):
                    docket.refute(b, passed, proven, step)
                tie = tie if passed is None else (b, passed, proven, step)
            if not docket.open(one)[0]:
                return
        if tie is not None:
            docket.refute(*tie)

    def _passed(self, farkas, own, labels, step) -> tuple[Farkas | None, bool]:
        return (farkas, True) if step == "rational" else self.refutation(farkas, own, labels)

    def _ladder(self, own, labels, layer) -> Iterator[tuple]:
        """Candidates for one question, by cost: the step, a layer or ``None``, a Farkas vector or
        ``None``."""
        rows = self.rows[own]
        if layer is not None:
            yield "many classes", None, refutations.many_class(self.cone, layer, rows, labels)
        for deepest in (True, False):
            layer, farkas = refutations.linear_program(self.cone, rows, labels, deepest)
            yield "HiGHS", layer, farkas
        if self.exact:
            source = np.concatenate([np.arange(self.n), own])
            points, targets = self.points[source], np.concatenate([self.labels, labels])
            logits = self.rows[source] @ layer.T
            slack = np.take_along_axis(logits, targets[:, None], 1) - logits
            answer = rational.decide(points, targets, self.num_classes, slack, self.budget)
            refuted = isinstance(answer, Farkas)
            yield "rational", None if refuted else answer, answer if refuted else None

    def _member(self) -> tuple[int, np.ndarray | None]:
        """Whether the training policy has a member, and one in the whitened coordinates."""
        nobody = PolicyCone(np.empty((0, self.cone.d)), np.empty(0, dtype=int), self.num_classes)
        found: list[np.ndarray] = []

        def inspect(_, layers):
            if (_margins(layers, self.cone.points, self.cone.labels).min(1) > 1e-9).all():
                found.append(layers[0])
            return np.array([bool(found)])

        start = np.zeros((1, self.num_classes, self.cone.d))
        nobody.push(start, self.cone.points[None], self.cone.labels[None], inspect)
        if found and self.in_policy(found[0][None] @ self.transform).all():
            return FEASIBLE, found[0]
        nothing, tie = np.empty(0, dtype=int), None
        for step, layer, farkas in self._ladder(nothing, nothing, None):
            if layer is not None and layer.dtype == object:
                return FEASIBLE, None
            if layer is not None and self.in_policy(layer[None] @ self.transform).all():
                inside = (self.cone.slacks(layer[None]) + self.cone.own_class).min() > 0
                return FEASIBLE, layer if inside else None
            passed, proven = self._passed(farkas, nothing, nothing, step)
            if passed is not None and (proven or not self.strict):
                raise TrainingPolicyInfeasible(EMPTY + TIE * (not proven), passed)
            tie = tie if passed is None else passed
        if tie is not None:
            raise TrainingPolicyInfeasible(EMPTY + TIE, tie)
        return UNDECIDED, None


def _cut(groups: np.ndarray, size: int) -> int:
    """The end of the first ``size`` questions, and of the group that it would divide.

    >>> _cut(np.array([0, 0, 1, 1, 1, 2]), 3)
    5
    """
    changes = np.append(np.flatnonzero(groups[1:] != groups[:-1]) + 1, len(groups))
    return int(changes[changes >= min(size, len(groups))][0])

"""The public doors: what is looked at, when, and whose fault an error is."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness._internal.kinds import Met, kind_of
from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train
from flatness.symmetry.orbits import orbit_minimum


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


@checked(x=rules.shape("n d"), y=rules.shape("n"))
def total(x: Tensor, y: Tensor, scale: float | None = None) -> Tensor:
    return x.sum() + y.sum()


def test_the_order_of_keywords_does_not_matter():
    for call in (dict(x=ones(2, 3), y=ones(3)), dict(y=ones(3), x=ones(2, 3))):
        with pytest.raises(ValueError, match=r"^y: expected shape \(n,\) with n = 2, as in x"):
            total(**call)
    network, x = MLPEnsemble.from_seeds([3, 2], [0]), ones(2, 3)
    assert hessian_trace(x=x, networks=network).total == hessian_trace(network, x).total
    with pytest.raises(ValueError, match="TwoLayer"):
        orbit_minimum(x=x, net=network)


def test_python_says_what_is_wrong_with_a_call():
    for args, kwargs in (((1, 2, 3, 4), {}), ((ones(2, 3),), {"x": 1}), ((), {"z": 1})):
        with pytest.raises(TypeError, match="total"):
            total(*args, **kwargs)


@pytest.mark.parametrize("annotation", [Any, object, "nowhere.Tensor", Sequence[Any], None])
def test_what_is_not_understood_is_refused_at_once(annotation):
    def function(x): ...

    function.__annotations__ = {} if annotation is None else {"x": annotation}
    with pytest.raises(TypeError, match="function: x: "):
        checked()(function)
    checked(x=None)(function)(1)
    with pytest.raises(TypeError, match="no argument y"):
        checked(y=None)(function)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Tensor | None, ones(2), ones(2) * torch.nan),
        (int | Tensor, 3, 2.5),
        (float | np.ndarray, np.ones(2), "text"),
        (Sequence[float], [1, 2.0], [1, "text"]),
        (Sequence[Tensor | float], [ones(2), 1.0], [1.0, "text"]),
        (list[Tensor], [ones(2)], (ones(2),)),
        (Callable[[int], int], abs, 3),
        (dict[str, int], {}, []),
        (SGD, SGD(1, 0.1, 1, check_every=1), 3),
        (bool, True, "yes"),
        (MLPEnsemble, MLPEnsemble.from_seeds([2, 2], [0]), ones(2)),
    ],
)
def test_kinds_follow_from_annotations(annotation, good, bad):
    kind_of(annotation)("value", good, Met(), True)
    with pytest.raises(ValueError, match="^value"):
        kind_of(annotation)("value", bad, Met(), True)


def test_a_choice_of_words_is_a_rule_and_not_a_kind():
    with pytest.raises(TypeError, match="no kind"):
        kind_of(Literal["a", "b"])


def test_a_function_of_the_callers_is_outside_again():
    networks = MLPEnsemble.from_seeds([3, 2], [0])
    x, y = ones(4, 3), torch.tensor([0, 1, 0, 1])
    sgd = SGD(2, 0.1, 1, check_every=1)

    def spoilt(epoch: int, running: int) -> None:
        hessian_trace(networks, x * torch.nan)

    def broken(epoch: int, running: int) -> None:
        raise ZeroDivisionError("the caller's own")

    with pytest.raises(ValueError, match="^x: expected finite values only$"):
        train(networks, x, y, sgd, order_generators([0]), spoilt)
    with pytest.raises(ZeroDivisionError, match="own"):
        train(networks, x, y, sgd, order_generators([0]), broken)


@checked()
def divides(x: Tensor) -> float:
    return 1 / int(x.sum() * 0)


@checked()
def solves(x: Tensor) -> Tensor:
    return torch.linalg.inv(x * 0)


@pytest.mark.parametrize("function", [divides, solves])
def test_only_extreme_arguments_are_blamed(function):
    with pytest.raises((ZeroDivisionError, torch.linalg.LinAlgError)) as error:
        function(ones(2, 2))
    assert "x:" not in str(error.value)
    with pytest.raises(ValueError, match="^x: the result is beyond"):
        function(ones(2, 2) * 1e-200)


def test_a_result_that_overflows_is_an_error():
    @checked()
    def cube(x: Tensor) -> Tensor:
        return x**3

    @checked(overflow=False)
    def free(x: Tensor) -> Tensor:
        return x**3

    with pytest.raises(ValueError, match="^x: the result is beyond"):
        cube(ones(2) * 1e150)
    assert free(ones(2) * 1e150).isinf().all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_forward_pass_sees_every_entry(bad):
    networks, x = MLPEnsemble.from_seeds([3, 4, 2], [0, 1]), ones(5, 3)
    for i in range(x.numel()):
        spoilt = x.clone()
        spoilt.view(-1)[i] = bad
        with pytest.raises(ValueError, match="^x: expected finite"):
            networks(spoilt)
    assert networks.map(lambda p: p * bad)(x).isnan().all()

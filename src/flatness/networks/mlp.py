"""Ensembles of ReLU networks held as batched tensors.

An ensemble is M networks of one architecture. Layer l of all of them is one tensor of shape (M,
d_l, d_{l-1}), so every operation on the ensemble is one batched matrix product, and a single
network is an ensemble with M = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError, integer, network_index
from flatness._internal.checks import checked
from flatness._internal.finiteness import is_finite
from flatness._internal.kinds import register


@dataclass(frozen=True)
class MLPEnsemble:
    """M fully connected ReLU networks x -> W_L relu(... relu(W_1 x + b_1) ...) + b_L with common
    widths.

    Attributes
    ----------
    weights : list of Tensor
        ``weights[l]`` has shape (M, d_{l+1}, d_l): row j holds the incoming weights of unit j.
    biases : list of Tensor, or None
        ``biases[l]`` has shape (M, d_{l+1}); None for networks without biases.

    Source: the architectures of Paper B, section 5; our chapter a3_trace.
    """

    weights: list[Tensor]
    biases: list[Tensor] | None

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("weights: expected at least one layer, got an empty list")
        for kind, blocks in (("weights", self.weights), ("biases", self.biases or [])):
            for layer, block in enumerate(blocks):
                name, first = f"{kind}[{layer}]", self.weights[0]
                if not isinstance(block, Tensor):
                    raise KindError(f"{name}: expected a tensor, got {type(block).__name__}")
                if not block.dtype.is_floating_point or (block.dtype, block.device) != (
                    first.dtype,
                    first.device,
                ):
                    raise KindError(
                        f"{name}: expected floating-point numbers of one dtype on one device, as "
                        f"weights[0] "
                        f"({first.dtype} on {first.device}), got {block.dtype} on {block.device}"
                    )
                if not block.numel():
                    raise ValueError(
                        f"{name}: expected at least one network and one unit, got shape "
                        f"{tuple(block.shape)}"
                    )
        for layer, weight in enumerate(self.weights):
            if weight.ndim != 3 or weight.shape[0] != self.weights[0].shape[0]:
                raise ValueError(
                    f"weights[{layer}]: expected shape (M, d_out, d_in) with M = "
                    f"{self.weights[0].shape[0]}, got {tuple(weight.shape)}"
                )
            if layer and weight.shape[2] != self.weights[layer - 1].shape[1]:
                raise ValueError(
                    f"weights[{layer}]: expected d_in = {self.weights[layer - 1].shape[1]}, the "
                    f"width of the layer before, got {weight.shape[2]}"
                )
        if self.biases is not None and [b.shape for b in self.biases] != [
            w.shape[:2] for w in self.weights
        ]:
            raise ValueError(
                f"biases: expected shapes {[tuple(w.shape[:2]) for w in self.weights]}, "
                f"got {[tuple(b.shape) for b in self.biases]}"
            )

    @classmethod
    def from_seeds(
        cls,
        widths: Sequence[int],
        seeds: Sequence[int],
        *,
        bias: bool = True,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> MLPEnsemble:
        """One network per seed, initialised as PyTorch initialises ``nn.Sequential`` after
        ``torch.manual_seed(seed)``.

        Weights and biases of a layer with d inputs are uniform on [-1/sqrt(d), 1/sqrt(d)], drawn on
        the CPU in float32 in the order W_1, b_1, W_2, ... and then converted, so that every
        processor, device and dtype starts from the same numbers. They are PyTorch's bit for bit
        where its float32 arithmetic rounds once (fused multiply-add), and within the last bit of
        1/sqrt(d) elsewhere.

        >>> net = MLPEnsemble.from_seeds([4, 3, 2], seeds=[0, 1])
        >>> _ = torch.manual_seed(1)
        >>> layer = torch.nn.Linear(4, 3).double()
        >>> torch.allclose(net.weights[0][1], layer.weight, rtol=0, atol=1e-7)
        True
        """
        widths = list(widths)
        if len(widths) < 2 or any(not isinstance(width, int) or width < 1 for width in widths):
            raise ValueError(
                f"widths: expected at least two positive integers, input first, got {widths}"
            )
        if not len(seeds):
            raise ValueError("seeds: expected at least one seed, got none")
        for seed in seeds:
            integer("seeds", seed)
        if bias not in (True, False):
            raise KindError(f"bias: expected True or False, got {bias!r}")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(
                f"device: cannot use {device!r} ({str(error).splitlines()[0]})"
            ) from None
        members = [_default_parameters(widths, int(seed), bias) for seed in seeds]
        stacked = [
            torch.stack(parameter).to(device=device, dtype=dtype)
            for parameter in zip(*members, strict=True)
        ]
        return cls(stacked[0::2], stacked[1::2]) if bias else cls(stacked, None)

    @property
    def widths(self) -> list[int]:
        """[d_0, ..., d_L]: input dimension, hidden widths, number of outputs."""
        return [self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights)]

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights[0].dtype

    def __len__(self) -> int:
        """M, the number of networks."""
        return self.weights[0].shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> MLPEnsemble:
        """The sub-ensemble of the networks at ``index`` (an int gives an ensemble of one)."""
        index = network_index(index, len(self))
        if isinstance(index, Tensor) and not len(index):
            raise ValueError("index: expected at least one network")
        return self.map(lambda parameter: parameter[index])

    def finite(self) -> Tensor:
        """Which networks have finite parameters only, bool (M,)."""
        blocks = self.parameters().values()
        return torch.stack([block.isfinite().flatten(1).all(1) for block in blocks]).all(0)

    def marked(self) -> MLPEnsemble:
        """The same, but NaN throughout in networks that are not finite, and so in all that is
        computed from them (a unit that is off would hide an infinite weight).
        """
        if all(map(is_finite, self.parameters().values())):
            return self
        good = self.finite()
        return self.map(lambda p: p.where(good.reshape(-1, *[1] * (p.ndim - 1)), torch.nan))

    def map(self, function: Callable[[Tensor], Tensor]) -> MLPEnsemble:
        """The ensemble with ``function`` applied to every parameter tensor."""
        return MLPEnsemble(
            [function(w) for w in self.weights],
            None if self.biases is None else [function(b) for b in self.biases],
        )

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> MLPEnsemble:
        """The same networks on another device, in another dtype, or both."""
        return self.map(
            lambda parameter: parameter.to(device=device or self.device, dtype=dtype or self.dtype)
        )

    def parameters(self) -> dict[str, Tensor]:
        """Parameter blocks by name: W1, b1, W2, b2, ... in the order of the layers."""
        blocks = {}
        for layer, weight in enumerate(self.weights, start=1):
            blocks[f"W{layer}"] = weight
            if self.biases is not None:
                blocks[f"b{layer}"] = self.biases[layer - 1]
        return blocks

    def preactivations(self, x: Tensor) -> list[Tensor]:
        """z_1, ..., z_L for inputs ``x`` of shape (n, d_0), common to all networks, or (M, n, d_0):
        shapes (M, n, d_l).

        z_L is the output; that of a network that left the finite numbers
        (`flatness.networks.training`) is NaN. Raises ValueError if x has another dimension, is
        elsewhere or not finite, TypeError if its dtype differs.
        """
        first = self.weights[0]
        usual = isinstance(x, Tensor) and x.dtype == first.dtype and x.device == first.device
        if not usual or x.ndim != 2 or x.shape[1] != first.shape[2]:
            _fitting(self, x)
        hidden, result = x, []
        for layer, weight in enumerate(self.weights):
            hidden = hidden @ weight.mT
            if self.biases is not None:
                hidden = hidden + self.biases[layer][:, None]
            # what is not finite in an input shows in the first layer, all of whose units it enters
            if not layer and not is_finite(hidden):
                _fitting(self, x)
            result.append(hidden)
            hidden = hidden.relu()
        return result

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs, shape (M, n, d_L)."""
        return self.preactivations(x)[-1]

    def features(self, x: Tensor, layer: int = -1) -> Tensor:
        """Post-activation features of hidden layer ``layer``, counted as in a list (-1: the last),
        shape (M, n, d).
        """
        hidden = len(self.weights) - 1
        if not hidden:
            raise ValueError(
                "networks: expected at least one hidden layer, got networks with no hidden layer"
            )
        integer("layer", layer, -hidden, hidden - 1)
        return self.preactivations(x)[:-1][layer].relu()


register(
    MLPEnsemble,
    sizes=lambda net: {"M": len(net), "d": net.widths[0], "K": net.widths[-1]},
    tensors=lambda net: net.parameters().values(),
)


@checked(networks=rules.diverged, x=rules.shape("n? d", "M n? d"))
def _fitting(networks: MLPEnsemble, x: Tensor) -> None:
    """The errors of a forward pass, kept out of those that need none."""


def _default_parameters(widths: list[int], seed: int, bias: bool) -> list[Tensor]:
    """W_1, b_1, W_2, ... of one network as ``nn.Linear`` draws them, float32 on the CPU.

    ``nn.Linear`` maps u, uniform on the multiples of 2^-24 in [0, 1), to 2 k u - k with k = 1 /
    sqrt(fan_in) in float32. Whether that is rounded once or twice depends on the processor, and 500
    epochs would turn the last bit into different networks; so the map is taken in float64 and
    rounded once.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = []
    for fan_in, fan_out in zip(widths, widths[1:]):
        for shape in ((fan_out, fan_in), (fan_out,))[: 1 + bias]:
            bound = torch.tensor(fan_in**-0.5, dtype=torch.float32).double()
            unit = torch.rand(shape, generator=generator, dtype=torch.float32).double()
            parameters.append((unit * (2 * bound) - bound).float())
    return parameters

"""Flatness at a point: the Hessian trace, its diagonal and spectrum, sharpness, margins, norms.

* `diagonal`: the exact diagonal of the Hessian of the training loss of a ReLU network, one entry
  per parameter.
* `margins`: output margins and norms of ReLU networks, batched over an ensemble.
* `modules`: the trace of the Hessian for any ``torch.nn.Module``, exact where every parameter
  enters the outputs piecewise linearly, estimated everywhere.
* `norms`: the variation norm of a two-layer homogeneous network and its power sums.
* `output_hessian`: the Hessian of the loss in the outputs of a network: a factor of it, and its
  pull-back.
* `pacbayes`: PAC-Bayes: the Kullback-Leibler term of weakness, and a bound that holds for trained
  networks.
* `parameter_noise`: Gaussian noise in the parameters: the training error it causes, and its
  divergence.
* `piecewise_linear`: where the outputs of a model are piecewise linear in each parameter tensor.
* `sharpness`: sharpness relative to the size of the parameters: three proposals, batched over an
  ensemble, and exact.
* `spectrum`: products with the Hessian of an ensemble, and its largest eigenvalue.
* `trace`: the trace of the Hessian of the training loss: exact, block by block, and estimated.
"""

from flatness.curvature.diagonal import hessian_diagonal, unit_energies
from flatness.curvature.margins import (
    margins_of_outputs,
    normalised_margin,
    output_margins,
    path_norm,
    weight_norm,
)
from flatness.curvature.modules import module_hessian_trace, module_hutchinson_trace
from flatness.curvature.norms import exponent, variation_norm, variation_power, variation_terms
from flatness.curvature.output_hessian import LOSSES, output_factor
from flatness.curvature.pacbayes import (
    GaussianBound,
    bernoulli_kl,
    gaussian_bound,
    kl_inverse,
    log_xi,
    uniform_kl,
)
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.curvature.piecewise_linear import NoExactTrace, block_nonlinearity
from flatness.curvature.sharpness import (
    adaptive_lambda_max,
    adaptive_trace,
    fisher_rao_norm,
    relative_flatness,
)
from flatness.curvature.spectrum import (
    Eigenvalue,
    flatten,
    hessian_products,
    lambda_max,
    largest_eigenvalue,
    unflatten,
)
from flatness.curvature.trace import (
    BlockTrace,
    TraceEstimate,
    hessian_trace,
    hutchinson_trace,
    mean_loss,
)

__all__ = [
    "BlockTrace",
    "Eigenvalue",
    "GaussianBound",
    "LOSSES",
    "NoExactTrace",
    "NoisyTraining",
    "TraceEstimate",
    "adaptive_lambda_max",
    "adaptive_trace",
    "bernoulli_kl",
    "block_nonlinearity",
    "exponent",
    "fisher_rao_norm",
    "flatten",
    "gaussian_bound",
    "gaussian_kl",
    "hessian_diagonal",
    "hessian_products",
    "hessian_trace",
    "hutchinson_trace",
    "kl_inverse",
    "lambda_max",
    "largest_eigenvalue",
    "log_xi",
    "margins_of_outputs",
    "mean_loss",
    "module_hessian_trace",
    "module_hutchinson_trace",
    "noise_at_error",
    "normalised_margin",
    "output_factor",
    "output_margins",
    "path_norm",
    "relative_flatness",
    "unflatten",
    "uniform_kl",
    "unit_energies",
    "variation_norm",
    "variation_power",
    "variation_terms",
    "weight_norm",
]

"""Networks as batched tensors: ensembles of perceptrons, two-layer networks, training, regions.

* `activations`: positively homogeneous activations of integer degree p >= 1.
* `device`: one place that decides where computations run and in which precision.
* `features`: the features of a layer as points in space: how many directions they fill, and which
  of them the last layer reads.
* `first_layer`: the first layer of networks in training, through its weights or its pre-
  activations.
* `forward_pass`: the Linear layers of a PyTorch model in the order of its forward pass.
* `mlp`: ensembles of ReLU networks held as batched tensors.
* `regions`: activation patterns, the regions of data they define, and the region-class vocabulary
  of Paper B.
* `torch_models`: a reader's own PyTorch models as an ensemble, and an ensemble as PyTorch models.
* `training`: stochastic gradient descent on a whole ensemble at once.
* `two_layer`: two-layer homogeneous networks without biases, many at once, and their exact
  Hessian trace.
"""

from flatness.networks.activations import ACTIVATIONS, RELU, Activation, from_function
from flatness.networks.device import default_device, default_dtype
from flatness.networks.features import effective_rank, read_features
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import (
    activation_patterns,
    class_counts,
    distinct_patterns,
    free_parameters,
    layer_patterns,
    pack_bits,
    region_counts,
    region_ids,
    region_language,
    region_weakness,
    unseen_only_regions,
)
from flatness.networks.torch_models import from_state_dict, from_torch, to_torch
from flatness.networks.training import Trained, accuracy, order_generators, train
from flatness.networks.two_layer import (
    TwoLayer,
    as_batch,
    as_data,
    at_kink,
    concatenate,
    half_mse,
    stack,
    trace,
    trace_parts,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "MLPEnsemble",
    "RELU",
    "Trained",
    "TwoLayer",
    "accuracy",
    "activation_patterns",
    "as_batch",
    "as_data",
    "at_kink",
    "class_counts",
    "concatenate",
    "default_device",
    "default_dtype",
    "distinct_patterns",
    "free_parameters",
    "effective_rank",
    "from_function",
    "from_state_dict",
    "from_torch",
    "half_mse",
    "layer_patterns",
    "order_generators",
    "pack_bits",
    "region_counts",
    "region_ids",
    "region_language",
    "region_weakness",
    "stack",
    "to_torch",
    "trace",
    "trace_parts",
    "train",
    "unseen_only_regions",
    "read_features",
]

"""Changes of the parameters that leave the function alone, and the flattest point that they reach.

* `balancing`: the smallest trace on the rescaling orbit of a deep ReLU network, by matrix
  balancing.
* `flow_graph`: the terms of the trace of a deep ReLU network as weights of a layered graph: units
  and ground.
* `invariance`: changes of the parameters that leave the function of a ReLU network as it is, at
  random, to try measures on.
* `orbits`: symmetries of two-layer homogeneous networks and the minimum of the trace over them.
* `rescaling`: changes of the parameters of a ReLU network that leave its function as it is.
"""

from flatness.symmetry.balancing import OrbitMinimum, balance, imbalance
from flatness.symmetry.flow_graph import TraceFlow, on_cycles, trace_flow
from flatness.symmetry.invariance import split_unit
from flatness.symmetry.orbits import (
    balancing_scales,
    kappa,
    merge,
    orbit_terms,
    permute,
    rescale,
    split,
    split_to_width,
)
from flatness.symmetry.rescaling import (
    add_unread_units,
    permute_neurons,
    rescale_layer,
    rescale_neurons,
    rescaled_trace,
    t_beta,
    t_gamma,
)

__all__ = [
    "OrbitMinimum",
    "TraceFlow",
    "add_unread_units",
    "balance",
    "balancing_scales",
    "imbalance",
    "kappa",
    "merge",
    "on_cycles",
    "orbit_terms",
    "permute",
    "permute_neurons",
    "rescale",
    "rescale_layer",
    "rescale_neurons",
    "rescaled_trace",
    "split",
    "split_to_width",
    "split_unit",
    "t_beta",
    "t_gamma",
    "trace_flow",
]

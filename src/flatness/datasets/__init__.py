"""Images in the papers' splits, tables of digits, and synthetic data with exact population losses.

* `archives`: what the data sets are: the SHA-256 of every file, and the public mirrors.
* `download`: the full data sets: 60,000 + 10,000 images each, fetched once, verified by hash,
  cached as IDX files.
* `embed`: writes the embedded image subsets ``data/<name>.npz`` from the full data sets.
* `idx`: the IDX file format of MNIST: a strict reader.
* `images`: MNIST and Fashion-MNIST with Paper B's exact splits.
* `input_laws`: input laws: five laws on R^d with mean 0 and covariance I.
* `pools`: the 70,000 images of MNIST and of Fashion-MNIST by one index: embedded in part, cached
  in full.
* `population`: population moments and the population loss of two-layer homogeneous networks.
* `tabular`: two tables of handwritten digits, embedded whole: the data sets for experiments off
  MNIST.
* `targets`: multi-index and sums of single-index targets, and data sets drawn from them.
"""

from flatness.datasets.archives import Archive, IntegrityError, archive
from flatness.datasets.download import (
    FetchError,
    cache_folder,
    fetch,
    find,
    install,
    is_complete,
    locate,
    read,
    verified,
)
from flatness.datasets.idx import IDXError
from flatness.datasets.images import Split, child_indices, load, probe_positions, unseen_pool
from flatness.datasets.input_laws import LAWS, sample_inputs
from flatness.datasets.pools import MissingImages, Points, Pool, embedded_pool, load_pool
from flatness.datasets.population import (
    PopulationLoss,
    activation_kernel,
    cross_moment,
    first_moment,
    hermite_coefficients,
    population_loss,
    second_moment,
    target_field,
    target_moments,
)
from flatness.datasets.tabular import load_table
from flatness.datasets.targets import (
    TARGETS,
    DataSet,
    MultiIndex,
    SingleIndexSum,
    draw,
    make_target,
    random_directions,
)

__all__ = [
    "Archive",
    "DataSet",
    "FetchError",
    "IDXError",
    "IntegrityError",
    "LAWS",
    "MissingImages",
    "MultiIndex",
    "Points",
    "Pool",
    "PopulationLoss",
    "SingleIndexSum",
    "Split",
    "TARGETS",
    "activation_kernel",
    "archive",
    "cache_folder",
    "child_indices",
    "cross_moment",
    "draw",
    "embedded_pool",
    "fetch",
    "find",
    "first_moment",
    "hermite_coefficients",
    "install",
    "is_complete",
    "load",
    "load_pool",
    "load_table",
    "locate",
    "make_target",
    "population_loss",
    "probe_positions",
    "random_directions",
    "read",
    "sample_inputs",
    "second_moment",
    "target_field",
    "target_moments",
    "unseen_pool",
    "verified",
]

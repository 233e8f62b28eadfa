"""Two-layer networks that fit the data: the flattest, the memorising, the adversarial; and bounds on them.

* `adversarial`: the adversary: the flattest interpolator we can find among those with a large
  population loss.
* `bounds`: A lower bound on the flatness of every interpolator, and the certificate it gives.
* `cells`: the activation cells of a sample: the sign patterns of the directions off the kinks.
* `certified`: the flattest interpolator for p = 1 between two bounds: a network, and a dual that
  certifies it.
* `climb`: ascent of the dual ratio over directions, where the activation cells are too many to list.
* `column_generation`: the flattest interpolator over a growing set of neurons: a linear programme.
* `constructions`: interpolators of seven kinds, good and bad; the flattest and the adversary have
  modules of their own.
* `dual`: the dual of the flattest interpolator for p = 1, and the certified supremum that makes a
  bound of it.
* `harmonics`: spherical harmonics seen through their dimensions and energies: what features
  chosen before the target cannot learn.
* `off_kinks`: from neurons on the faces of cells to an interpolating network without a sample on a
  kink.
* `penalised`: interpolation at a price: half-MSE + lambda * (a flatness penalty), with exact
  hand-written gradients.
* `polish`: from nearly interpolating to interpolating: Gauss-Newton steps of minimum norm.
* `search`: the flattest interpolator we can find, and the linear programme that finishes it.
* `small_ball`: how little of the sample one direction can see: the constants lambda_n and mu_n of
  chapter a5_norm.
* `small_ball_bounds`: proved lower bounds on how little one direction can see of a Gaussian
  sample, with their probabilities.
"""

from flatness.interpolators.adversarial import Adversary, adversary, pull_to_opposite
from flatness.interpolators.bounds import Certificate, certificate, flatness_lower_bound
from flatness.interpolators.cells import cell_count
from flatness.interpolators.certified import CertifiedFlattest, certified_flattest
from flatness.interpolators.constructions import (
    gradient_descent,
    memoriser,
    poisoned,
    private_neurons,
    random_features,
    teacher,
)
from flatness.interpolators.dual import CellDuals, dual_ratio, simple_supremum
from flatness.interpolators.harmonics import (
    harmonic_dimension,
    harmonic_energies,
    legendre,
    unlearned_energy,
)
from flatness.interpolators.penalised import Schedule, minimise_penalised, penalised_gradient
from flatness.interpolators.polish import (
    InterpolationError,
    check_counting,
    consolidate,
    gauss_newton,
    interpolate,
    pair_up,
    require_interpolation,
    revive,
)
from flatness.interpolators.search import (
    Flattest,
    anneal,
    best_of,
    default_width,
    flattest,
    initial_network,
    linear_programme,
    polished,
)
from flatness.interpolators.small_ball import (
    gordon_limit,
    silent_direction,
    smallest_activity,
    smallest_energy,
    wendel_probability,
)
from flatness.interpolators.small_ball_bounds import (
    activity_lower_bound,
    comparison_probability,
    cover_number,
    energy_lower_bound,
    slope_lower_bound,
)

__all__ = [
    "Adversary",
    "CellDuals",
    "Certificate",
    "CertifiedFlattest",
    "Flattest",
    "InterpolationError",
    "Schedule",
    "activity_lower_bound",
    "adversary",
    "anneal",
    "best_of",
    "cell_count",
    "certificate",
    "certified_flattest",
    "check_counting",
    "comparison_probability",
    "consolidate",
    "cover_number",
    "default_width",
    "dual_ratio",
    "energy_lower_bound",
    "flatness_lower_bound",
    "flattest",
    "gauss_newton",
    "gordon_limit",
    "gradient_descent",
    "harmonic_dimension",
    "harmonic_energies",
    "initial_network",
    "interpolate",
    "legendre",
    "linear_programme",
    "memoriser",
    "minimise_penalised",
    "pair_up",
    "penalised_gradient",
    "poisoned",
    "polished",
    "private_neurons",
    "pull_to_opposite",
    "random_features",
    "require_interpolation",
    "revive",
    "silent_direction",
    "simple_supremum",
    "slope_lower_bound",
    "smallest_activity",
    "smallest_energy",
    "teacher",
    "unlearned_energy",
    "wendel_probability",
]

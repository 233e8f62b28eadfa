"""Two-layer networks that fit the data: the flattest, the memorising, the adversarial; and bounds.

* `adversarial`: the adversary: the flattest interpolator we can find among those with a large
  population loss.
* `bounds`: A lower bound on the flatness of every interpolator, and the certificate it gives.
* `candidates`: candidates for the flattest interpolator: of several networks, the flattest that
  interpolates.
* `constructions`: interpolators of seven kinds, good and bad; the flattest and the adversary have
  modules of their own.
* `floors`: a floor under the flatness of every interpolator, with a free vector.
* `harmonics`: spherical harmonics seen through their dimensions and energies: what features
  chosen before the target cannot learn.
* `penalised`: interpolation at a price: half-MSE + lambda * (a flatness penalty), with exact
  hand-written gradients.
* `polish`: from nearly interpolating to interpolating: Gauss-Newton steps of minimum norm.
* `pricing`: pricing in the column generation of the flattest interpolator: which neurons enter
  next.
* `resolved`: what one sample in the plane certifies about every bad interpolator of its labels.
* `search`: the flattest interpolator we can find: many starts, annealed, polished, and the best
  one kept.
* `second_layer`: the best second layer over given directions (p = 1): a linear programme.
* `small_ball`: how little of the sample one direction can see: the constants lambda_n and mu_n of
  chapter a5_norm.
* `small_ball_bounds`: proved lower bounds on how little one direction can see of a Gaussian
  sample, with their probabilities.
* `unlearned`: how flat an interpolator can be that has not learned its target: proved, with
  constants one can use.
"""

from flatness.interpolators.adversarial import Adversary, adversary
from flatness.interpolators.bounds import Certificate, certificate, flatness_lower_bound
from flatness.interpolators.candidates import Flattest, best_of
from flatness.interpolators.constructions import (
    gradient_descent,
    memoriser,
    poisoned,
    private_neurons,
    random_features,
    teacher,
)
from flatness.interpolators.floors import flatness_floor
from flatness.interpolators.harmonics import (
    cosine_multiplier,
    harmonic_dimension,
    harmonic_energies,
    legendre,
    unlearned_energy,
)
from flatness.interpolators.penalised import Schedule, minimise_penalised
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
from flatness.interpolators.resolved import (
    Resolution,
    bad_ratio,
    plane_constants,
    resolution,
)
from flatness.interpolators.search import anneal, default_width, flattest, initial_network, polished
from flatness.interpolators.second_layer import linear_programme
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
from flatness.interpolators.unlearned import UnlearnedBound, unlearned_bound

__all__ = [
    "Adversary",
    "Certificate",
    "Flattest",
    "InterpolationError",
    "Resolution",
    "Schedule",
    "UnlearnedBound",
    "activity_lower_bound",
    "adversary",
    "anneal",
    "bad_ratio",
    "best_of",
    "certificate",
    "check_counting",
    "comparison_probability",
    "consolidate",
    "cosine_multiplier",
    "cover_number",
    "default_width",
    "energy_lower_bound",
    "flatness_floor",
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
    "plane_constants",
    "poisoned",
    "polished",
    "private_neurons",
    "random_features",
    "require_interpolation",
    "resolution",
    "revive",
    "silent_direction",
    "slope_lower_bound",
    "smallest_activity",
    "smallest_energy",
    "teacher",
    "unlearned_bound",
    "unlearned_energy",
    "wendel_probability",
]

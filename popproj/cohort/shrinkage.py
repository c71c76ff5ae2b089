r"""How much of a district's own rates to believe: a Gamma-Poisson hierarchy.

Events :math:`y` of a unit are Poisson around :math:`\theta e`, where :math:`e` is what its parent's
rates expect of its exposure, and the relative risks :math:`\theta` of the units of one level are
Gamma distributed around 1 with variance :math:`1/\kappa`. Given :math:`\kappa` the expected risk is

.. math:: \hat\theta = \frac{y + \kappa}{e + \kappa}, \qquad
   \operatorname{var}\theta = \frac{y + \kappa}{(e + \kappa)^2}:

:math:`\kappa` is the number of expected events at which a unit's own experience counts as much as
its parent's. It is not chosen but estimated, as that which makes the events of all units of the
level most likely (negative binomial). The levels are city → ward → district → age group of the
district → single age and sex, each the parent of the next; where the units of a level differ by no
more than chance, :math:`\kappa` grows without bound and the level drops out by itself.

References
----------
Clayton, D., Kaldor, J. (1987). Empirical Bayes estimates of age-standardized relative risks for use
in disease mapping. *Biometrics* 43, 671-681.
Assunção, R. M., Schmertmann, C. P., Potter, J. E., Cavenaghi, S. M. (2005). Empirical Bayes
estimation of demographic schedules for small areas. *Demography* 42, 537-558.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from popproj.cohort.conventions import ratio

Array = NDArray[np.float64]
Groups = NDArray[np.intp]

STRONGEST = 1e6
"""Expected events beyond which a level counts as pooled."""

_lgamma = np.frompyfunc(math.lgamma, 1, 1)


class Risks(NamedTuple):
    """Relative risks of the units of one level, their variances, and the strength κ."""

    mean: Array
    variance: Array
    strength: float


class Shrunk(NamedTuple):
    """Rates with what is known of them.

    ``rate`` and ``error`` (standard error) are ``(sex, age, district)`` [1/person-year];
    ``strength`` holds κ of each level, in expected events.
    """

    rate: Array
    error: Array
    strength: dict[str, float]


def relative_risks(events: Array, expected: Array) -> Risks:
    """Relative risks of units of one level, shrunk towards 1 as far as their likeness says.

    Parameters
    ----------
    events, expected
        Events seen and events that the parent's rates expect, of the same units, any shape.

    Examples
    --------
    Twenty units that differ by chance alone are pooled:

    >>> rng = np.random.default_rng(1)
    >>> alike = relative_risks(rng.poisson(50, 20).astype(float), np.full(20, 50.0))
    >>> bool(abs(alike.mean - 1).max() < 0.02)
    True

    Where they do differ, large ones keep their own and small ones do not:

    >>> expected = np.array([1000.0, 1000, 1, 1000, 1])
    >>> relative_risks(np.array([2000.0, 500, 2, 1000, 0]), expected).mean.round(2).tolist()
    [2.0, 0.5, 1.24, 1.0, 0.76]
    """
    y, e = np.ravel(events), np.ravel(expected)
    seen = e > 0
    kappa = _strength(y[seen], e[seen])
    return Risks(
        (events + kappa) / (expected + kappa), (events + kappa) / (expected + kappa) ** 2, kappa
    )


def _strength(y: Array, e: Array) -> float:
    """κ that makes the events most likely, by a search over its logarithm."""
    if y.size < 3:
        return STRONGEST

    distinct, times = np.unique(y, return_counts=True)

    def surprise(log_kappa: float) -> float:
        kappa = math.exp(log_kappa)
        gammas = np.asarray(_lgamma(distinct + kappa), dtype=np.float64) - math.lgamma(kappa)
        likely = kappa * np.log1p(e / kappa) + y * np.log(e + kappa)
        return float(likely.sum() - gammas @ times)

    grid = np.linspace(-2.0, math.log(STRONGEST), 33)
    values = [surprise(x) for x in grid]
    best = int(np.argmin(values))
    if best == len(grid) - 1:
        return STRONGEST
    low, high = grid[max(best - 1, 0)], grid[best + 1]
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        one, two = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, two) if surprise(one) < surprise(two) else (one, high)
    return math.exp((low + high) / 2)


def shrunk_rates(events: Array, exposure: Array, wards: Groups, group_of_age: Groups) -> Shrunk:
    """Rates of districts that borrow strength from their ward and the city.

    Parameters
    ----------
    events
        Events over the whole window, ``(sex, age, district)`` [people].
    exposure
        Their exposure, same shape [person-years].
    wards
        Ward of each district as a number; −1 for none.
    group_of_age
        Age group of each age: a district's deviations are sought for groups, then for single
        ages.

    Returns
    -------
    Shrunk
        Summed over districts, rate × exposure gives back the city's events at every sex and age.
    """
    city = np.nan_to_num(
        ratio(events.sum(axis=2, keepdims=True), exposure.sum(axis=2, keepdims=True))
    )
    expected = city * exposure
    n_group, n_place = int(group_of_age.max()) + 1, events.shape[2]
    y, e = np.zeros((n_group, n_place)), np.zeros((n_group, n_place))
    np.add.at(y, group_of_age, events.sum(axis=0))
    np.add.at(e, group_of_age, expected.sum(axis=0))

    strength = {}
    risk, spread = np.ones((n_group, n_place)), np.zeros((n_group, n_place))
    known = np.unique(wards[wards >= 0])
    if known.size > 1:
        member = (wards[:, None] == known[None, :]).astype(float)
        of_wards = relative_risks(y.sum(axis=0) @ member, e.sum(axis=0) @ member)
        strength["ward"] = of_wards.strength
        inside = wards >= 0
        risk[:, inside] *= of_wards.mean @ member.T[:, inside]
        spread[:, inside] += (of_wards.variance / of_wards.mean**2) @ member.T[:, inside]
    of_districts = relative_risks(y.sum(axis=0), (e * risk).sum(axis=0))
    strength["district"] = of_districts.strength
    risk = risk * of_districts.mean
    spread = spread + of_districts.variance / of_districts.mean**2
    of_ages = relative_risks(y, e * risk)
    strength["age"] = of_ages.strength
    risk = risk * of_ages.mean
    spread = spread + of_ages.variance / of_ages.mean**2

    of_cells = relative_risks(events, expected * risk[group_of_age])
    strength["cell"] = of_cells.strength
    rate = city * risk[group_of_age] * of_cells.mean
    relative = spread[group_of_age] + of_cells.variance / of_cells.mean**2
    seen, told = events.sum(axis=2, keepdims=True), (rate * exposure).sum(axis=2, keepdims=True)
    rate = rate * np.divide(seen, told, out=np.ones_like(seen), where=told > 0)
    of_city = np.divide(1.0, seen, out=np.zeros_like(seen), where=seen > 0)
    return Shrunk(rate, rate * np.sqrt(relative + of_city), strength)


def shrunk_profile(counts: Array, group_of_age: Groups) -> Array:
    """Counts with each district's own sum, and an age profile that borrows from the city's.

    Parameters
    ----------
    counts
        ``(sex, age, district)`` over the whole window [people].
    group_of_age
        Age group of each age, see `shrunk_rates`.
    """
    city = counts.sum(axis=2, keepdims=True)
    own = counts.sum(axis=(0, 1))
    expected = city / max(city.sum(), 1e-300) * own
    n_group = int(group_of_age.max()) + 1
    y, e = np.zeros((n_group, own.size)), np.zeros((n_group, own.size))
    np.add.at(y, group_of_age, counts.sum(axis=0))
    np.add.at(e, group_of_age, expected.sum(axis=0))
    profile = expected * relative_risks(y, e).mean[group_of_age]
    profile = profile * relative_risks(counts, profile).mean
    total = profile.sum(axis=(0, 1))
    return np.asarray(profile * np.divide(own, total, out=np.zeros_like(own), where=total > 0))

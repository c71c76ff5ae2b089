r"""Single ages of a city that counts five-year ages, from how the groups change year by year.

A spline through groups of ages cannot know a wave of births. But from one year to the next a group
gains those who pass its lower bound and loses those who pass its upper one: yearly counts of groups
tell cohort sizes that one count does not. With :math:`z_a` people at age `a` on the last day,
relative to a stationary population :math:`L_a`, the count of a group `j` years before is

.. math:: N_{g,j} = \sum_{a \in g} L_{a+j}\, z_{a+j}\, e^{H_j(a)} (1 + \varepsilon), \qquad
   \operatorname{sd}(\varepsilon) = \sigma_g j, \qquad
   \operatorname{sd}(\Delta^2 z) = \sigma_z

where :math:`H_j(a)` is the hazard of dying in between. The `z` that fits best is a linear
least-squares problem; the level of mortality is the one with which it fits best. Ages at which
people move tell little, as what moves cannot be told from what was born.

References
----------
Whittaker, E. T. (1923). On a new method of graduation. *Proceedings of the Edinburgh Mathematical
Society* 41, 63-75.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from popproj.cohort.model_life_table import yearly_hazards

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SMOOTH = 0.1
"""Standard deviation of the second differences of cohort sizes, relative to their mean."""
STRAY = (0.03, 0.005)
"""Yearly standard deviation by which groups below and above `SETTLED` miss what died [1]."""
SETTLED = 45
"""Age from which few people move."""
EXACT = 1e-4
"""Relative standard deviation with which the last count is met (afterwards exactly, by raking)."""
SHIFTS = np.arange(-8.0, 8.5, 1.0)
"""Levels of mortality that are tried [years by which people die later than in the model]."""
BELIEF = 2.0
"""Standard deviation of that level beforehand [years]."""


def single_ages(counts: Array, ago: Index, lower: Index, female: Array, open_age: int) -> Array:
    """People of a city by single age on each day of count.

    Parameters
    ----------
    counts
        People in each group ``(time, group)``, the last one open; not NaN.
    ago
        Years before the last count, falling to 0.
    lower
        Lower bound of each group.
    female
        Share of women at each age ``(age,)``: mortality is that of both sexes so mixed.
    open_age
        Last single age of the result, open.

    Returns
    -------
    ndarray
        ``(time, age)``, not negative; groups are met nearly.

    Examples
    --------
    A wave of births that is 62 to 64 years old on the last day:

    >>> ages = np.arange(121)
    >>> hazard = yearly_hazards(0.0, 120).mean(axis=0)
    >>> alive = 1000 * np.exp(-np.cumsum(hazard))
    >>> lower = np.arange(0, 85, 5)
    >>> now = [np.add.reduceat(alive * np.where((ages + j >= 62) & (ages + j < 65), 1.4, 1), lower)
    ...        for j in range(5, -1, -1)]
    >>> found = single_ages(np.array(now), np.arange(5, -1, -1), lower, np.full(101, 0.5), 100)
    >>> (found[-1] / alive[:101])[60:67].round(1)
    array([1. , 1.1, 1.3, 1.4, 1.3, 1.1, 1. ])
    """
    top = open_age + 20
    women = np.append(female, np.full(top - open_age, female[-1]))
    with threadpool_limits(limits=1, user_api="blas"):  # small systems; the same bits everywhere
        fits = [_fit(counts, ago, lower, _mixed(shift, women, top), shift) for shift in SHIFTS]
    _, people = min(fits, key=lambda fit: fit[0])
    whole = np.maximum(people, 0.0)
    whole[:, open_age] = whole[:, open_age:].sum(axis=1)
    return whole[:, : open_age + 1]


def _mixed(shift: float, women: Array, top: int) -> Array:
    """Hazards of both sexes together by the age reached."""
    female, male = yearly_hazards(shift, top)
    return np.asarray(women * female + (1 - women) * male)


def _fit(
    counts: Array, ago: Index, lower: Index, hazard: Array, shift: float
) -> tuple[float, Array]:
    """Badness of the best cohort sizes under some mortality, and the people that they make."""
    top = len(hazard) - 1
    ages = np.arange(top + 1)
    cumulated = np.cumsum(hazard)
    alive = np.exp(-cumulated)
    size = counts[-1].sum() / alive.sum()
    # people at age a some years ago, for each unit of z now: those beyond the last age are gone
    then = np.minimum(ages + ago[:, None], top)
    gone = ages + ago[:, None] > top
    back = np.where(gone, 0.0, size * alive[then] * np.exp(cumulated[then] - cumulated[ages]))
    group = np.searchsorted(lower, ages, side="right") - 1
    times, groups = len(ago), len(lower)
    design = np.zeros((times, groups, top + 1))
    for t in range(times):
        np.add.at(design[t], (group, then[t]), back[t])
    stray = np.where(lower >= SETTLED, STRAY[1], STRAY[0])
    spread = np.maximum(stray * ago[:, None], EXACT)
    known = counts > 0
    design = design / (np.where(known, counts, 1.0) * spread)[:, :, None]
    second = np.diff(np.eye(top + 1), n=2, axis=0) / SMOOTH
    left = np.concatenate([design[known], second])
    right = np.concatenate([(1 / spread)[known], np.zeros(len(second))])
    z = np.linalg.solve(left.T @ left, left.T @ right)
    bad = float(((left @ z - right) ** 2).sum()) + (shift / BELIEF) ** 2
    return bad, back * z[then]

r"""Raking: scaling a table until its sums over each dim agree with what was counted elsewhere.

Numbers already checked in, numbers out; :mod:`popproj.cohort.split` says what they are.

For two sexes there is a closed form of the answer. With :math:`N_{ia}` people of both sexes in
area i at age a, the women are :math:`N_{ia}p_{ia}` with

.. math:: \operatorname{logit} p_{ia} = s_a + \alpha_i + \beta_a

where :math:`s_a` is a standard and :math:`\alpha_i`, :math:`\beta_a` are such that areas and ages
have their counted numbers of women. This is where iterative proportional fitting of the three
margins area × age, area × sex and sex × age (Deming and Stephan 1940) converges to: of all tables
with these margins the one nearest to the standard (Ireland and Kullback 1968). Newton's method
finds it in a few steps, where fitting in turns takes thousands, and area × age is exact at each
of them.

References
----------
Deming, W. E., Stephan, F. F. (1940). On a least squares adjustment of a sampled frequency table
when the expected marginal totals are known. *Annals of Mathematical Statistics* 11(4), 427-444.
Ireland, C. T., Kullback, S. (1968). Contingency tables with given marginals. *Biometrika* 55(1),
179-188.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

TOLERANCE = 1e-9
"""Raking stops where no margin is missed by more than this [people]."""

_STEPS = 100


class Raked(NamedTuple):
    """A raked table ``(age, area)``, by how much it misses each margin at most, steps taken."""

    table: Array
    area_miss: float
    age_miss: float
    steps: int


def rake_ages(seed: Array, group: Index, totals: Array, ages: Array | None) -> Raked:
    """Scale counts by age and area to the areas' totals of groups and the ward's of single ages.

    Parameters
    ----------
    seed
        Counts to start from ``(age, area)``, not negative.
    group
        Group of each age, 0, 1, … in order.
    totals
        People in each group ``(group, area)``: met exactly.
    ages
        People at each age in all areas together ``(age,)``, met as far as ``totals`` allow (its
        own totals of groups are scaled to theirs); None where there is no such table.

    Returns
    -------
    Raked
        Counts, the largest miss of ``totals`` (rounding) and of ``ages`` [people], steps taken.

    References
    ----------
    Deming and Stephan (1940).

    Examples
    --------
    >>> seed, group = np.ones((4, 2)), np.array([0, 0, 1, 1])
    >>> rake_ages(seed, group, np.array([[4.0, 8], [2, 2]]), np.array([4.0, 8, 1, 3])).table
    array([[1.333, 2.667],
           [2.667, 5.333],
           [0.5       , 0.5       ],
           [1.5       , 1.5       ]])
    """
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    table = np.where(totals[group] > 0, seed, 0.0)
    empty = (np.add.reduceat(table, starts) == 0) & (totals > 0)
    if ages is not None:
        table = np.where(empty[group], ages[:, None], table)
        empty = (np.add.reduceat(table, starts) == 0) & (totals > 0)
    table = np.where(empty[group], 1.0, table)
    table *= _ratio(totals, np.add.reduceat(table, starts))[group]
    if ages is None:
        return Raked(table, _largest(np.add.reduceat(table, starts) - totals), 0.0, 0)
    sums = totals.sum(axis=1)
    in_group = np.add.reduceat(ages, starts)
    # a group that the ward's table leaves empty keeps the areas' own pattern
    target = np.where((in_group > 0)[group], ages * _ratio(sums, in_group)[group], np.nan)
    known = ~np.isnan(target)
    limit = max(TOLERANCE, 1e-14 * float(sums.sum()))
    step = 0
    for step in range(_STEPS + 1):
        at_age = table.sum(axis=1)
        if step == _STEPS or _largest(at_age - target) <= limit:
            break
        table *= np.where(known, _ratio(target, at_age), 1.0)[:, None]
        table *= _ratio(totals, np.add.reduceat(table, starts))[group]
    area_miss = _largest(np.add.reduceat(table, starts) - totals)
    return Raked(table, area_miss, _largest(at_age - target), step)


def _largest(misses: Array) -> float:
    """The largest of some misses, where known."""
    return float(np.nanmax(np.abs(misses), initial=0.0))


def _ratio(wanted: Array, given: Array) -> Array:
    """What to multiply by; 1 where there is nothing to multiply."""
    return np.divide(wanted, given, out=np.ones_like(given), where=given > 0)


def rake_sexes(
    people: Array, share: Array, women: Array, women_at_age: Array, group: Index | None = None
) -> Raked:
    """Women among people of both sexes, meeting the women of each area and of each age.

    Parameters
    ----------
    people
        People of both sexes ``(age, area)``.
    share
        Standard share of women ``(age,)`` or ``(age, area)``: kept where no margin says more.
    women
        Women in each area ``(area,)``; NaN where not known.
    women_at_age
        Women at each age, or in each group of ages, in all areas together; NaN where not known.
        Where everything is known, the sums of both must agree.
    group
        Group of each age, 0, 1, … in order; default: each age for itself.

    Returns
    -------
    Raked
        Women, never negative or more than ``people``; the largest miss of ``women`` and of
        ``women_at_age`` [people]; steps taken. Where no table meets both, ``women`` is met.

    Notes
    -----
    Newton's method on the convex dual of the raking problem, with the areas eliminated, and
    halved steps as long as the dual does not fall. Margins that allow only one answer (no women
    at all, nobody but women) are set beforehand. A solution that lies on the boundary otherwise
    is approached by a factor of e a step.

    References
    ----------
    Deming and Stephan (1940); Ireland and Kullback (1968).

    Examples
    --------
    >>> people = np.array([[10.0, 30.0], [20.0, 20.0]])
    >>> women = rake_sexes(people, np.full(2, 0.5), np.array([18.0, 24.0]), np.array([18.0, 24.0]))
    >>> women.table.sum(axis=0), women.table.sum(axis=1)
    (array([18., 24.]), array([18., 24.]))
    """
    group = np.arange(len(people)) if group is None else group
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    fixed = _forced(people, women, women_at_age, group)
    n = np.where(np.isnan(fixed), people, 0.0)
    known = np.where(np.isnan(fixed), 0.0, fixed * people)
    rows = ~np.isnan(women_at_age) & (_by_group(n, starts) > 0)
    columns = ~np.isnan(women) & (n.sum(axis=0) > 0)
    wanted_rows = np.where(rows, women_at_age - _by_group(known, starts), 0.0)
    wanted_columns = np.where(columns, women - known.sum(axis=0), 0.0)
    within = np.clip(share.reshape(len(people), -1), 1e-13, 1 - 1e-13)
    logit = np.log(within) - np.log1p(-within)
    limit = max(TOLERANCE, 1e-14 * float(people.sum()))  # sums of many cells carry rounding

    def fitted(beta: Array, alpha: Array) -> tuple[Array, float]:
        """Shares of women under the effects of ages and areas, and the dual's value."""
        eta = np.clip(logit + beta[group][:, None] + alpha, -700.0, 700.0)
        dual = np.sum(n * np.logaddexp(0.0, eta)) - beta @ wanted_rows - alpha @ wanted_columns
        return 1 / (1 + np.exp(-eta)), float(dual)

    beta, alpha = np.zeros(starts.size), np.zeros(people.shape[1])
    p, dual = fitted(beta, alpha)
    step = 0
    for step in range(_STEPS + 1):
        miss_rows = np.where(rows, _by_group(n * p, starts) - wanted_rows, 0.0)
        miss_columns = np.where(columns, (n * p).sum(axis=0) - wanted_columns, 0.0)
        if max(_largest(miss_rows), _largest(miss_columns)) <= limit or step == _STEPS:
            break
        variance = np.add.reduceat(n * p * (1 - p), starts)
        by_row, by_column = _newton(variance, miss_rows, miss_columns, rows, columns)
        descent = by_row @ miss_rows + by_column @ miss_columns
        scale = 1.0
        for _ in range(40):
            p, new = fitted(beta - scale * by_row, alpha - scale * by_column)
            if new <= dual - 1e-4 * scale * descent + 1e-12 * abs(dual):
                break
            scale /= 2
        beta, alpha, dual = beta - scale * by_row, alpha - scale * by_column, new
    table = np.clip(n * p + known, 0.0, people)
    area_miss = _largest(table.sum(axis=0) - women)
    if area_miss > limit and not np.isnan(women_at_age).all():
        nearest = np.divide(table, people, out=np.full_like(table, 0.5), where=people > 0)
        again = rake_sexes(people, nearest, women, np.full_like(women_at_age, np.nan), group)
        table, area_miss, step = again.table, again.area_miss, step + again.steps
    return Raked(table, area_miss, _largest(_by_group(table, starts) - women_at_age), step)


def _by_group(table: Array, starts: Index) -> Array:
    """People of all areas in each group of ages."""
    return np.asarray(np.add.reduceat(table.sum(axis=1), starts))


def _forced(people: Array, women: Array, women_at_age: Array, group: Index) -> Array:
    """Shares that the margins leave no choice about: 0 or 1, else NaN. Areas before ages."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    fixed = np.where(people > 0, np.nan, 0.0)
    while True:
        free = np.isnan(fixed)
        n, known = np.where(free, people, 0.0), np.where(free, 0.0, fixed * people)
        found = free & False
        for by_area in (True, False):
            margin = women if by_area else women_at_age
            room = n.sum(axis=0) if by_area else _by_group(n, starts)
            left = margin - (known.sum(axis=0) if by_area else _by_group(known, starts))
            small = TOLERANCE * np.maximum(1.0, room)
            for share, reached in ((0.0, left <= small), (1.0, left >= room - small)):
                found = free & (reached if by_area else reached[group][:, None])
                if found.any():
                    fixed[found] = share
                    break
            if found.any():
                break
        if not found.any():
            return fixed


def _newton(
    v: Array,
    miss_rows: Array,
    miss_columns: Array,
    rows: NDArray[np.bool_],
    columns: NDArray[np.bool_],
) -> tuple[Array, Array]:
    """Newton step for the effects of rows and columns, given the cells' variances."""
    ridge = 1 + 1e-11  # the level can go into either effect: any solution will do
    tiny = np.finfo(float).tiny
    at_row = np.maximum(v.sum(axis=1), tiny) * ridge
    at_column = np.maximum(v.sum(axis=0), tiny) * ridge
    by_row, by_column = np.zeros_like(miss_rows), np.zeros_like(miss_columns)
    cross = np.where(columns, v, 0.0)[rows]
    if rows.any():
        matrix = np.diag(at_row[rows]) - (cross / at_column) @ cross.T
        right = miss_rows[rows] - cross @ (miss_columns / at_column)
        scale = 1 / np.sqrt(np.diag(matrix).clip(min=tiny))
        solved = np.linalg.solve(scale[:, None] * matrix * scale, scale * right)
        by_row[rows] = scale * solved
    by_column[columns] = ((miss_columns - by_row[rows] @ cross) / at_column)[columns]
    biggest = max(np.abs(by_row).max(), np.abs(by_column).max(), 1e-300)
    shrink = min(1.0, 5.0 / biggest)
    return by_row * shrink, by_column * shrink

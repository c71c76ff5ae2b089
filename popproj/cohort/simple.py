r"""Simple methods: what a projection has to beat, and what it may fall back on.

Every method takes the yearly stocks up to a launch and nothing else, and says the people of each
age and area some years on. None of them knows a death, a birth or a move: what a cohort gained or
lost between two stocks is all they see. Sexes are taken together.

Ages step forward by the width of the data's ages, `S` years: single years from one year to the
next, five-year ages over five years. With :math:`P_{i}(t, x)` the people of area `i` in age group
`x`, the ageing of a step is

.. math:: D_i(t + S, x) = P_i(t, x - 1), \qquad
   D_i(t + S, \omega) = P_i(t, \omega - 1) + P_i(t, \omega)

and the **cohort change ratio** :math:`R_i(x) = \sum P_i(t + S, x) / \sum D_i(t + S, x)`, over all
transitions that lie in the last :data:`WINDOW` years before the launch: one for five-year ages, up
to five for single years. Young children are so many for each person of :data:`PARENTS` at the end
of the step. Where the history is shorter than five years and ages are five years wide, a step is as
long as the history and the part of a group that ages out of it is taken as evenly spread,
:math:`D = (1 - s/S)\, P(x) + (s/S)\, P(x - 1)`.

A horizon between two steps lies on the geometric line between them, age by age (the straight line
where one of them is empty). On Kobe's districts that was nearer to what came, in total and at ages
5-14, than the straight line or a start from an earlier stock; at 65+ the straight line was nearer.

A stock of an area that was empty or blank is left out, from its own trend and ratios as from the
pool: people who settle a new town are not a cohort's change.

References
----------
Hamilton, C. H., Perry, J. (1962). A short method for projecting population by age from one
decennial census to another. *Social Forces* 41(2), 163-170.
Smith, S. K., Tayman, J., Swanson, D. A. (2013). *A Practitioner's Guide to State and Local
Population Projections*. Springer, ch. 8 and 12.
Baker, J., Swanson, D. A., Tayman, J., Tedrow, L. M. (2017). *Cohort Change Ratios and Their
Applications*. Springer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from popproj.cohort.histories import years_before_last
from popproj.schema import Fault, InputError

Array = NDArray[np.float64]
Method = Callable[[xr.DataArray, Sequence[int]], xr.DataArray]
"""Stocks up to the launch ``(time, [sex,] age, area)`` and horizons [years] → people
``(horizon, age, area)``."""

WINDOW = 5
"""Years before the launch that a method looks at."""
PARENTS = (20, 45)
"""Ages [from, below] whose number says how many young children there are."""
LIMIT = 4.0
"""An area's own change in five years is held between a quarter and four times the pool's."""
OLD = 65
"""Age from which an area's migration level is not applied."""
FERTILITY = MappingProxyType({15: 0.005, 20: 0.036, 25: 0.087, 30: 0.095, 35: 0.045, 40: 0.008})
"""Shape of fertility by five-year age in a country of late and low fertility; only the relative
sizes act, the level comes from the data."""


class _Past(NamedTuple):
    """Stocks up to the launch as a plain array, and how its ages step."""

    people: Array  # (time, age, area), sexes together; NaN where an area is blank or not yet there
    ago: NDArray[np.int64]  # (time) years before the launch
    ages: NDArray[np.int64]  # lower bounds
    width: int
    step: int
    transitions: tuple[tuple[int, int], ...]  # positions of start and end
    labels: xr.DataArray

    @property
    def launch(self) -> Array:
        return np.asarray(self.people[-1])

    @property
    def places(self) -> int:
        return int(self.people.shape[2])


class _Change(NamedTuple):
    """Sums over the transitions: people who came out, and who would by ageing alone."""

    closing: Array  # (age 1…, area)
    aged: Array
    pool: Array  # (age 1…, 1) ratio of all areas together
    children: Array  # (area)
    parents: Array
    n: Array  # (area) transitions that count

    @property
    def children_pool(self) -> float:
        return _share(self.children.sum(), self.parents.sum())


def constant(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    """Everybody as at the launch.

    Parameters
    ----------
    population
        Stocks [people] ``(time, [sex,] age, area)``, ages of one width and an open last one; the
        last time is the launch.
    horizons
        Years after the launch.

    Returns
    -------
    DataArray
        People ``(horizon, age, area)``, sexes together; NaN where the launch is.

    Raises
    ------
    InputError
        If times are not whole years apart, or ages are not of one width.

    Examples
    --------
    >>> stocks = xr.DataArray(
    ...     [[[8.0], [9.0]], [[10.0], [9.0]]],
    ...     dims=("time", "age", "area"),
    ...     coords={"time": np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"),
    ...             "age": [0, 1], "area": ["a"]},
    ... )
    >>> constant(stocks, [1, 5]).sum("age").values.ravel()
    array([19., 19.])
    >>> linear(stocks, [1, 5]).sum("age").values.ravel()
    array([21., 29.])
    """
    past = _past(population)
    return _labelled(past, np.repeat(past.launch[None], len(horizons), axis=0), horizons)


def linear(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    r"""Each age of each area goes on growing by as many people a year.

    :math:`P(T + h) = \max(0, P(T) + b h)` with `b` the least-squares slope over the stocks of the
    last five years: the line starts from the launch, not from its own fit.

    Parameters, Returns and Raises as :func:`constant`.
    """
    past = _past(population)
    slope = _slope(past, past.people)
    ahead = np.asarray(horizons, dtype=np.float64)[:, None, None]
    return _labelled(past, np.maximum(past.launch + slope * ahead, 0), horizons)


def exponential(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    r"""Each age of each area goes on growing at the same rate.

    :math:`P(T + h) = P(T)\, e^{b h}` with `b` the least-squares slope of the logarithms over the
    stocks of the last five years, held between a quarter and four times in five years. An age that
    was empty in one of these years stays as it is at the launch.

    Parameters, Returns and Raises as :func:`constant`.
    """
    past = _past(population)
    seen = np.where(np.isnan(past.people), np.nan, np.maximum(past.people, 0))
    with np.errstate(divide="ignore"):
        logs = np.log(seen)
    recent = logs[past.ago <= WINDOW]
    steady = ~np.isneginf(recent).any(axis=0)
    slope = np.where(steady, _slope(past, np.where(np.isneginf(logs), 0, logs)), 0)
    limit = np.log(LIMIT) / WINDOW
    slope = np.clip(slope, -limit, limit)
    ahead = np.asarray(horizons, dtype=np.float64)[:, None, None]
    return _labelled(past, past.launch * np.exp(slope * ahead), horizons)


def constant_share(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    """Each area keeps its share of the city, age by age.

    The city is the sum of the areas, carried forward by its own cohort component
    (:func:`pooled_cohort_component`); an age without people in the city has no shares and stays
    empty.

    Parameters, Returns and Raises as :func:`constant`.
    """
    past = _past(population)
    city = np.nansum(_component(past, horizons), axis=2, keepdims=True)
    whole = np.nansum(past.launch, axis=1, keepdims=True)
    return _labelled(past, city * _ratio(past.launch, whole, 0.0), horizons)


def hamilton_perry(
    population: xr.DataArray,
    horizons: Sequence[int],
    *,
    shrink: float = 0.0,
    limit: float | None = LIMIT,
) -> xr.DataArray:
    r"""Cohort change ratios of each area, as they are or drawn to the ratio of all areas.

    :math:`\hat R_i(x) = \frac{\sum P_i + K R(x)}{\sum D_i + K}` with `R` the ratio of all areas
    together: `K` people of the city beside those of the area. For the children it is 2 `K`, as the
    people they are divided by, those of :data:`PARENTS`, are several ages.

    Parameters
    ----------
    population, horizons
        As in :func:`constant`.
    shrink
        `K` [people]: 0 takes the area's own ratios, infinity those of all areas.
    limit
        How many times the pool's an area's own change in five years may be (and one over it);
        None does not limit. Only without `shrink`.

    Returns
    -------
    DataArray
        As from :func:`constant`.

    Raises
    ------
    InputError
        As :func:`constant`, and if no stock lies one step before another in the last five years.

    Examples
    --------
    20 children of whom 16 are there a year later, and 5 children for 20 people of 20-44:

    >>> people = np.zeros((2, 46, 1))
    >>> people[:, 0, 0], people[1, 1, 0], people[:, 30, 0] = [20, 5], 16, 20
    >>> people[1, 31, 0] = 20
    >>> stocks = xr.DataArray(
    ...     people,
    ...     dims=("time", "age", "area"),
    ...     coords={"time": np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"),
    ...             "age": range(46), "area": ["a"]},
    ... )
    >>> hamilton_perry(stocks, [1]).sel(age=[0, 1, 2]).values.ravel()
    array([ 5.,  4., 16.])
    """
    past = _past(population)
    change = _change(past)
    if np.isinf(shrink):
        ratios, children = change.pool, np.array(change.children_pool)
    elif shrink:
        ratios = (change.closing + shrink * change.pool) / (change.aged + shrink)
        beside = 2 * shrink
        children = (change.children + beside * change.children_pool) / (change.parents + beside)
    else:
        bound = np.inf if limit is None else limit ** (past.step / WINDOW)
        ratios = _own(change.closing, change.aged, change.pool, bound)
        children = _own(change.children, change.parents, np.array(change.children_pool), bound)
    return _labelled(past, _carried(past, horizons, ratios, children), horizons)


def hamilton_perry_pooled(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    """Cohort change ratios of all areas together.

    Parameters, Returns and Raises as :func:`hamilton_perry`.
    """
    return hamilton_perry(population, horizons, shrink=np.inf)


def pooled_cohort_component(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    r"""Cohort component with the rates of all areas together.

    Survival and net migration are one ratio, as in :func:`hamilton_perry_pooled`; births are not
    counted from the parents' ages alone but weighted by the shape of fertility and over the step:
    :math:`P(0) = c\, (M(t) + M(t+S)) / 2` with :math:`M = \sum_x f(x) P(x)` of both sexes, `f` of
    :data:`FERTILITY`.

    Parameters, Returns and Raises as :func:`hamilton_perry`.
    """
    past = _past(population)
    return _labelled(past, _component(past, horizons), horizons)


def pooled_half_level(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    r"""Ratios of all areas together, and half of the area's own level of migration below 65.

    The level `g` of an area is the mean over ages, weighted by the expected people
    :math:`E = D R`, of :math:`\ln\frac{P + 3}{E + 3}`: each step's ratios below :data:`OLD` are
    multiplied by :math:`e^{g/2}`, and so are the children for each parent.

    Parameters, Returns and Raises as :func:`hamilton_perry`.
    """
    past = _past(population)
    change = _change(past)
    expected = change.aged * change.pool
    young = (past.ages[1:] < OLD)[:, None]
    logs = np.log((change.closing + 3) / (expected + 3))
    weight = expected * young
    half = np.exp(_ratio((weight * logs).sum(axis=0), weight.sum(axis=0), 0.0) / 2)
    ratios = change.pool * np.where(young, half, 1)
    return _labelled(past, _carried(past, horizons, ratios, change.children_pool * half), horizons)


def additive(
    population: xr.DataArray, horizons: Sequence[int], *, strength: float = 1.0
) -> xr.DataArray:
    r"""Ratios of all areas together, and the area's own gains and losses as numbers of people.

    What an age of an area gained beyond the pool, :math:`G = \overline{P - D R}` people a step, is
    added at every step, times `strength`; below zero it stops. Numbers do not compound: a new
    housing estate goes on filling as fast as it did, not faster.

    Parameters
    ----------
    population, horizons
        As in :func:`constant`.
    strength
        Part of the gains that goes on.

    Returns
    -------
    DataArray
        As from :func:`constant`.

    Raises
    ------
    InputError
        As :func:`hamilton_perry`.
    """
    past = _past(population)
    change = _change(past)
    gain = strength * (change.closing - change.aged * change.pool) / np.maximum(change.n, 1)
    children = np.array(change.children_pool)
    return _labelled(past, _carried(past, horizons, change.pool, children, gain), horizons)


def mean_of_simple(population: xr.DataArray, horizons: Sequence[int]) -> xr.DataArray:
    """Mean of six methods that do not borrow from each other.

    Constant, linear, exponential, constant share, Hamilton-Perry with own ratios, and the pooled
    cohort component.

    Parameters, Returns and Raises as :func:`hamilton_perry`.
    """
    members: tuple[Method, ...] = (
        constant,
        linear,
        exponential,
        constant_share,
        hamilton_perry,
        pooled_cohort_component,
    )
    first, *others = (method(population, horizons) for method in members)
    for other in others:
        first = first + other
    return (first / len(members)).rename("population")


RIVALS: Mapping[str, Method] = MappingProxyType(
    {
        "constant": constant,
        "linear": linear,
        "exponential": exponential,
        "constant_share": constant_share,
        "hamilton_perry": hamilton_perry,
        "hamilton_perry_pooled": hamilton_perry_pooled,
        "hamilton_perry_shrunk_100": partial(hamilton_perry, shrink=100),
        "hamilton_perry_shrunk_250": partial(hamilton_perry, shrink=250),
        "pooled_cohort_component": pooled_cohort_component,
        "pooled_half_level": pooled_half_level,
        "additive": additive,
        "additive_half": partial(additive, strength=0.5),
        "mean_of_simple": mean_of_simple,
    }
)
"""Every simple method by the name it has in tables and files."""


def _past(population: xr.DataArray) -> _Past:
    """Check stocks up to a launch, and find how far their ages step."""
    where = "stocks up to the launch"
    if "sex" in population.dims:
        population = population.sum("sex", skipna=False)
    population = population.transpose("time", "age", "area").sortby("time")
    ago = years_before_last(population, where)
    ages = population["age"].to_numpy().astype(np.int64)
    widths = np.unique(np.diff(ages))
    if len(widths) != 1 or ages[0] != 0:
        raise InputError(
            Fault(
                where,
                "ages must start at 0 and be of one width, the last one open",
                "Give single years of age, or five-year ages throughout.",
                first=f"{', '.join(map(str, ages[:4]))}, …",
            )
        )
    width = int(widths[0])
    people = population.to_numpy().astype(np.float64)
    whole = people.sum(axis=1, keepdims=True)
    absent = np.isnan(whole)
    absent[:-1] |= whole[:-1] == 0
    people = np.where(absent, np.nan, people)
    step, transitions = _transitions(ago, width)
    return _Past(people, ago, ages, width, step, transitions, population)


def _transitions(ago: NDArray[np.int64], width: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Longest step up to the width of an age, and all pairs of stocks that far apart lately."""
    place = {int(years): i for i, years in enumerate(ago)}
    for step in range(width, 0, -1):
        pairs = tuple(
            (place[end + step], place[end])
            for end in sorted(place)
            if end + step in place and end + step <= max(WINDOW, width)
        )
        if pairs:
            return step, pairs
    return width, ()


def _change(past: _Past) -> _Change:
    """What came out of the transitions, area by area and of all areas together."""
    if not past.transitions:
        raise InputError(
            Fault(
                "stocks up to the launch",
                f"two stocks must lie up to {past.width} years apart in the {WINDOW} years before "
                "the launch",
                "Give an earlier stock of the same day of the year.",
            )
        )
    closing, aged = np.zeros((2, len(past.ages) - 1, past.places))
    children, parents, n = np.zeros((3, past.places))
    adults = _adults(past.ages)
    for start, end in past.transitions:
        before, after = past.people[start], past.people[end]
        lives = _lives(before, after)
        n += lives
        closing += np.where(lives, after[1:], 0)
        aged += np.where(lives, _aged(before, past.step / past.width), 0)
        children += np.where(lives, after[0], 0)
        parents += np.where(lives, adults @ after, 0)
    pool = _ratio(closing.sum(axis=1), aged.sum(axis=1), 1.0)[:, None]
    return _Change(closing, aged, pool, children, parents, n)


def _component(past: _Past, horizons: Sequence[int]) -> Array:
    """People by the rates of all areas together, births over the whole step."""
    change = _change(past)
    shape = _fertility(past.ages, past.width)
    mothers = 0.0
    for start, end in past.transitions:
        before, after = past.people[start], past.people[end]
        lives = _lives(before, after)
        mothers += float(np.where(lives, shape @ (before + after) / 2, 0).sum())
    level = _share(change.children.sum(), mothers)

    def born(before: Array, after: Array) -> Array:
        return level * (shape @ (before + after)) / 2

    return _stepped(past, horizons, change.pool, born, None)


def _carried(
    past: _Past,
    horizons: Sequence[int],
    ratios: Array,
    children: Array,
    gain: Array | None = None,
) -> Array:
    """People by ratios and children for each parent."""
    adults = _adults(past.ages)

    def born(_: Array, after: Array) -> Array:
        return children * (adults @ after)

    return _stepped(past, horizons, ratios, born, gain)


def _stepped(
    past: _Past,
    horizons: Sequence[int],
    ratios: Array,
    born: Callable[[Array, Array], Array],
    gain: Array | None,
) -> Array:
    """Step on from the launch, and read the horizons off the steps."""
    steps = -(-max(horizons) // past.step)
    path = np.zeros((steps + 1, *past.launch.shape))
    path[0] = past.launch
    for before, after in pairwise(path):
        after[1:] = ratios * _aged(before, past.step / past.width)
        if gain is not None:
            after[1:] = np.maximum(after[1:] + gain, 0)
        after[0] = born(before, after)
    at = np.asarray(horizons) / past.step
    low = np.floor(at).astype(np.intp)
    high = np.ceil(at).astype(np.intp)
    part = (at - low)[:, None, None]
    first, last = path[low], path[high]
    both = (first > 0) & (last > 0)
    grows = np.divide(last, first, out=np.ones_like(first), where=both)
    return np.where(both, first * grows**part, first + (last - first) * part)


def _lives(before: Array, after: Array) -> NDArray[np.bool_]:
    """Areas with people at both ends: one that is blank at either is NaN, and so not."""
    return np.asarray((before.sum(axis=0) > 0) & (after.sum(axis=0) > 0))


def _aged(people: Array, part: float) -> Array:
    """People by the age they reach, from the second on, when `part` of each group moves up."""
    aged = part * people[:-1] + (1 - part) * people[1:]
    aged[-1] = part * people[-2] + people[-1]
    return aged


def _adults(ages: NDArray[np.int64]) -> Array:
    return ((ages >= PARENTS[0]) & (ages < PARENTS[1])).astype(np.float64)


def _fertility(ages: NDArray[np.int64], width: int) -> Array:
    """Shape of fertility on the data's ages; the open one has none."""
    single = np.repeat([FERTILITY.get(a, 0.0) for a in range(0, 50, 5)], 5)
    reach = np.append(single, np.zeros(int(ages[-1]) + width))
    shape = np.array([reach[a : a + width].mean() for a in ages])
    shape[-1] = 0
    return shape


def _own(part: Array, whole: Array, pool: Array, bound: float) -> Array:
    """Own ratio, within `bound` times the pool's; the pool's where there was nobody."""
    pool = np.broadcast_to(pool, part.shape)
    ratio = np.divide(part, whole, out=pool.copy(), where=whole > 0)
    return ratio if np.isinf(bound) else np.clip(ratio, pool / bound, pool * bound)


def _slope(past: _Past, values: Array) -> Array:
    """Least-squares slope per year over the recent stocks that are not blank."""
    recent = past.ago <= WINDOW
    values, years = values[recent], -past.ago[recent].astype(np.float64)[:, None, None]
    seen = ~np.isnan(values)
    n = seen.sum(axis=0)
    mean = _ratio(np.where(seen, years, 0).sum(axis=0), n, 0.0)
    off = np.where(seen, years - mean, 0)
    return _ratio((off * np.where(seen, values, 0)).sum(axis=0), (off**2).sum(axis=0), 0.0)


def _ratio(part: Array, whole: Array, otherwise: float) -> Array:
    """Part over whole, and `otherwise` where there is no whole."""
    part, whole = np.broadcast_arrays(part, whole)
    out = np.full(part.shape, otherwise)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _labelled(past: _Past, people: Array, horizons: Sequence[int]) -> xr.DataArray:
    return xr.DataArray(
        people,
        dims=("horizon", "age", "area"),
        coords={
            "horizon": np.asarray(horizons, dtype=np.int64),
            "age": past.ages,
            "area": past.labels["area"].to_numpy(),
        },
        name="population",
        attrs={"units": "people", "long_name": "projected residents"},
    )

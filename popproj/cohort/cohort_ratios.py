r"""What cohorts of a city and its districts did between yearly stocks, and how far to believe it.

Ages step by the width `S` of the data's ages, single years or five. With `n` the people of group
`x` at the end of a step and `d` those who aged into it,

**City.** :math:`R = n/d` over the last ten years is survival times net migration. At 65 and above
it is taken as survival; below, a model life table fitted to these old ages
(:mod:`popproj.cohort.model_life_table`) says what is survival. In step `k`, whose middle is
:math:`\tau` years ahead and the transitions' :math:`\bar\tau` years behind the launch,

.. math:: R_k = s^{\exp(-\iota(\tau + \bar\tau))} \bigl(1 + (m - 1)\,\kappa^\tau\bigr)

(year by year and age by age within the group, so that an open group that grows older dies sooner).

Children stand to the women (people) who bear them, weighted by a schedule, as lately, with half of
the recent trend, which fades.

**Districts.** With :math:`E` the people expected at the city's ratios of the last five years,
:math:`y = \ln\frac{n + 3}{E + 3}` is made of a *level* :math:`g`, common to the ages that move as
families and loaded :math:`l` on each age, and a *residual* of the age:

.. math:: g = \frac{\sum E l y}{\sum E l^2}, \quad G = \frac{N}{N + K} g, \quad
   r = b\,\frac{E}{E + K_r}\,(y - l g), \quad D_k = \psi^{1 + t/5} l G + \rho^{t} r

drawn to zero where there are few people, and fading: the level fast, the residual slowly, above
all at the ages at which people move for study and work, where it belongs to the place. Growth that
the last two years do not support counts half. Children for each mother have a factor of the
district.

References
----------
Hamilton, C. H., Perry, J. (1962). A short method for projecting population by age from one
decennial census to another. *Social Forces* 41(2), 163-170.
Smith, S. K., Tayman, J., Swanson, D. A. (2013). *A Practitioner's Guide to State and Local
Population Projections*. Springer, ch. 8 to 12.
Efron, B., Morris, C. (1975). Data analysis using Stein's estimator and its generalizations.
*Journal of the American Statistical Association* 70(350), 311-319.
Hoem, J. M., Madsen, D., Nielsen, J. L., Ohlsen, E.-M., Hansen, H. O., Rennermalm, B. (1981).
Experiments in modelling recent Danish fertility curves. *Demography* 18(2), 231-244.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from popproj.cohort.histories import OPEN_AGE, History, groups_reached, sexes_of, share_of
from popproj.cohort.model_life_table import (
    cohort_hazards,
    fitted_shift,
    scaled_to,
    yearly_hazards,
)
from popproj.schema import Fault, InputError

Array = NDArray[np.float64]

OLD = 65
"""Age reached from which cohort ratios are taken as survival: net migration is small there."""
FAMILY = ((1, 15), (30, 60))
"""Ages reached [from, below] at which people move as families: they tell a district's level."""
MOBILE = (15, 35)
"""Ages reached [from, below] at which people move for study, work and a first household."""
TRIANGLE = (1.0, 0.75, 0.5, 0.25)
"""Weights of single ages at distances 0, 1, … when districts are compared with the city."""


@dataclass(frozen=True)
class TrendParameters:
    """Every number of the model that was chosen, not estimated.

    Strengths of shrinkage are numbers of people: a district with as many is drawn half the way.
    Factors of persistence are per five years where not said otherwise. Where a number came from is
    said in brackets: *tuned* on early launches of two panels (Kobe 2007, districts of another
    country), *judged* where these disagreed or were flat.
    """

    region_window: int = 10
    """Years before the launch whose transitions make the city's ratios [years; tuned]."""
    area_window: int = 5
    """Years before the launch whose transitions make the districts' deviations [years; tuned]."""
    area_memory: float = 0.9
    """Weight of a transition relative to the one a year later [1/year; tuned, flat]."""
    improvement: float = 0.010
    """Yearly decline of death probabilities [1/year; tuned: 0.009 to 0.010 at two launches; never
    0]."""
    improvement_ages: tuple[float, float] = (85.0, 100.0)
    """Age up to which the decline is whole, and age from which it is `improvement_oldest`."""
    improvement_oldest: float = 0.3
    """Part of the decline that holds for the oldest [judged]."""
    improvement_open: float = 0.3
    """Part of the decline that is left to the open group of five-year ages: since the transitions
    it has aged inside, unseen [tuned]."""
    migration_persistence: float = 0.93
    """What is left of the city's net migration after a year [1/year; judged: a national series]."""
    child_window: int = 10
    """Years before the launch whose children tell the city's child ratio [years]."""
    child_memory: float = 0.7
    """Weight of a year's child ratio relative to the next year's, single ages [1/year; tuned]."""
    trend_window: int = 5
    """Years over which the trend of the child ratio is measured [years; tuned]."""
    trend_strength: float = 0.5
    """Part of the child ratio's trend that is believed [judged: mixed evidence]."""
    trend_persistence: float = 0.8
    """What is left of that trend after a year [1/year; judged]."""
    continuity: float = 3.0
    """People added to observed and expected before the logarithm [people]."""
    old_loading: float = 0.5
    """How a district's level acts on ages of 45 and above, relative to younger ones [tuned]."""
    level_persistence: float = 0.6
    """What is left of a district's level in the first five years, and then from each five years to
    the next [judged: 0.5 to 0.7, the one number that matters]."""
    level_strength: float = 50.0
    """Shrinkage of the level [people of family ages; tuned, flat]."""
    small: float = 2000.0
    """Districts with fewer people at the launch are drawn harder [people; tuned]."""
    level_strength_small: float = 500.0
    """The same for small districts [people of family ages; tuned]."""
    growth_tested: float = 0.10
    """Five-year level above which growth is held against the last two years [log; tuned]."""
    growth_doubt: float = 0.5
    """Part of unsupported growth that is taken away: building that has stopped [tuned]."""
    growth_share: float = 0.8
    """Growth of the total for a level of one: not all ages take part [judged]."""
    residual_strength: tuple[float, float] = (50.0, 100.0)
    """Shrinkage of the age residual below and above 65 [people; tuned, flat]."""
    residual_share: tuple[float, float, float] = (0.95, 0.5, 0.6)
    """Part of the age residual that is believed: at mobile ages, at others, at 65+ [tuned]."""
    residual_persistence: tuple[float, float] = (0.98, 0.87)
    """What is left of the age residual after a year: at mobile ages, at others [1/year; tuned]."""
    residual_limit: float = 1.0
    """Soft limit of the age residual [log per five years]."""
    child_share: float = 0.9
    """Part of a district's child factor that is believed [tuned]."""
    child_strength: float = 100.0
    """Shrinkage of the child factor [women at the age of highest fertility; tuned]."""
    child_continuity: float = 5.0
    """Children added to observed and expected before the logarithm [children]."""
    child_persistence: float = 0.98
    """What is left of the child factor after a year [1/year; judged]."""
    pull: float = 0.02
    """Share of the change since the launch that is taken back, for each year ahead [1/year; tuned:
    "constant" is the best guess for a total often enough to be listened to]."""
    pull_small: float = 0.04
    """The same for small districts [1/year; tuned]."""
    pull_years: int = 10
    """Years after which that share grows no more [years: nothing is known beyond]."""
    pull_ages: tuple[tuple[int, float], ...] = (
        (0, 1.0),
        (10, 0.6),
        (18, 1.5),
        (45, 0.6),
        (65, 0.0),
    )
    """Weight of people in this, from an age on [judged: who moves]."""
    fertility_mean: float = 30.5
    """Mean age at childbearing of the model schedule [years: low-fertility countries in the 2000s
    and 2010s]."""
    fertility_spread: float = 5.0
    """Standard deviation of the age at childbearing [years]."""


class Transition(NamedTuple):
    """People of all groups but the youngest at the end of a step, and those of all at its start."""

    ago: int
    closing: Array  # (sex, group from the second on, area)
    opening: Array  # (sex, group, area)


class City(NamedTuple):
    """The city's rates by group reached, ``(sex, group)``; the youngest group is not used."""

    survival: Array
    migration: Array
    back: float  # years from the middle of the transitions to the launch
    ratio: Array
    child_level: float
    child_trend: float
    child_lag: float
    hazard: Array  # (sex, age): the model's at the middle of the transitions
    factor: Array  # (sex, group): on these hazards, so that the group survives as it did


class Areas(NamedTuple):
    """Deviations of the districts from the city."""

    level: Array  # (area,) per step
    loading: Array  # (group, 1)
    residual: Array  # (group, area) per step
    children: Array  # (area,)


def fertility_schedule(mean: float, spread: float, open_age: int = OPEN_AGE) -> Array:
    r"""Shape of fertility by single age: the density of a gamma distribution from age 12 on.

    Parameters
    ----------
    mean, spread
        Mean and standard deviation of the age at childbearing [years].
    open_age
        Last age.

    Returns
    -------
    ndarray
        ``(age,)``, summing to one; zero below 15 and above 49.

    References
    ----------
    Hoem et al. (1981).

    Examples
    --------
    >>> shape = fertility_schedule(30.5, 5.0)
    >>> shape[[14, 20, 30, 40]].round(3), int(shape.argmax())
    (array([0.   , 0.007, 0.079, 0.012]), 29)
    """
    ages = np.arange(open_age + 1)
    past = np.maximum(ages + 0.5 - 12, 0.0)
    rate = (mean - 12) / spread**2
    power = (mean - 12) * rate
    with np.errstate(divide="ignore"):
        density = np.exp((power - 1) * np.log(past / (mean - 12)) - rate * (past - (mean - 12)))
    density = np.where((ages >= 15) & (ages < 50), density, 0.0)
    return np.asarray(density / density.sum())


# --- the stocks ---


def _transitions(history: History, window: int) -> list[Transition]:
    """Every step that lies in the last years; at least the last one."""
    found = []
    for ago in range(max(window - history.step, 0) + 1):
        end, start = history.last - ago, history.last - ago - history.step
        if start < 0:
            break
        opening, closing = history.people[start], history.people[end]
        lives = (opening.sum(axis=(0, 1)) > 0) & (closing.sum(axis=(0, 1)) > 0)
        if lives.any():
            found.append(
                Transition(ago, np.where(lives, closing[:, 1:], 0), np.where(lives, opening, 0))
            )
    if not found:
        raise InputError(
            Fault(
                "stocks up to the launch",
                f"two stocks must lie {history.step} years apart in the {window} years before the "
                "launch",
                "Give an earlier stock of the same day of the year.",
            )
        )
    return found


def _aged(opening: Array) -> Array:
    """People by the group they reach, from the second on; the last two together. Groups at -2."""
    aged = opening[..., :-1, :].copy()
    aged[..., -1, :] += opening[..., -1, :]
    return aged


def _mothers(people: Array, shape: Array) -> Array:
    """Women, or people where sexes are together, weighted by fertility ``(…, area)``."""
    return np.asarray(np.einsum("g,...ga->...a", shape, people[..., 0, :, :]))


def grouped_schedule(history: History, p: TrendParameters) -> Array:
    """Shape of fertility by group ``(group,)``: none in the open one."""
    last = int(history.lower[-1])
    single = fertility_schedule(p.fertility_mean, p.fertility_spread, last)[:last]
    return np.append(single.reshape(-1, history.step).mean(axis=1), 0.0)


# --- the city ---


def city_ratios(history: History, p: TrendParameters) -> City:
    """Survival, net migration and children of the city as one place."""
    steps = _transitions(history, p.region_window)
    closing = np.sum([t.closing.sum(axis=2) for t in steps], axis=0)
    aged = np.sum([_aged(t.opening).sum(axis=2) for t in steps], axis=0)
    back = float(np.mean([t.ago for t in steps])) + history.step / 2
    ratio = share_of(closing, aged, 1.0)
    ratio = np.concatenate([np.ones((len(ratio), 1)), ratio], axis=1)

    old = history.lower >= OLD
    people = history.launch.to_numpy().sum(axis=2)
    reached = groups_reached(history)
    shift = 0.0
    by_age = np.broadcast_to(ratio, (2, len(history.lower)))[:, reached]
    if old.any():
        shift = fitted_shift(people, np.minimum(by_age, 1.0), old[reached], history.step)
    hazard = yearly_hazards(shift, people.shape[1] - 1)
    model = _model_survival(history, hazard, people)
    survival = np.where(old, np.minimum(ratio, 0.999), model)
    migration = np.where(old, 1.0, ratio / model)
    factor = _scaled(history, cohort_hazards(np.stack([hazard] * history.step)), people, survival)

    shape = grouped_schedule(history, p)
    children = np.nansum(history.people[:, :, 0], axis=(1, 2))
    mothers = np.nansum(_mothers(history.people, shape), axis=1)
    level, lag = _child_level(history, shape, p)
    recent = np.arange(max(history.last - p.trend_window, 0), history.last + 1)
    known = recent[(children[recent] > 0) & (mothers[recent] > 0)]
    trend = _slope(known.astype(float), np.log(children[known] / mothers[known]))
    trend *= min((len(known) - 1) / p.trend_window, 1.0)  # few years tell little of a trend
    return City(survival, migration, back, ratio, level, trend, lag, hazard, factor)


def _child_level(history: History, shape: Array, p: TrendParameters) -> tuple[float, float]:
    """Log of the city's children for each mother, and how many years ago that was."""
    young = history.people[:, :, 0].sum(axis=1)
    mothers = _mothers(history.people, shape)
    last = history.last
    if history.step > 1:
        bearing = (mothers[last] + mothers[last - history.step]) / 2
        there = ~np.isnan(bearing)
        return _log(young[last][there].sum(), bearing[there].sum()), 0.0
    ago = np.arange(min(p.child_window, last + 1))
    born, bearing = (np.nansum(v[last - ago], axis=1) for v in (young, mothers))
    known = (born > 0) & (bearing > 0)
    if not known.any():
        return -np.inf, 0.0
    weight = p.child_memory ** ago[known]
    weight /= weight.sum()
    return float(weight @ np.log(born[known] / bearing[known])), float(weight @ ago[known])


def _log(part: float, whole: float) -> float:
    """Log of a ratio; minus infinity where there is no whole, and so nothing to come of it."""
    return float(np.log(part / whole)) if part > 0 and whole > 0 else -np.inf


def _slope(x: Array, y: Array) -> float:
    """Slope of the least-squares line; 0 through fewer than two points."""
    if len(x) < 2:
        return 0.0
    off = x - x.mean()
    return float(off @ y / (off @ off))


def children_of_step(city: City, step: int, k: int, p: TrendParameters) -> float:
    """The city's children for each mother in step `k`."""
    fading = sum(p.trend_persistence**j for j in range(1, (k + 1) * step + 1))
    drift = p.trend_strength * city.child_trend * (fading + city.child_lag)
    return float(np.exp(city.child_level + drift))


def _model_survival(history: History, hazard: Array, people: Array) -> Array:
    """Survival of a step by group reached under some hazards ``(sex, group)``, as counted."""
    lived = people * np.exp(-cohort_hazards(np.stack([hazard] * history.step)))
    member = (groups_reached(history)[:, None] == np.arange(len(history.lower))).astype(np.float64)
    rows = [
        share_of(lived[s].sum(axis=0) @ member, people[s].sum(axis=0) @ member, 1.0)
        for s in sexes_of(history)
    ]
    return np.stack(rows)


def _scaled(history: History, hazard: Array, people: Array, share: Array) -> Array:
    """Factors on hazards ``(sex, group)`` with which given shares of the groups survive a step."""
    groups = len(history.lower)
    member = groups_reached(history) == np.arange(groups)[:, None]
    factor = np.ones((2, groups))
    for sexes, wanted in zip(sexes_of(history), share, strict=True):
        cells = (groups, len(sexes) * hazard.shape[1])
        there = (member[:, None, :] * people[sexes]).reshape(cells)
        risk = np.broadcast_to(hazard[sexes], (groups, *hazard[sexes].shape)).reshape(cells)
        factor[sexes] = scaled_to(risk, there, wanted)
    factor[:, 0] = 1.0
    return factor


# --- the districts ---


def area_deviations(history: History, city: City, p: TrendParameters) -> Areas:
    """Level, age residuals and child factor of each district, drawn to the city."""
    step, lower = history.step, history.lower
    steps = _transitions(history, p.area_window)
    weights = [p.area_memory**t.ago for t in steps]
    closing = np.sum([w * t.closing for w, t in zip(weights, steps, strict=True)], axis=0)
    aged = np.sum([w * _aged(t.opening) for w, t in zip(weights, steps, strict=True)], axis=0)
    at_age = aged.sum(axis=2)
    pool = share_of(closing.sum(axis=2), at_age, 1.0)
    seen, expected = closing.sum(axis=0), (pool[:, :, None] * aged).sum(axis=0)
    if step == 1:
        seen_wide, expected_wide = _smooth(seen), _smooth(expected)
    else:
        seen_wide, expected_wide = seen, expected
    y = np.log((seen_wide + p.continuity) / (expected_wide + p.continuity))

    reached = lower[1:]
    # a group that passes 45 within the step is half below and half above
    young = ((reached < 45).astype(float) + (reached - step < 45)) / 2
    loading = (young + (1 - young) * p.old_loading)[:, None]
    family = np.zeros(len(reached), dtype=bool)
    for first, below in FAMILY:
        family |= (reached >= first) & (reached < below)
    weight = expected * family[:, None]
    strength = (weight * loading**2).sum(axis=0)
    level = share_of((weight * loading * y).sum(axis=0), strength, 0.0)
    now = history.people[-1].sum(axis=0)
    persons = now[1:][family].sum(axis=0) if step > 1 else weight.sum(axis=0) / sum(weights)
    total = now.sum(axis=0)
    drawn = np.where(total < p.small, p.level_strength_small, p.level_strength)
    shrunk = level * persons / (persons + drawn)

    shape = grouped_schedule(history, p)
    children = _area_children(history, shape, p)
    shrunk = _tested(history, city, shrunk, children, shape, p)

    limit = p.residual_limit * step / 5
    rest = limit * np.tanh((y - loading * level) / limit)
    mobile, old = (reached >= MOBILE[0]) & (reached < MOBILE[1]), reached >= OLD
    share = np.select(
        [mobile, old], [p.residual_share[0], p.residual_share[2]], p.residual_share[1]
    )
    drawn = np.where(old, p.residual_strength[1], p.residual_strength[0])[:, None]
    residual = share[:, None] * expected_wide / (expected_wide + drawn) * rest
    return Areas(shrunk, loading, residual, children)


def _smooth(counts: Array) -> Array:
    """Weighted sums over neighbouring single ages (not means: they keep the weight of people)."""
    out = counts * TRIANGLE[0]
    for distance, weight in enumerate(TRIANGLE[1:], start=1):
        out[distance:] += weight * counts[:-distance]
        out[:-distance] += weight * counts[distance:]
    return out


def _area_children(history: History, shape: Array, p: TrendParameters) -> Array:
    """Children of a district for each that the city's ratio expects there."""
    step, last = history.step, history.last
    mothers = _mothers(history.people, shape)
    young = history.people[:, :, 0].sum(axis=1)
    if step > 1:
        seen = np.array([last])
        bearing = (mothers[seen] + mothers[seen - step]) / 2
        bearing = np.where(np.isnan(bearing), mothers[seen], bearing)
    else:
        seen = np.arange(max(last + 1 - p.child_window, 0), last + 1)
        bearing = mothers[seen]
    there = ~np.isnan(young[seen]) & ~np.isnan(bearing)
    born, bearing = (np.where(there, v, 0.0).sum(axis=0) for v in (young[seen], bearing))
    expected = bearing * (born.sum() / bearing.sum()) if bearing.sum() > 0 else bearing
    women = bearing / shape.max() * (2 if history.people.shape[1] == 2 else 1)
    believed = p.child_share * women / (women + p.child_strength)
    ratio = (born + p.child_continuity) / (expected + p.child_continuity)
    return np.asarray(ratio**believed)


def _tested(
    history: History, city: City, level: Array, children: Array, shape: Array, p: TrendParameters
) -> Array:
    """Level per step, where strong growth that the last two years do not support counts half.

    A redevelopment fills once. What the total grew in the last two years, at a five-year pace, is
    held against what the city's ratios would have made of it in five.
    """
    step, last = history.step, history.last
    if last < 5:
        return level
    start = history.people[last - 5]
    people = start
    pool = city.ratio[:, 1:, None]
    per_mother = np.exp(city.child_level) * children
    for _ in range(5 // step):
        older = np.concatenate([np.zeros_like(people[:, :1]), _aged(people) * pool], axis=1)
        bearing = _mothers(older, shape)
        if step > 1:
            bearing = (bearing + _mothers(people, shape)) / 2
        older[:, 0] = per_mother * bearing / len(older)
        people = older
    total, before = (history.people[last - n].sum(axis=(0, 1)) for n in (0, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        lately = 2.5 * np.log(total / before)
        usual = np.log(people.sum(axis=(0, 1)) / start.sum(axis=(0, 1)))
    supported = np.maximum(lately - usual, 0.0) / p.growth_share
    five = level * 5 / step
    beyond = np.maximum(five - supported, 0.0) * p.growth_doubt
    held = np.where((five > p.growth_tested) & np.isfinite(beyond), five - beyond, five)
    return np.asarray(held * step / 5)


def deviation_of(areas: Areas, history: History, k: int, p: TrendParameters) -> Array:
    """Log of each district's ratio over the city's in step `k`, ``(group, area)``, youngest 0."""
    step, reached = history.step, history.lower[1:]
    years = (k + 0.5) * step - 2.5  # beyond the middle of the first five
    mobile = (reached >= MOBILE[0]) & (reached < MOBILE[1])
    lasting = np.where(mobile, *p.residual_persistence)[:, None] ** years
    fading = p.level_persistence ** (1 + years / 5)
    deviation = fading * areas.loading * areas.level + lasting * areas.residual
    return np.concatenate([np.zeros((1, deviation.shape[1])), deviation])

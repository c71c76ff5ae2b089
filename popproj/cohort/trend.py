r"""Rates of a city and its districts from nothing but their yearly stocks (tiers B and C).

:mod:`popproj.cohort.cohort_ratios` says what cohorts did, and how far to believe it. Here this
becomes yearly rates by single age that the engine runs. Every cohort's ratio over a step of the
data is spread over its years and the single ages of its group: mortality by the model life table,
times a factor of the group, and improving from year to year; net migrants evenly, for each person
at the start of the year. Two corrections are part of the net rates:

- a factor common to all districts holds their sum, sex by sex and age by age, to the city
  projected as one place. Deviations compound, and the positive ones more than the negative ones:
  districts by themselves would drift above their city;
- a share of what a district gained or lost since the launch, growing by the year, is taken back at
  the ages that move. "As many as now" is the best guess for a total often enough to be heard.

`stock_rates` gives the jump-off and the rates for a projection to run.

References
----------
Preston, S. H., Heuveline, P., Guillot, M. (2001). *Demography: Measuring and Modeling Population
Processes*. Blackwell, ch. 6.
Smith, S. K., Tayman, J., Swanson, D. A. (2013). *A Practitioner's Guide to State and Local
Population Projections*. Springer, ch. 7 to 12.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj import schema
from popproj.cohort import cohort_ratios as past
from popproj.cohort import conventions
from popproj.cohort.cohort_ratios import Areas, City, TrendParameters
from popproj.cohort.histories import History, groups_reached, read_history, share_of

Array = NDArray[np.float64]

SRB = 1.055
"""Males per female birth: Japan's long-run level."""
_BORN = np.array([1.0, SRB]) / (1 + SRB)


class _Step(NamedTuple):
    """A step of the city: for each of its years, by the age reached, and fertility for all."""

    survival: list[Array]  # (sex, age)
    ratio: list[Array]  # (sex, age): survival and net migration
    group: list[NDArray[np.intp]]  # (age,): the group that the step brings each age to
    closing: list[Array]  # (sex, age) people at the end of the year
    fertility: Array  # (age,)


class _Yearly(NamedTuple):
    """Rates of each year as plain arrays, by the age reached."""

    survival: Array  # (year, sex, age)
    net: Array  # (year, sex, age, area)
    fertility: Array  # (year, age, area)


def stock_rates(
    population: xr.DataArray, horizon: int, parameters: TrendParameters | None = None
) -> tuple[xr.DataArray, xr.Dataset]:
    """Jump-off and future rates from yearly stocks.

    Parameters
    ----------
    population
        Stocks [people] ``(time, sex, age, area)`` or without ``sex``; sex ``("total",)`` or both,
        single or five-year ages with an open last one, times whole years before the last one, which
        is the launch. Areas that are blank at a time are not looked at there.
    horizon
        Years ahead.
    parameters
        The model's numbers.

    Returns
    -------
    jump_off
        People at the launch ``(sex, age, district)``, by single years.
    rates
        ``mx`` [1/person-year] ``(year, sex, age)``, ``net_rate`` [1/year] ``(year, sex, age,
        district)``, ``asfr`` [1/person-year] ``(year, age, district)``, ``srb``. Fertility is that
        of children who are there at the end of the year (with five-year ages: of the step), so that
        the migration of their parents is inside. Attribute ``parameters``: what the model was run
        with.

    Raises
    ------
    InputError
        If times are not whole years apart, ages are neither single nor five years wide, or no two
        stocks tell what a cohort does.

    Examples
    --------
    A town that has not changed for six years, and does not:

    >>> ages = 60.0 * np.exp(-((np.arange(101) / 85) ** 8))
    >>> stocks = xr.DataArray(
    ...     np.tile(ages[:, None], (6, 1, 1)),
    ...     dims=("time", "age", "area"),
    ...     coords={"time": pd.date_range("2015-01-01", "2020-01-01", freq="YS"),
    ...             "age": range(101), "area": ["001"]},
    ... )
    >>> jump_off, rates = stock_rates(stocks, 2)
    >>> list(rates.data_vars), dict(rates["net_rate"].sizes)
    (['mx', 'net_rate', 'asfr', 'srb'], {'year': 2, 'sex': 2, 'age': 101, 'district': 1})
    """
    parameters = parameters or TrendParameters()
    history = read_history(population)
    city = past.city_ratios(history, parameters)
    areas = past.area_deviations(history, city, parameters)
    yearly = _years(history, city, areas, horizon, parameters)
    start = history.launch
    day = pd.Timestamp(start["time"].item())
    if "count_date" not in start.coords:
        start = start.assign_coords(count_date=(day - pd.Timedelta(days=1)).to_datetime64())
    cell = {"sex": list(schema.SEXES), "age": start["age"].to_numpy()}
    district = start["area"].to_numpy().astype(str)
    rates = xr.Dataset(
        {
            "mx": (("year", "sex", "age"), _central(yearly.survival)),
            "net_rate": (schema.FLOW, yearly.net),
            "asfr": (("year", "age", "district"), yearly.fertility),
            "srb": ("district", np.full(len(district), SRB)),
        },
        coords={"year": day.year + np.arange(horizon), **cell, "district": district},
        attrs={
            "convention": "popproj",
            "tiers": json.dumps({"all": "B: yearly stocks and model schedules"}),
            "parameters": json.dumps(asdict(parameters)),
        },
    )
    jump_off = start.rename(area="district").transpose(*schema.CELL).rename("jump_off")
    return jump_off.assign_coords(district=district), schema.describe(rates)


# --- years and single ages ---


def _years(history: History, city: City, areas: Areas, horizon: int, p: TrendParameters) -> _Yearly:
    """Rates of each year that carry every group by the ratios of its step."""
    people = history.launch.to_numpy()
    whole = people.sum(axis=2)
    survivals, ratios, fertility = [], [], []
    for k in range(-(-horizon // history.step)):
        ahead = _city_step(history, city, whole, k, p)
        deviation = np.exp(past.deviation_of(areas, history, k, p) / history.step)
        children = areas.children**p.child_persistence ** (k * history.step)
        for survival, ratio, group, closing in zip(*ahead[:4], strict=True):
            own = ratio[:, :, None] * deviation[group]
            rate = ahead.fertility[:, None] * children
            own, rate, people = _held(people, own, rate, survival, closing)
            survivals.append(survival)
            ratios.append(own)
            fertility.append(rate)
        whole = ahead.closing[-1]
    survival, fertile = np.stack(survivals[:horizon]), np.stack(fertility[:horizon])
    pulled = _pulled(history, np.stack(ratios[:horizon]), fertile, survival, p)
    return _Yearly(survival, pulled - survival[..., None], fertile)


def _city_step(history: History, city: City, whole: Array, k: int, p: TrendParameters) -> _Step:
    """Carry the city through step `k`, year by year and age by age, as its groups are to go.

    A group's hazards are the model's times one factor, such that its people together survive as
    they should; net migration is the same in each of its years and ages. Children born in the step
    live by the model alone: their parents' migration is inside fertility.
    """
    step = history.step
    last = whole.shape[1] - 1
    to_middle = (k + 0.5) * step
    easing = np.interp(np.arange(last + 1), p.improvement_ages, (1.0, p.improvement_oldest))
    open_eases = np.ones(len(history.lower))
    if step > 1:
        open_eases[-1] = p.improvement_open
    moved = 1 + (city.migration - 1) * p.migration_persistence**to_middle
    moved = np.broadcast_to(moved, (2, moved.shape[1])) ** (1 / step)
    shape = past.fertility_schedule(p.fertility_mean, p.fertility_spread, last)
    reached = groups_reached(history)

    survivals, ratios, groups, path = [], [], [], [whole]
    for year in range(step):
        # the group each cohort reaches in this step; 0: born in it
        group = np.concatenate([np.zeros(year + 1, dtype=np.intp), reached[: last - year]])
        group[-1] = len(history.lower) - 1
        later = k * step + year + 0.5 + city.back
        decline = p.improvement * easing * open_eases[group]
        survival = np.exp(-city.factor[:, group] * city.hazard * np.exp(-decline * later))
        ratio = survival * np.where(group > 0, moved[:, group], 1.0)
        closing = _older(path[-1]) * ratio
        path.append(_born(path[-1], closing, shape, survival))
        survivals.append(survival)
        ratios.append(ratio)
        groups.append(group)
    level = _births_to_match(history, city, path, k, p)
    for year, closing in enumerate(path[1:]):
        closing[:, : year + 1] *= level  # nobody born in the step bears in it
    return _Step(survivals, ratios, groups, path[1:], level * shape)


def _held(
    people: Array, ratio: Array, fertility: Array, survival: Array, city: Array
) -> tuple[Array, Array, Array]:
    """Ratios and fertility of a year that make the districts sum to the city, and its end."""
    older = _older(people)
    closing = older * ratio
    factor = share_of(city, closing.sum(axis=2), 1.0)
    factor[:, 0] = 1.0
    ratio = ratio * factor[:, :, None]
    closing = _born(people, older * ratio, fertility, survival)
    level = float(share_of(city[0, 0], closing[0, 0].sum(), 1.0))
    closing[:, 0] *= level
    return ratio, fertility * level, closing


def _older(people: Array) -> Array:
    """People ``(sex, age, ...)`` a year on: by the age they reach, the last two together."""
    older = np.zeros_like(people)
    older[:, 1:] = people[:, :-1]
    older[:, -1] += people[:, -1]
    return older


def _births_to_match(
    history: History, city: City, path: list[Array], k: int, p: TrendParameters
) -> float:
    """Level of fertility that leaves the city's children of step `k` at its end.

    `path` is the city from the start of the step on, with the children of one child a woman.
    """
    shape = past.grouped_schedule(history, p)
    both = history.people.shape[1] == 1

    def mothers(people: Array) -> float:
        seen = people.sum(axis=0) if both else people[0]
        return float(shape @ np.add.reduceat(seen, history.lower))

    bearing = mothers(path[-1])
    if history.step > 1:
        bearing = (bearing + mothers(path[0])) / 2
    young = float(path[-1][:, : history.step].sum())
    return past.children_of_step(city, history.step, k, p) * bearing / young if young > 0 else 0.0


def _pulled(
    history: History, ratios: Array, fertility: Array, survival: Array, p: TrendParameters
) -> Array:
    """Ratios with which a share of each district's change since the launch is taken back.

    The share grows by the year; the people come from, or go to, the ages that move.
    """
    start = history.launch.to_numpy()
    total = start.sum(axis=(0, 1))
    each = np.where(total < p.small, p.pull_small, p.pull)
    ages = np.array([a for a, _ in p.pull_ages])
    at = np.searchsorted(ages, np.arange(start.shape[1]), side="right") - 1
    weight = np.array([w for _, w in p.pull_ages])[at][:, None]
    free, held = start, start
    result = np.empty_like(ratios)
    for i, ratio in enumerate(ratios):
        free = _born(free, _older(free) * ratio, fertility[i], survival[i])
        back = each * min(i + 1, p.pull_years)
        wanted = free.sum(axis=(0, 1)) * (1 - back) + back * total
        grown = _born(held, _older(held) * ratio, fertility[i], survival[i])
        movers = (weight * grown).sum(axis=(0, 1))
        missing = wanted - grown.sum(axis=(0, 1))
        change = 1 + weight * np.clip(share_of(missing, movers, 0.0), -0.5, 1.0)
        result[i] = ratio * change
        held = _born(held, grown * change, fertility[i], survival[i])
        held[:, 0] *= change[0]
    return result


def _born(opening: Array, closing: Array, fertility: Array, survival: Array) -> Array:
    """The population at the end of a year with its newborns in the first row."""
    closing = closing.copy()
    births = (fertility * (opening[0] + closing[0]) / 2).sum(axis=0)
    closing[:, 0] = np.multiply.outer(_BORN * survival[:, 0], births)
    return closing


def _central(survival: Array) -> Array:
    """Central death rates of survival ratios ``(year, sex, age)``."""
    return conventions.rate_from_survival(survival[..., None])[..., 0]

r"""Yearly stocks as plain arrays: how their ages step, and the single ages within their groups.

References
----------
Smith, S. K., Tayman, J., Swanson, D. A. (2013). *A Practitioner's Guide to State and Local
Population Projections*. Springer, ch. 12.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from popproj.cohort.raking import rake_ages
from popproj.cohort.split import split
from popproj.cohort.waves import single_ages
from popproj.schema import Fault, InputError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

OPEN_AGE = 100
"""Open age of the jump-off and the rates, where the data do not go further."""


class History(NamedTuple):
    """Stocks up to the launch, one a year, the last one the launch; NaN where there is none."""

    people: Array  # (year, sex, group, area); one sex if both are together
    lower: Index  # (group,)
    step: int
    launch: xr.DataArray  # (sex, age, area) by both sexes and single years

    @property
    def last(self) -> int:
        """Position of the launch."""
        return len(self.people) - 1


def years_before_last(population: xr.DataArray, where: str) -> NDArray[np.int64]:
    """Whole years between each stock and the last one.

    Raises
    ------
    InputError
        If stocks do not lie whole years before the last one (a few days either way).
    """
    times = population["time"].to_numpy().astype("datetime64[D]")
    days = (times[-1] - times) / np.timedelta64(1, "D")
    ago = np.rint(days / 365.2425).astype(np.int64)
    off = np.abs(days - ago * 365.2425) > 5  # 3 days either way, and a leap day or two
    if off.any() or len(np.unique(ago)) < len(ago):
        raise InputError(
            Fault(
                where,
                "stocks must lie whole years before the last one, one for each year",
                "Choose one day of the year.",
                broken=max(int(off.sum()), len(ago) - len(np.unique(ago))),
                total=len(times),
                first=str(times[off][0]) if off.any() else "",
                unit="times",
            )
        )
    return np.asarray(ago)


def read_history(population: xr.DataArray) -> History:
    """Yearly stocks as a plain array, and the launch by sex and single year.

    Parameters
    ----------
    population
        Stocks [people] ``(time, [sex,] age, area)``, the last time being the launch.

    Returns
    -------
    History
        Areas that are blank at the launch are left out. Five-year ages are split into single years
        that follow the city's cohorts (:mod:`popproj.cohort.waves`): at the launch, and at every
        time where the history is shorter than five years.

    Raises
    ------
    InputError
        If the areas are all blank at the launch, times are not whole years apart, or ages are
        neither single nor five years wide.
    """
    where = "stocks up to the launch"
    if "sex" not in population.dims:
        population = population.expand_dims(sex=["total"])
    population = population.transpose("time", "sex", "age", "area").sortby("time").astype(float)
    seen = population.isel(time=-1).notnull().all(["sex", "age"]).to_numpy()
    if not seen.any():
        raise InputError(
            Fault(
                where,
                "at least one area must have people at the launch, and all are blank",
                "Choose a launch with a complete stock.",
            )
        )
    population = population.isel(area=np.flatnonzero(seen))
    ago = years_before_last(population, where)
    lower = population["age"].to_numpy().astype(np.int64)
    widths = np.unique(np.diff(lower))
    if lower[0] != 0 or len(widths) != 1 or widths[0] not in (1, 5):
        raise InputError(
            Fault(
                where,
                "ages must be single years or five-year ages from 0, the last one open",
                "Sum up to five-year ages.",
                first=f"{', '.join(map(str, lower[:4]))}, …",
            )
        )
    open_age = max(OPEN_AGE, int(lower[-1]))
    step = int(widths[0])
    # a history too short for a group to become the next one is split into single years
    short = step > 1 and not np.isin(ago[ago <= 10], ago + step).any()
    by_sex = _single(population if short else population.isel(time=[-1]), open_age)
    if step > 1:
        by_sex = _with_waves(by_sex, population, ago)
    launch = by_sex.isel(time=-1)
    if short:
        both = population.sizes["sex"] == 1
        population = by_sex.sum("sex").expand_dims(sex=["total"]) if both else by_sex
        population = population.transpose("time", "sex", "age", "area")
        lower, step = population["age"].to_numpy().astype(np.int64), 1
    people = np.full((ago[0] + 1, *population.shape[1:]), np.nan)
    people[ago[0] - ago] = population.to_numpy()
    return History(people, lower, step, launch)


def _single(population: xr.DataArray, open_age: int) -> xr.DataArray:
    """Stocks by both sexes and single years up to the open age."""
    register = xr.Dataset({"population": population.drop_attrs()}, attrs={"open_age": open_age})
    return split(register)["population"].transpose("time", "sex", "age", "area")


def _with_waves(single: xr.DataArray, counted: xr.DataArray, ago: Index) -> xr.DataArray:
    """Single ages that follow the city's cohorts; every area's groups are kept."""
    given = counted.to_numpy()
    lower = counted["age"].to_numpy().astype(np.int64)
    whole = given.sum(axis=(1, 2))
    steady = ~np.isnan(whole).any(axis=0) & (whole > 0).all(axis=0)
    if len(ago) < 2 or not steady.any():
        return single
    group = np.searchsorted(lower, single["age"].to_numpy(), side="right") - 1
    values = single.to_numpy().copy()
    share = values[-1].sum(axis=2)
    share = share_of(share[0], share.sum(axis=0), 0.5)
    for s in range(given.shape[1]):
        sexes = [0, 1] if given.shape[1] == 1 else [s]
        women = share if given.shape[1] == 1 else np.full(len(share), 1.0 - s)
        city = given[:, s][:, :, steady].sum(axis=2)
        found = single_ages(city, ago, lower, women, len(group) - 1)[-len(values) :]
        for t, ages in enumerate(found):
            there = ~np.isnan(values[t, 0, 0])
            seed = values[t][sexes][:, :, there].sum(axis=0)
            totals = given[len(given) - len(found) + t, s][:, there]
            # the city's cohorts as a part of their group, for as many people as are in it here
            ages = ages * share_of(totals.sum(axis=1), np.add.reduceat(ages, lower), 0.0)[group]
            raked = rake_ages(seed, group, totals, ages).table
            factor = share_of(raked, seed, 1.0)
            for sex in sexes:
                values[t, sex][:, there] *= factor
    return single.copy(data=values)


def groups_reached(history: History) -> NDArray[np.intp]:
    """Group that people of each single age at the start of a step are in at its end."""
    group = np.searchsorted(history.lower, history.launch["age"].to_numpy(), side="right") - 1
    return np.minimum(group + 1, len(history.lower) - 1)


def sexes_of(history: History) -> tuple[list[int], ...]:
    """Which of both sexes each of the data's stands for."""
    return ([0], [1]) if history.people.shape[1] == 2 else ([0, 1],)


def share_of(part: ArrayLike, whole: ArrayLike, otherwise: float) -> Array:
    """Part over whole, and `otherwise` where there is no whole."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    out = np.full(part.shape, otherwise)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))

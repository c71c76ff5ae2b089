"""From a projection to the numbers people ask for: counts by age group.

Sums only: nothing here changes the projection. Groups may overlap (65+ holds 75+), so a table of
them does not add up to the total; the groups of :data:`FIVE_YEAR` alone do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from popproj.cohort.conventions import survival_from_rate
from popproj.schema import Fault, InputError

_TEXT = re.compile(r"(\d{1,3})(?:-(\d{1,3})|(\+))?")


@dataclass(frozen=True, order=True)
class AgeGroup:
    """Ages in completed years from `first` to `last`, both included; no `last` means and older.

    Examples
    --------
    >>> AgeGroup.parse("6-11")
    AgeGroup(first=6, last=11)
    >>> str(AgeGroup(65)), str(AgeGroup(0)), str(AgeGroup(17, 17))
    ('65+', 'total', '17')
    """

    first: int
    last: int | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise InputError(
                Fault(
                    "age group",
                    f"an age group runs upwards from 0 or more, and {self.first}-{self.last} "
                    "does not",
                    "Write ages as 6-11, 65+ or total.",
                )
            )

    def __str__(self) -> str:
        if self.last is None:
            return f"{self.first}+" if self.first else "total"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @classmethod
    def parse(cls, text: str) -> AgeGroup:
        """Read ``"6-11"``, ``"65+"``, ``"17"`` or ``"total"``.

        Raises
        ------
        InputError
            Where the text is none of these.
        """
        if text.strip().casefold() == "total":
            return cls(0)
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise InputError(
                Fault(
                    "age group",
                    "an age group is a range, an open age, one age or 'total'",
                    "Write ages as 6-11, 65+, 17 or total.",
                    first=repr(text),
                )
            )
        first, last, open_ended = match.groups()
        if open_ended:
            return cls(int(first))
        return cls(int(first), int(first if last is None else last))


def five_year(open_age: int = 100) -> tuple[AgeGroup, ...]:
    """Five-year groups that together hold everybody once: 0-4, 5-9, … and the open one.

    Parameters
    ----------
    open_age
        First age [completed years] of the open group; a multiple of 5.

    Examples
    --------
    >>> [str(g) for g in five_year(15)]
    ['0-4', '5-9', '10-14', '15+']
    """
    groups = (AgeGroup(a, a + 4) for a in range(0, open_age - open_age % 5, 5))
    return (*groups, AgeGroup(open_age - open_age % 5))


FIVE_YEAR = five_year()
"""0-4, 5-9, … 95-99, 100+."""

CONVENTIONAL = tuple(map(AgeGroup.parse, ("0-5", "6-11", "12-14", "15-64", "65+", "75+", "85+")))
"""Before school, elementary school, junior high school, working ages, the old (overlapping)."""

TOTAL = AgeGroup(0)
"""All ages."""


def age_groups(counts: xr.DataArray, groups: Iterable[AgeGroup | str]) -> xr.DataArray:
    """Add counts by age up to counts by age group.

    ``N(g) = Σ N(a)`` over the ages `a` of the group; a blank (NaN) in a group leaves it blank.

    Parameters
    ----------
    counts
        Stocks or flows [people] with a dim ``age``: lower bounds in ascending order, the last one
        open. Ages wider than a year carry the coordinate ``age_width`` [years].
    groups
        Groups or their text (``"6-11"``, ``"65+"``, ``"total"``); they may overlap.

    Returns
    -------
    DataArray
        With the dim ``age_group`` (text) in the place of ``age``.

    Raises
    ------
    InputError
        If a group does not begin and end where ages of the data do: 100-104 cannot be had from
        data that close at 100+, nor 6-11 from five-year ages.

    Examples
    --------
    >>> counts = xr.DataArray([1.0, 2.0, 4.0], dims="age", coords={"age": [0, 1, 2]})
    >>> age_groups(counts, ["0-1", "1+", "total"]).to_series().to_dict()
    {'0-1': 3.0, '1+': 6.0, 'total': 7.0}
    """
    chosen = tuple(g if isinstance(g, AgeGroup) else AgeGroup.parse(g) for g in groups)
    ages = counts["age"].to_numpy()
    # Where each age ends; the last is open, so no closed group can end with it.
    starts = {int(a): i for i, a in enumerate(ages)}
    stops = {int(a) - 1: i for i, a in enumerate(ages) if i}
    wrong = [
        g for g in chosen if g.first not in starts or (g.last is not None and g.last not in stops)
    ]
    if wrong:
        raise InputError(
            Fault(
                "age groups",
                "a group must begin and end where ages of the data do",
                f"The data has {_spell(ages)}: choose other groups, or split its ages first.",
                broken=len(wrong),
                total=len(chosen),
                first=str(wrong[0]),
                unit="groups",
            )
        )
    axis = counts.get_axis_num("age")
    values = np.moveaxis(counts.to_numpy(), axis, 0)
    bounds = [(starts[g.first], len(ages) if g.last is None else stops[g.last]) for g in chosen]
    out = np.stack([values[first:stop].sum(axis=0) for first, stop in bounds])
    dims = tuple("age_group" if d == "age" else d for d in counts.dims)
    coords = {k: c for k, c in counts.coords.items() if "age" not in c.dims}
    coords["age_group"] = xr.DataArray(
        np.array([str(g) for g in chosen], dtype=object),
        dims="age_group",
        attrs={"long_name": "ages in completed years"},
    )
    return xr.DataArray(
        np.moveaxis(out, 0, axis), dims=dims, coords=coords, name=counts.name, attrs=counts.attrs
    )


def _spell(ages: np.ndarray) -> str:
    """Ages of the data in few words."""
    if len(ages) < 2:
        return f"{ages[0]}+" if len(ages) else "no ages"
    return f"{ages[0]}, {ages[1]}, … {ages[-1]}+"


def ledger(projection: xr.Dataset, start: object = None, end: object = None) -> xr.Dataset:
    """Why a district's population moved between two counts: the flows of the years between, summed.

    Parameters
    ----------
    projection
        Stocks and flows, past and future [people].
    start, end
        Count dates. Default: the base the projection starts from, and the last.

    Returns
    -------
    xarray.Dataset
        By district: ``base`` + ``births`` − ``deaths`` + ``external`` (across the city boundary) +
        ``internal`` (between districts) + ``net`` (where the two cannot be told apart) +
        ``adjustment`` = ``end`` [people]. What the projection does not have is left out.

    Raises
    ------
    InputError
        If there is no stock on one of the dates, or they do not follow each other.
    """
    dates = np.datetime_as_string(projection["count_date"].to_numpy(), unit="D")
    days = [
        str(projection.attrs.get("base_date", dates[0])) if start is None else str(start),
        str(dates[-1]) if end is None else str(end),
    ]
    at = [int(np.argmax(dates == day)) for day in days]
    if not np.isin(days, dates).all() or at[0] >= at[1]:
        raise InputError(
            Fault(
                "ledger",
                "there must be a stock on each of two days in order, "
                f"and {' to '.join(days)} is not",
                f"Choose two of {dates[0]} … {dates[-1]}.",
            )
        )
    people = projection["population"].sum(["sex", "age"])

    def flow(name: str) -> xr.DataArray | float:
        if name not in projection:
            return 0.0
        years = projection[name].isel(year=slice(at[0], at[1]))
        return years.sum([d for d in ("year", "sex", "age") if d in years.dims])

    entries = {
        "base": people.isel(time=at[0], drop=True),
        "births": flow("births"),
        "deaths": flow("deaths"),
        "external": flow("in_migrants") - flow("out_migrants"),
        "internal": flow("moves_in") - flow("moves_out"),
        "net": flow("net_migrants"),
        "adjustment": flow("adjustment"),
        "end": people.isel(time=at[1], drop=True),
    }
    return xr.Dataset(
        {n: v.drop_attrs() for n, v in entries.items() if isinstance(v, xr.DataArray)},
        attrs={"start": days[0], "end": days[1]},
    )


def life_expectancy(rates: xr.Dataset) -> xr.DataArray:
    r"""Expectation of life at birth of the whole city, from death rates by the age reached.

    The rates become survival ratios of a closed population, and these person-years:
    :math:`L_0 = S_0`, :math:`L_x = L_{x-1} S_x`, and of the open age
    :math:`T_\omega = L_{\omega-1} S_\omega / (1 - S_\omega)`.

    Parameters
    ----------
    rates
        ``mx`` [1/person-year] and ``exposure`` [person-years], ``(sex, age, district)``.

    Returns
    -------
    DataArray
        Years, by sex and whatever other dims the rates have.

    Examples
    --------
    >>> mx = xr.DataArray(np.full((2, 101, 1), 0.02), dims=("sex", "age", "district"))
    >>> round(float(life_expectancy(xr.Dataset({"mx": mx, "exposure": xr.ones_like(mx)}))[0]), 1)
    50.0
    """
    exposure = rates["exposure"]
    exposed = exposure.sum("district")
    city = (rates["mx"] * exposure).sum("district") / exposed.where(exposed > 0)
    city = city.fillna(rates["mx"].mean("district"))
    survival = xr.apply_ufunc(
        lambda m: survival_from_rate(m[..., None])[..., 0],
        city,
        input_core_dims=[["age"]],
        output_core_dims=[["age"]],
    )
    lived = survival.cumprod("age")
    beyond = lived.isel(age=-1) / (1 - survival.isel(age=-1))
    e0: xr.DataArray = lived.isel(age=slice(None, -1)).sum("age") + beyond
    return e0.rename("e0")


def total_fertility(rates: xr.Dataset) -> xr.DataArray:
    """Total fertility rate of the whole city: children of a woman who lives through its rates.

    Parameters
    ----------
    rates
        ``asfr`` [1/person-year] and ``exposure_women`` [person-years], ``(age, district)``.
    """
    women = rates["exposure_women"]
    exposed = women.sum("district")
    return ((rates["asfr"] * women).sum("district") / exposed.where(exposed > 0)).sum("age")

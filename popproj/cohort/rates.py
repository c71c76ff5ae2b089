r"""Events over exposure: what the past says about deaths, births and migration.

`raw_rates`
    The rates of one year at full detail. Put on that year's opening population they give back its
    closing population and every flow: the replay.
`derive_rates`
    The same rates pooled over a window of years and, component by component, over districts, a
    ward or the city.

All flows carry the age reached at the end of the year (period-cohort), but for births by mother's
age, which carry her age at the birth.

References
----------
Preston, S. H., Heuveline, P., Guillot, M. (2001). *Demography*. Blackwell, ch. 1, 2 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj import schema
from popproj.cohort import conventions
from popproj.cohort.books import cohorts, complete_books
from popproj.cohort.conventions import Events
from popproj.cohort.moves import move_counts
from popproj.cohort.shrinkage import shrunk_profile, shrunk_rates
from popproj.config import Parameters
from popproj.schema import Fault, InputError, Note

Array = NDArray[np.float64]
CELL = schema.CELL
SHRINKING = {
    "mortality": (0, 50, 75),
    "out_migration": (0, 5, 15, 18, 20, 22, 25, 30, 35, 40, 50, 65, 75, 85),
    "in_migration": (0, 5, 15, 18, 20, 22, 25, 30, 35, 40, 50, 65, 75, 85),
    "moves": (0, 5, 15, 18, 20, 22, 25, 30, 35, 40, 50, 65, 75, 85),
    "fertility": (0, 20, 25, 30, 35, 40),
}
"""Lowest ages of the groups in which a shrunk district's deviations from the city are sought."""

SRB = 1.055
"""Males per female birth where no birth was seen: Japan's long-run level."""


def raw_rates(books: xr.Dataset, year: int) -> xr.Dataset:
    """Rates of one past year at full detail, for the replay of that year.

    Parameters
    ----------
    books
        From `complete_books`.
    year
        Label of the year.

    Returns
    -------
    xarray.Dataset
        ``mx, out_rate, move_rate`` [1/person-year], ``move_repeat``, ``in_count``, ``net_count``,
        ``adjustment`` [people], ``asfr`` [1/person-year], ``srb``, ``destination_share`` with one
        group for each sex and age, ``exposure`` and ``exposure_women`` [person-years], and the
        events that met no exposure, ``unexposed_*`` [people]: their rate cannot be said.
    """
    i = int(np.flatnonzero(books["year"].to_numpy() == year)[0])
    one = books.isel(year=i)
    people = books["population"].isel(time=[i, i + 1]).to_numpy()
    n_sex, n_age, n_place = people.shape[1:]
    moves = move_counts(books, np.array([year]))
    trips = np.zeros((n_sex, n_age, n_place, n_place)) if moves is None else moves.dense(people[0])

    def get(name: str) -> Array:
        return one[name].to_numpy().astype(np.float64) if name in one else np.zeros_like(people[0])

    born, mothers = get("births"), one["births_by_mother"].to_numpy().astype(np.float64)
    deaths, outs, ins = get("deaths"), get("out_migrants"), get("in_migrants")
    lost = {n: np.zeros_like(people[0]) for n in ("deaths", "out_migrants", "moves_out")}
    lost_in, lost_mothers = np.zeros_like(people[0]), np.zeros_like(mothers)
    lost_births = np.zeros_like(born)
    while True:
        regular = born - lost_births
        residents = cohorts(people[:1], regular[None])[0]
        events = Events(residents, ins, trips.sum(axis=2), deaths, outs, trips.sum(axis=3))
        rates, exposure = conventions.rates_from_events(events)
        closing = (
            residents + ins + events.movers - deaths - outs - events.moves
            + get("net_migrants") + get("adjustment")
        )  # fmt: skip
        # where corrections alone empty a cell, its regular people are cut at zero
        women = conventions.women_years(people[0, 0], np.maximum(closing[0], 0))
        fertility = conventions.ratio(mothers, women)
        bad = {
            "deaths": np.isnan(rates.death),
            "out_migrants": np.isnan(rates.out),
            "moves_out": np.isnan(rates.move),
        }
        barren = np.isnan(fertility)
        if not barren.any() and not any(b.any() for b in bad.values()):
            break
        lost["deaths"] += np.where(bad["deaths"], deaths, 0)
        lost["out_migrants"] += np.where(bad["out_migrants"], outs, 0)
        lost["moves_out"] += np.where(bad["moves_out"], events.moves, 0)
        lost_in += (trips * bad["moves_out"][..., None]).sum(axis=2)
        deaths, outs = np.where(bad["deaths"], 0, deaths), np.where(bad["out_migrants"], 0, outs)
        trips = np.where(bad["moves_out"][..., None], 0, trips)
        share = conventions.ratio(np.where(barren, mothers, 0).sum(axis=0), mothers.sum(axis=0))
        lost_births += (born - lost_births) * share
        lost_mothers += np.where(barren, mothers, 0)
        mothers = np.where(barren, 0, mothers)

    girls, boys = regular
    with np.errstate(divide="ignore"):
        srb = np.divide(boys, girls, out=np.full(n_place, SRB), where=girls + boys > 0)
    result = xr.Dataset(
        {
            "mx": (CELL, rates.death),
            "out_rate": (CELL, rates.out),
            "in_count": (CELL, ins),
            "asfr": (("age", "district"), fertility),
            "srb": ("district", srb),
            "adjustment": (CELL, get("adjustment")),
            "exposure": (CELL, exposure.everybody),
            "exposure_women": (("age", "district"), women),
            "unexposed_births": (("sex", "district"), lost_births),
            "unexposed_births_by_mother": (("age", "district"), lost_mothers),
            "unexposed_deaths": (CELL, lost["deaths"]),
            "unexposed_out_migrants": (CELL, lost["out_migrants"]),
        },
        coords={**_cell_coords(books), "year": [year]},
        attrs={"convention": "popproj", "tiers": books.attrs["tiers"]},
    )
    if "net_migrants" in one:
        result["net_count"] = CELL, get("net_migrants")
    if moves is not None:
        result["move_rate"] = CELL, rates.move
        result["move_repeat"] = CELL, rates.move_repeat
        result["unexposed_moves_out"] = CELL, lost["moves_out"]
        result["unexposed_moves_in"] = CELL, lost_in
        groups = np.arange(n_sex * n_age).reshape(n_sex, n_age)
        result = _with_destinations(result, trips.reshape(-1, n_place, n_place), groups)
    return schema.describe(result)


def derive_rates(
    register: xr.Dataset,
    parameters: Parameters | None = None,
    standard: xr.Dataset | None = None,
    *,
    base: object = None,
) -> xr.Dataset:
    """Rates of a window of years, pooled where the parameters say.

    A component at level ``shrunk`` borrows strength from ward and city as far as its events leave
    a district unsure (:mod:`popproj.cohort.shrinkage`). At level ``district`` it takes each
    district's own events and exposure, at ``ward`` or
    ``city`` the sums of all its districts. Fertility at level ``district`` is the city's schedule
    times the district's own level (births over the births that the city's schedule expects there):
    single ages of one district have too few births. In-migration at a higher level keeps the
    district's own number and takes the age profile of the ward or city.

    Parameters
    ----------
    register
        Stocks and events by district, or books already completed.
    parameters
        Window, weights and levels.
    standard
        Outside schedules, see `complete_books`.
    base
        Count date of the jump-off: nothing later is looked at. Default: the last.

    Returns
    -------
    xarray.Dataset
        ``mx, out_rate, move_rate, move_repeat, in_count, net_rate, asfr, srb, destination_share``
        without a ``year`` dim; standard errors ``*_se`` of the rates from counted events; beside
        them the weighted yearly means of the events and exposures they were made of. Attributes:
        ``tiers``, ``levels``, ``strengths`` (of the shrunk components, in expected events),
        ``years``, ``year_weights``, ``reference_time`` (mean date of the events), ``convention``.

    Raises
    ------
    InputError
        If no year is left, or something that is needed is missing.
    """
    parameters = parameters or Parameters()
    books = register
    if "tiers" not in register.attrs:
        books = complete_books(register, standard, parameters, base=base)
    years = books["year"].to_numpy()
    weights = _weights(books, parameters)
    groups = {level: _groups(books, level) for level in ("district", "ward", "city")}
    window = _window(books, weights)

    def pooled(component: str, values: Array) -> Array:
        return _pool(values, groups[getattr(parameters, component)])

    counted = 1 / float((weights**2).sum())  # years' worth of events behind the weighted means

    def estimated(component: str, events: Array, exposure: Array) -> tuple[Array, Array]:
        """Rates and their standard errors at the level chosen."""
        if getattr(parameters, component) == "shrunk":
            ages = _age_groups(books, SHRINKING[component])
            shrunk = shrunk_rates(events * counted, exposure * counted, groups["ward"], ages)
            strengths[component] = {k: round(v, 3) for k, v in shrunk.strength.items()}
            return shrunk.rate, shrunk.error
        seen, lived = pooled(component, events), pooled(component, exposure)
        # a pooled cell without exposure has nobody to whom a rate could apply
        return np.nan_to_num(conventions.ratio(seen, lived)), np.sqrt(
            np.nan_to_num(conventions.ratio(seen, lived**2)) / counted
        )

    strengths: dict[str, dict[str, float]] = {}
    death, death_se = estimated("mortality", window.events.deaths, window.everybody)
    out, out_se = estimated("out_migration", window.events.out, window.everybody)
    move, move_se = estimated("moves", window.events.moves, window.everybody)
    repeat = conventions.repeat_factor(
        conventions.Exposure(
            _pool(window.everybody, groups["city"]), _pool(window.may_move, groups["city"])
        )
    )

    ins = window.events.arrivals
    if parameters.in_migration == "shrunk":
        ages = _age_groups(books, SHRINKING["in_migration"])
        arrivals = shrunk_profile(ins * counted, ages) / counted
    else:
        profile = pooled("in_migration", ins)
        total = profile.sum(axis=(0, 1))
        arrivals = ins.sum(axis=(0, 1)) * np.divide(
            profile, total, out=np.zeros_like(profile), where=total > 0
        )

    if parameters.fertility == "district":  # the city's schedule, each district's own level
        city_rate = np.nan_to_num(
            conventions.ratio(
                window.mothers.sum(axis=1, keepdims=True), window.women.sum(axis=1, keepdims=True)
            )
        )
        born, expected = window.mothers.sum(axis=0), (city_rate * window.women).sum(axis=0)
        asfr = city_rate * np.nan_to_num(conventions.ratio(born, expected), nan=1.0)
        asfr_se = asfr / np.sqrt(np.maximum(born * counted, 1.0))
    else:
        both = estimated("fertility", window.mothers[None], window.women[None])
        asfr, asfr_se = (part[0] for part in both)
    girls, boys = window.births.sum(axis=1)
    srb = float(boys / girls) if girls > 0 and boys > 0 else SRB

    rates = xr.Dataset(
        {
            "mx": (CELL, death),
            "out_rate": (CELL, out),
            "in_count": (CELL, arrivals),
            "asfr": (("age", "district"), asfr),
            "srb": ("district", np.full(len(books["district"]), srb)),
            "mx_se": (CELL, death_se),
            "out_rate_se": (CELL, out_se),
            "in_count_se": (CELL, np.sqrt(arrivals / counted)),
            "asfr_se": (("age", "district"), asfr_se),
            "deaths": (CELL, window.events.deaths),
            "out_migrants": (CELL, window.events.out),
            "in_migrants": (CELL, ins),
            "births_by_mother": (("age", "district"), window.mothers),
            "births": (("sex", "district"), window.births),
            "exposure": (CELL, window.everybody),
            "exposure_women": (("age", "district"), window.women),
        },
        coords=_cell_coords(books),
        attrs={
            "convention": "popproj",
            "tiers": books.attrs["tiers"],
            "levels": json.dumps({c: getattr(parameters, c) for c in _COMPONENTS}),
            "strengths": json.dumps(strengths),
            "years": [int(y) for y in years[weights > 0]],
            "year_weights": [float(w) for w in weights[weights > 0]],
            "reference_time": str(_reference(books, weights)),
        },
    )
    if "net_migrants" in books:
        net = window.net
        rates["net_migrants"] = CELL, net
        rates["net_rate"] = (
            CELL,
            np.nan_to_num(
                conventions.ratio(
                    pooled("net_migration", net),
                    pooled("net_migration", window.events.residents),
                )
            ),
        )
    moves = move_counts(books, years)
    if moves is not None:
        rates["move_rate"] = CELL, move
        rates["move_rate_se"] = CELL, move_se
        rates["move_repeat"] = CELL, repeat
        rates["moves_out"] = CELL, window.events.moves
        group_of_age = _age_groups(books, parameters.move_ages)
        trips = moves.grouped(group_of_age, weights, len(books["district"]))
        groups_of = np.tile(group_of_age, (2, 1))
        rates = _with_destinations(rates, _usable(trips), groups_of)
    absent = sorted({*(parameters.years or ()), *parameters.year_weights} - {*map(int, years)})
    notes = schema.notes(books)
    if absent:
        told = "years that [rates] names and the register does not hold say nothing"
        notes.append(Note("city.toml, rates", told, len(absent), str(absent[0])))
    return schema.with_notes(schema.describe(rates), notes)


_COMPONENTS = (
    "mortality", "fertility", "out_migration", "in_migration", "moves", "net_migration",
)  # fmt: skip


# --- stocks, years, districts ---


def _age_groups(books: xr.Dataset, lowest: Sequence[int]) -> NDArray[np.intp]:
    """Number of the group of each age, from the groups' lowest ages."""
    return np.searchsorted(np.asarray(lowest), books["age"].to_numpy(), side="right") - 1


def _groups(books: xr.Dataset, level: str) -> NDArray[np.intp]:
    """Number of the pool of each district; −1, the whole city, for one without a ward."""
    n = books.sizes["district"]
    if level == "district":
        return np.arange(n)
    if level == "ward" and "ward" in books.coords:
        wards = books["ward"].to_numpy().astype(str)
        groups = np.unique(wards, return_inverse=True)[1]
        return np.where(wards == "", -1, groups)
    return np.zeros(n, dtype=np.intp)


def _pool(values: Array, groups: NDArray[np.intp]) -> Array:
    """Sum over the districts of each pool, given back to its districts; −1 pools with all."""
    member = (groups[:, None] == np.unique(groups[groups >= 0])[None, :]).astype(float)
    pooled = (values @ member) @ member.T
    return np.asarray(np.where(groups < 0, values.sum(axis=-1, keepdims=True), pooled))


def _cell_coords(books: xr.Dataset) -> dict[str, Any]:
    return {
        str(name): c
        for name, c in books.coords.items()
        if set(c.dims) and set(c.dims) <= {"sex", "age", "district"}
    }


# --- a window of years ---


class _Window(NamedTuple):
    """Weighted yearly means of events and exposures; ages by districts."""

    events: Events
    everybody: Array
    may_move: Array
    births: Array
    mothers: Array
    women: Array
    net: Array


def _weights(books: xr.Dataset, parameters: Parameters) -> Array:
    """Weight of each year, summing to one."""
    years = books["year"].to_numpy()
    weights = np.array([parameters.year_weights.get(int(y), 1.0) for y in years], dtype=float)
    if parameters.years is not None:
        weights[~np.isin(years, parameters.years)] = 0
    weights[np.isin(years, parameters.exclude_years)] = 0
    if not weights.sum() > 0:
        raise InputError(
            Fault(
                "city.toml, rates.years",
                f"rates need at least one year, and none of {[int(y) for y in years]} is left",
                "Widen rates.years, or take years out of rates.exclude_years.",
            )
        )
    return np.asarray(weights / weights.sum())


def _window(books: xr.Dataset, weights: Array) -> _Window:
    people = books["population"].to_numpy()
    sums: list[Array] | None = None
    for i, weight in enumerate(weights):
        if weight == 0:
            continue
        one = {n: books[n].isel(year=i).to_numpy() for n in books.data_vars
               if "year" in books[n].dims}  # fmt: skip
        residents = cohorts(people[i : i + 1], one["births"][None])[0]
        events = Events(
            residents, one["in_migrants"], one["moves_in"],
            one["deaths"], one["out_migrants"], one["moves_out"],
        )  # fmt: skip
        exposure = conventions.exposure_from_events(events)
        women = conventions.women_years(people[i, 0], people[i + 1, 0])
        net = one.get("net_migrants", np.zeros_like(residents))
        year = [
            *events, *exposure, one["births"], one["births_by_mother"], women, net,
        ]  # fmt: skip
        year = [weight * a for a in year]
        sums = year if sums is None else [a + b for a, b in zip(sums, year, strict=True)]
    assert sums is not None
    # cells that movers left faster than anybody lived there have no exposure of their own
    return _Window(Events(*sums[:6]), *(np.maximum(a, 0) for a in sums[6:8]), *sums[8:])


def _reference(books: xr.Dataset, weights: Array) -> pd.Timestamp:
    """Mean date of the events of the window."""
    time = pd.DatetimeIndex(books["time"].to_numpy())
    middle = (time[:-1].asi8 + time[1:].asi8) / 2
    return pd.Timestamp(int(middle @ weights), unit=time.unit).normalize()


def _usable(trips: Array) -> Array:
    """Moves by pair in which every origin has somewhere to go.

    An origin without a move in a group takes its moves of all ages, and where it has none at all,
    what all others attract.
    """
    own = trips.sum(axis=0)
    attraction = np.tile(own.sum(axis=0), (own.shape[0], 1)) + 1e-12
    np.fill_diagonal(attraction, 0)
    own = np.where(own.sum(axis=1, keepdims=True) > 0, own, attraction)
    return np.where(trips.sum(axis=2, keepdims=True) > 0, trips, own)


def _with_destinations(rates: xr.Dataset, trips: Array, groups: NDArray[np.intp]) -> xr.Dataset:
    """Rates with destination shares made of moves by pair, ``(group, origin, district)``."""
    total = trips.sum(axis=2, keepdims=True)
    share = np.divide(trips, total, out=np.zeros_like(trips), where=total > 0)
    rates = rates.assign_coords(
        move_group=np.arange(len(trips)), origin=rates["district"].to_numpy()
    )
    rates["destination_share"] = ("move_group", "origin", "district"), share
    rates["move_group_of"] = ("sex", "age"), groups
    return rates

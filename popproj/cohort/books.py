"""Balanced books of the past: counted where the register counts, estimated where it does not.

What the register counted is taken as it is (tier A). What it did not count is estimated from its
stocks (tier B): deaths from an outside life table, births from the children aged 0, migration as
the residual. Deaths and births known for wards alone scale those estimates.

References
----------
United Nations (1970). *Methods of Measuring Internal Migration* (Manual VI), ch. 2: the cohort
survival method.
"""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj import schema
from popproj.cohort import conventions
from popproj.cohort.lifetable import life_table
from popproj.cohort.moves import move_counts
from popproj.config import Parameters
from popproj.schema import Fault, InputError, Note

Array = NDArray[np.float64]
CELL = schema.CELL


def complete_books(
    register: xr.Dataset,
    standard: xr.Dataset | None = None,
    parameters: Parameters | None = None,
    *,
    base: object = None,
) -> xr.Dataset:
    """Balanced books of every past year, counted where the register counts, estimated elsewhere.

    Parameters
    ----------
    register
        Stocks (and events) by district, both sexes and single years of age: after `split` and
        `assign`.
    standard
        Outside schedules: ``mx`` ``([year,] sex, age)`` by completed age [1/person-year], needed
        where the register has no deaths, and ``asfr`` ``([year,] age)`` [1/person-year], needed
        where it has no births by mother's age. Years between tables are interpolated, years
        outside take the nearest table.
    parameters
        Levels at which ward events may scale the estimates.
    base
        Count date of the jump-off; later stocks are not looked at. Default: the last.

    Returns
    -------
    xarray.Dataset
        ``population`` at yearly instants up to the base, and every flow of the years between:
        births, births_by_mother, deaths, in_migrants, out_migrants, moves_in, moves_out,
        net_migrants (where in and out are unknown), adjustment; the long table of moves; beside
        the births and deaths counted for wards what the stocks and the life table alone say of
        them (``ward_births_estimated``, ``ward_deaths_estimated``). Attribute
        ``tiers`` says, component by component, A (counted) or B (estimated), and at which level.

    Raises
    ------
    InputError
        If stocks are not complete, or an outside schedule is needed and missing.
    """
    parameters = parameters or Parameters()
    schema.check(register, need=["population"], where="register")
    population, notes = _yearly_stocks(register, base)
    years = schema.years_between(population["time"])
    counted = [n for n in ("deaths", "births", "in_migrants", "adjustment") if n in register]
    if counted:
        with_events = np.intersect1d(years, register["year"].to_numpy())
        if len(with_events) < len(years):
            left = [int(y) for y in years if y not in with_events]
            notes.append(
                Note(
                    "events",
                    f"no events for the years {left}; rates are made from the others",
                    len(left),
                )
            )
            first = int(np.flatnonzero(np.isin(years, with_events))[0]) if len(with_events) else 0
            # the years used must follow one another: stocks between them are the books' hinges
            run = np.isin(years[first:], with_events)
            stop = first + (int(np.argmin(run)) if not run.all() else len(run))
            population = population.isel(time=slice(first, stop + 1))
            years = years[first:stop]
    _need_schedules(register, standard, years)

    people = population.to_numpy()
    shape = people.shape[1:]
    flows: dict[str, Array] = {}
    tiers = {"stocks": _how_counted(register)}

    def take(name: str) -> Array | None:
        if name not in register:
            return None
        return np.asarray(
            register[name].sel(year=years).transpose(*schema.VARIABLES[name].dims).to_numpy(),
            dtype=np.float64,
        )

    survival = None
    wards: dict[str, xr.DataArray] = {}
    deaths = take("deaths")
    if standard is not None and "mx" in standard:
        survival = _survival(standard, population)
    born = take("births")
    if born is None:
        assert survival is not None
        born = people[1:, :, 0] / survival[:, :, 0]
        tiers["fertility"] = "B: births from the children aged 0"
        if "ward_births" in register:
            wards["births"] = _ward_estimates(register, "ward_births", born.sum(axis=1), population)
            born = born * _ward_scale(register, "ward_births", wards["births"])
            tiers["fertility"] = "B: births from the children aged 0, to the births of the wards"
    else:
        tiers["fertility"] = "A: counted births"
    residents = cohorts(people[:-1], born)
    if deaths is None:
        assert survival is not None
        deaths = residents * (1 - survival)
        tiers["mortality"] = "B: outside life table"
        if "ward_deaths" in register:
            wards["deaths"] = _ward_estimates(
                register, "ward_deaths", deaths.sum(axis=(1, 2)), population
            )
            level = "ward" if parameters.mortality == "shrunk" else parameters.mortality
            if level != "district":
                city = level == "city"
                deaths = deaths * _ward_scale(
                    register, "ward_deaths", wards["deaths"], whole_city=city
                )
                tiers["mortality"] = f"B: outside life table, to the deaths of the {level}"
    else:
        tiers["mortality"] = "A: counted deaths"

    mothers = take("births_by_mother")
    if mothers is None:
        assert standard is not None
        women = conventions.women_years(people[:-1, 0], people[1:, 0])
        schedule = _schedule(standard["asfr"], population)
        expected = women * schedule[:, :, None]
        total = expected.sum(axis=1, keepdims=True)
        spread = np.broadcast_to(
            (schedule / schedule.sum(axis=1, keepdims=True))[:, :, None], expected.shape
        )
        pattern = np.divide(expected, total, out=np.array(spread), where=total > 0)
        mothers = pattern * born.sum(axis=1)[:, None]
        tiers["fertility"] += ", mothers' ages by an outside schedule"
    flows |= {"births": born, "births_by_mother": mothers, "deaths": deaths}

    ins, outs = take("in_migrants"), take("out_migrants")
    moves = move_counts(register, years)
    nothing = np.zeros_like(deaths)
    moved = arrived = nothing
    if moves is not None:
        moved, arrived = moves.totals(shape)
        tiers["moves"] = "A: counted moves"
    external = ins is not None and outs is not None
    ins, outs = (nothing if f is None or not external else f for f in (ins, outs))
    rest = people[1:] - (residents - deaths + ins - outs + arrived - moved)
    flows |= {"in_migrants": ins, "out_migrants": outs, "adjustment": nothing}
    tiers["external migration"] = "A: counted arrivals and departures"
    if external and (moves is not None or shape[-1] == 1):
        flows["adjustment"] = rest
    else:
        flows["net_migrants"] = rest
        tiers.setdefault("moves", "B: inside the residual of the stocks")
        if not external:
            tiers["external migration"] = "B: residual of the stocks"
    flows |= {"moves_in": arrived, "moves_out": moved}

    books = xr.Dataset(
        {"population": population},
        coords={
            name: c for name, c in register.coords.items() if c.dims and set(c.dims) <= {"district"}
        }
        | {"year": years},
        attrs={"tiers": json.dumps(tiers), "open_age": int(population["age"][-1])},
    )
    for name, values in flows.items():
        books[name] = schema.VARIABLES[name].dims, values
    if moves is not None:
        books = books.merge(moves.table())
    if "corrections" in register:
        books["corrections"] = register["corrections"].sel(year=years)
    for name, estimates in wards.items():
        books[f"ward_{name}"] = register[f"ward_{name}"]
        books[f"ward_{name}_estimated"] = estimates
    return schema.with_notes(schema.describe(books), (*schema.notes(register), *notes))


def _yearly_stocks(register: xr.Dataset, base: object) -> tuple[xr.DataArray, list[Note]]:
    """Complete stocks at the base and as many whole years before it as follow one another."""
    population = register["population"].transpose("time", *CELL).sortby("time")
    dates = pd.DatetimeIndex(population["count_date"].to_numpy())
    wanted = dates.max() if base is None else pd.Timestamp(str(base))
    if wanted not in dates:
        raise InputError(
            Fault(
                "population",
                f"there must be a stock on the base date, and there is none on {wanted.date()}",
                f"Choose one of {', '.join(str(d.date()) for d in dates)} as projection.base.",
            )
        )
    chain = [wanted]
    while chain[0] - pd.DateOffset(years=1) in dates:
        chain.insert(0, chain[0] - pd.DateOffset(years=1))
    used = population.isel(time=np.flatnonzero(dates.isin(chain)))
    notes = []
    left = [str(d.date()) for d in dates if d not in chain]
    if left:
        notes.append(
            Note(
                "population",
                "stocks that do not lie whole years before the base in one chain are not used "
                "for rates",
                len(left),
                left[0],
            )
        )
    holes = np.isnan(used.to_numpy())
    if holes.any():
        raise InputError(
            Fault(
                "population",
                "every district must have a number at every sex and age",
                "Split the register's sexes and ages first, or fill the blank cells.",
                broken=int(holes.sum()),
                total=holes.size,
                first=schema.first_place(used, holes),
                unit="cells",
            )
        )
    return used.drop_attrs(), notes


def _need_schedules(register: xr.Dataset, standard: xr.Dataset | None, years: Array) -> None:
    faults = []
    if len(years) == 0:
        faults.append(
            Fault(
                "population",
                "rates need stocks at both ends of a year, and there is no such pair",
                "Add the stock of the same day one year before the base.",
            )
        )
    if "deaths" not in register and (standard is None or "mx" not in standard):
        faults.append(
            Fault(
                "city.toml",
                "where the register has no deaths, a life table is needed",
                "Name one under [life_table] (year, sex, age, mx), or add deaths to [events].",
            )
        )
    if "births_by_mother" not in register and (standard is None or "asfr" not in standard):
        faults.append(
            Fault(
                "city.toml",
                "where the register has no births by mother's age, a fertility schedule is needed",
                "Name one under [fertility] (year, age, asfr), or add births to [events].",
            )
        )
    if faults:
        raise InputError(faults)


def _how_counted(register: xr.Dataset) -> str:
    """Whether sexes and ages were counted or split, from the bits of ``split_mark``."""
    marks = register.get("split_mark")
    bits = 0 if marks is None else int(np.bitwise_or.reduce(marks.to_numpy(), axis=None))
    what = [name for bit, name in ((1, "sexes"), (2, "single ages")) if bits & bit]
    return f"C: {' and '.join(what)} split" if what else "counted by sex and single age"


def cohorts(people: Array, births: Array) -> Array:
    """People at the start by the age they reach, ``(year, sex, age, district)``."""
    start = np.concatenate([births[:, :, None], people[:, :, :-1]], axis=2)
    start[:, :, -1] += people[:, :, -1]
    return start


# --- outside schedules and ward totals ---


def _survival(standard: xr.Dataset, population: xr.DataArray) -> Array:
    """Survival ratios of each year, ``(year, sex, age, 1)``, from an outside life table."""
    mx = standard["mx"].sel(sex=list(schema.SEXES))
    middle = _middles(population)
    rates = _at(_given(mx), middle).transpose("year", "sex", "age")
    ages = population["age"].to_numpy()
    if rates.sizes["age"] != len(ages):
        raise InputError(
            Fault(
                "life_table",
                f"ages must be 0 to {ages[-1]}, the last one open, and are 0 to "
                f"{int(rates['age'][-1])}",
                "Extend or close the table at the register's open age.",
            )
        )
    return np.asarray(life_table(rates)["Sx"].transpose("year", "sex", "age").to_numpy()[..., None])


def _schedule(asfr: xr.DataArray, population: xr.DataArray) -> Array:
    """Fertility schedule of each year, ``(year, age)``, zero at ages the table does not have."""
    given = _given(asfr).dropna("age", how="all")
    rates = _at(given.reindex(age=population["age"], fill_value=0.0), _middles(population))
    return np.asarray(rates.transpose("year", "age").to_numpy())


def _given(table: xr.DataArray) -> xr.DataArray:
    """The table without the years that only another table has."""
    return table.dropna("year", how="all") if "year" in table.dims else table


def _middles(population: xr.DataArray) -> Array:
    """Middle of each year as a decimal date: 2017.75 for the year from 1 April 2017."""
    time = pd.DatetimeIndex(population["time"].to_numpy())
    decimal = time.year + (time.day_of_year - 1) / 365.25
    return np.asarray((decimal[:-1] + decimal[1:]) / 2, dtype=float)


def _at(table: xr.DataArray, middle: Array) -> xr.DataArray:
    """A table by calendar year (its rates hold at mid-year) at decimal dates; flat beyond."""
    if "year" not in table.dims:
        return table.expand_dims(year=middle)
    given = table["year"].to_numpy() + 0.5
    inside = np.clip(middle, given[0], given[-1])
    if len(given) == 1:
        return table.isel(year=np.zeros(len(middle), dtype=int)).assign_coords(year=middle)
    lower = np.clip(np.searchsorted(given, inside, side="right") - 1, 0, len(given) - 2)
    part = xr.DataArray((inside - given[lower]) / (given[lower + 1] - given[lower]), dims="year")
    low, high = (table.isel(year=lower + k).assign_coords(year=middle) for k in (0, 1))
    return low * (1 - part) + high * part


def _ward_estimates(
    register: xr.Dataset, name: str, expected: Array, population: xr.DataArray
) -> xr.DataArray:
    """Expected events of each ward's own years, beside which the counted ones can be laid.

    The wards' years may start on another day than the register's: a ward year expects what the
    register's years that overlap it expect, by their share; one that is covered by less than half
    stays unknown. Districts without a ward are spread over the wards like all others.

    Parameters
    ----------
    expected
        Events ``(year, district)`` [people].
    """
    counts = register[name].transpose("ward_year", "ward_margin")
    month, day = map(int, str(counts.attrs["year_starts"]).split("-"))
    starts = pd.DatetimeIndex(population["time"].to_numpy())
    member = _ward_members(register, counts)
    placed = expected @ member.any(axis=0)
    by_ward = (expected @ member.T) * (expected.sum(axis=1) / placed)[:, None]
    estimates = xr.full_like(counts, np.nan, dtype=float)
    for k, year in enumerate(counts["ward_year"].to_numpy()):
        begin = pd.Timestamp(int(year), month, day)
        end = begin + pd.DateOffset(years=1)
        overlap = np.array(
            [max(0.0, (min(end, b) - max(begin, a)) / (end - begin)) for a, b in pairwise(starts)]
        )
        if overlap.sum() >= 0.5:
            estimates[k] = overlap @ by_ward / overlap.sum()
    return estimates


def _ward_scale(
    register: xr.Dataset, name: str, estimates: xr.DataArray, *, whole_city: bool = False
) -> Array:
    """Ratio of a ward's counted events to the estimated ones, for each district."""
    counts = register[name].transpose("ward_year", "ward_margin")
    known = counts.notnull() & estimates.notnull()
    counted, estimated = (a.where(known).sum("ward_year").to_numpy() for a in (counts, estimates))
    city = counted.sum() / estimated.sum() if estimated.sum() > 0 else 1.0
    if whole_city:
        return np.full(register.sizes["district"], city)
    member = _ward_members(register, counts)
    ratio = np.divide(counted, estimated, out=np.full_like(estimated, city), where=estimated > 0)
    return np.asarray(np.where(member.any(axis=0), ratio @ member, city))


def _ward_members(register: xr.Dataset, counts: xr.DataArray) -> Array:
    """Which districts each ward of a table has, ``(ward, district)``."""
    wards = register["ward"].to_numpy().astype(str)
    member = counts["ward_margin"].to_numpy().astype(str)[:, None] == wards[None, :]
    return np.asarray(member, dtype=float)

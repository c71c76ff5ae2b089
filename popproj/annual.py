"""The annual projection of one city: the public functions in their order, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from popproj import __version__, evaluation, schema
from popproj.cohort.books import complete_books
from popproj.cohort.cohort_ratios import TrendParameters
from popproj.cohort.rates import derive_rates
from popproj.cohort.simple import RIVALS
from popproj.cohort.split import split
from popproj.cohort.trend import stock_rates
from popproj.config import BASELINE, City, Scenario, Table
from popproj.geo.districts import Districts, match, read_districts
from popproj.projection import project, with_past
from popproj.readers.areas import assign, read_areas
from popproj.readers.register import read_register
from popproj.readers.standard import read_standard
from popproj.readers.stocks import read_stocks
from popproj.scenarios import future_rates, in_convention
from popproj.schema import Fault, InputError, Note

Progress = Callable[[str], None]
"""Told what is being done next, in a few words."""


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class Given:
    """What a city handed over, checked, with every age, sex and district in its place.

    Parameters
    ----------
    city
        What was chosen.
    register
        Stocks and events by district, sex and single year of age.
    books
        The register's past years, balanced (see `complete_books`).
    standard
        Outside schedules, or None.
    districts
        Outlines, or None where the city file names none.
    notes
        Everything that was interpreted on the way.
    """

    city: City
    register: xr.Dataset
    books: xr.Dataset
    standard: xr.Dataset | None
    districts: Districts | None
    notes: tuple[Note, ...] = field(repr=False)


def read(city: City, progress: Progress = _silent) -> Given:
    """Read and check everything that a city handed over.

    Raises
    ------
    InputError
        With every fault found in the step that found one.
    """
    progress("reading the register")
    register = read_register(city)
    progress("splitting sexes and ages")
    register = split(register, city.parameters)
    progress("assigning areas to districts")
    register = assign(register, read_areas(city))
    standard = read_standard(city)
    progress("balancing the books")
    books = complete_books(register, standard, city.parameters, base=city.projection.base)
    districts: Districts | None = None
    found: tuple[Note, ...] = ()
    if city.districts is not None:
        progress("reading the map")
        districts = read_districts(city)
        found = match(districts, register["district"].to_numpy())
    notes = schema.notes(books, *([] if standard is None else [standard]))
    own = districts.notes if districts is not None else ()
    return Given(city, register, books, standard, districts, (*notes, *own, *found))


def check(city: City, progress: Progress = _silent) -> tuple[Given, pd.DataFrame]:
    """Everything that was given, and its books by year: what `popproj check` prints.

    Returns
    -------
    given
        What was read, with its notes.
    books
        One row a year [people]: opening, births, deaths, migration, adjustment, closing, and the
        district whose adjustment is largest.
    """
    given = read(city, progress)
    return given, books_by_year(given.books)


def books_by_year(books: xr.Dataset) -> pd.DataFrame:
    """Balanced books summed over the city, one row a year [people]."""
    total = books["population"].sum(schema.CELL).to_numpy()
    columns: dict[str, Any] = {"opening": total[:-1]}
    for name in (
        "births", "deaths", "in_migrants", "out_migrants", "moves_out", "net_migrants",
        "adjustment", "corrections",
    ):  # fmt: skip
        if name in books and (name == "adjustment" or books[name].any()):
            flow = books[name]
            columns[name] = flow.sum([d for d in flow.dims if d != "year"]).to_numpy()
    worst = abs(books["adjustment"]).sum(["sex", "age"])
    columns |= {
        "closing": total[1:],
        "gross adjustment": worst.sum("district").to_numpy(),
        "worst adjustment": worst.max("district").to_numpy(),
        "in district": np.where(
            worst.max("district") > 0,
            books["district"].to_numpy()[worst.argmax("district").to_numpy()],
            "",
        ),
    }
    return pd.DataFrame(columns, index=books["year"].to_index())


def rates(city: City, progress: Progress = _silent) -> xr.Dataset:
    """Rates of the city's past, with where they come from: what `popproj rates` writes."""
    given = read(city, progress)
    progress("estimating rates")
    return _signed(derive_rates(given.books, city.parameters), given)


@dataclass(frozen=True)
class Run:
    """One annual projection."""

    given: Given
    rates: xr.Dataset
    projection: xr.Dataset


def run(
    city: City,
    *,
    horizon: int | None = None,
    scenario: str | None = None,
    progress: Progress = _silent,
) -> Run:
    """Run the annual projection of a city.

    Parameters
    ----------
    city
        From `load_city`.
    horizon
        Years to project. Default: the city file's.
    scenario
        Name of one of the city file's scenarios. Default: its first, or the baseline.
    progress
        Told what is being done.

    Raises
    ------
    InputError
        With every fault found in the step that found one.
    """
    name, assumed = _scenario(city, scenario)
    given = read(city, progress)
    progress("estimating rates")
    past = derive_rates(given.books, city.parameters)
    jump_off = given.books["population"].isel(time=-1)
    future = future_rates(past, assumed, jump_off, horizon or city.projection.horizon)
    progress("projecting")
    projection = project(jump_off, in_convention(future, city.projection.convention))
    projection = with_past(projection, given.books).assign_attrs(scenario_name=name)
    marks = given.register.get("split_mark")
    projection["split_mark"] = (
        xr.zeros_like(jump_off, dtype=np.int8).reset_coords(drop=True)
        if marks is None
        else marks.sel(time=jump_off["time"]).reset_coords(drop=True)
    )
    return Run(given, _signed(past, given), _signed(projection, given))


def table_stocks(path: Path) -> xr.Dataset:
    """Stocks of one tidy table (``date, area, sex, age, count``), to backtest on."""
    table = {"files": (path.name,)}
    given = {"name": path.stem, "folder": path.parent, "population": (table,)}
    return read_stocks(City.model_validate(given))


def city_stocks(city: City, progress: Progress = _silent) -> xr.Dataset:
    """Stocks of a city's districts, every count, to backtest on."""
    register = read(city, progress).register
    stocks = register[["population"]].drop_sel(district=schema.UNASSIGNED, errors="ignore")
    return stocks.rename(district="area")


def forecast(
    population: xr.DataArray,
    horizons: Sequence[int],
    parameters: TrendParameters | None = None,
) -> xr.DataArray:
    """People some years on, by the ages of the data, from yearly stocks alone.

    Parameters
    ----------
    population, parameters
        As in :func:`popproj.cohort.trend.stock_rates`.
    horizons
        Years after the launch.

    Returns
    -------
    DataArray
        People ``(horizon, age, area)``, sexes together; NaN for areas that are blank at the launch.

    Raises
    ------
    InputError
        As :func:`popproj.cohort.trend.stock_rates`.
    """
    jump_off, rates = stock_rates(population, max(horizons), parameters)
    people = project(jump_off, rates)["population"].sum("sex").isel(time=list(horizons))
    lower = population["age"].to_numpy()
    single = people.transpose("time", "age", "district").to_numpy()
    grouped = np.add.reduceat(single, lower, axis=1)
    result = xr.DataArray(
        grouped,
        dims=("horizon", "age", "area"),
        coords={
            "horizon": np.asarray(horizons, dtype=np.int64),
            "age": lower,
            "area": people["district"].to_numpy(),
        },
        name="population",
        attrs={"units": "people", "long_name": "projected residents"},
    )
    labels = population["area"].to_numpy()
    return result.reindex(area=labels.astype(str)).assign_coords(area=labels)


def backtest(
    stocks: xr.Dataset,
    launches: Iterable[int],
    horizons: Iterable[int],
    groups: Iterable[str] | None = None,
    *,
    min_population: float = evaluation.MIN_POPULATION,
    progress: Progress = _silent,
) -> xr.Dataset:
    """Forecasts of popproj from stocks alone and of the simple methods, from past launches.

    See `popproj.evaluation.backtest`.
    """
    return evaluation.backtest(
        stocks,
        launches,
        horizons,
        groups,
        {"popproj": forecast, **RIVALS},
        min_population=min_population,
        progress=progress,
    )


def _scenario(city: City, name: str | None) -> tuple[str, Scenario]:
    scenarios = dict(city.scenarios) or {"baseline": BASELINE}
    if name is None:
        return next(iter(scenarios.items()))
    if name not in scenarios:
        raise InputError(
            Fault(
                "city.toml, scenario",
                f"the scenario must be one of {', '.join(scenarios)}, and is {name!r}",
                f"Choose one of them, or describe it under [scenario.{name}].",
            )
        )
    return name, scenarios[name]


def _signed(dataset: xr.Dataset, given: Given) -> xr.Dataset:
    """The dataset with everything that says how its numbers came about."""
    city = given.city
    return dataset.assign_attrs(
        title=f"{city.name}: population projection",
        source=city.source or city.name,
        popproj_version=__version__,
        city=city.name,
        city_toml=json.dumps(city.model_dump(mode="json", exclude={"text"}), ensure_ascii=False),
        inputs_sha256=json.dumps(dict(_hashes(city)), ensure_ascii=False),
        created=date.today().isoformat(),
        notes=tuple(dict.fromkeys((*given.notes, *dataset.attrs.get("notes", ())))),
    )


def _hashes(city: City) -> Iterator[tuple[str, str]]:
    """SHA-256 of every file that the city file names."""
    paths: list[Path] = []
    for name in type(city).model_fields:
        value = getattr(city, name)
        for table in value if isinstance(value, tuple) else (value,):
            if isinstance(table, Table):
                paths += table.paths(city.folder)
    if city.districts is not None:
        paths.append(city.districts.path(city.folder))
    for path in dict.fromkeys(paths):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        inside = path.is_relative_to(city.folder)
        yield (path.relative_to(city.folder).as_posix() if inside else path.name), digest

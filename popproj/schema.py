"""The vocabulary: every dimension, coordinate and variable, and how a fault is told.

Names are data here. Each variable has its dimensions in their canonical order, its unit, its Lexis
shape and what it means in English and Japanese; the glossary page is printed from this table.
Nothing in this module computes, reads a file or imports popproj.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

SEXES = ("female", "male")
EVENT_KINDS = ("birth", "death", "in", "out", "move", "other")
UNASSIGNED = "unassigned"
"""The one district code that is not on the map: people in areas without a district."""

Lexis = Literal["stock", "age-period", "period-cohort", "none"]


@dataclass(frozen=True)
class Dimension:
    """A named axis: its dtype and what its labels mean."""

    name: str
    dtype: str
    meaning: str
    meaning_ja: str


@dataclass(frozen=True)
class Variable:
    """A named quantity: canonical dims, unit, Lexis shape, meaning."""

    name: str
    dims: tuple[str, ...]
    units: str
    lexis: Lexis
    long_name: str
    long_name_ja: str


_DIMENSIONS = (
    Dimension("scenario", "text", "named set of assumptions", "シナリオ"),
    Dimension("draw", "int", "one possible future out of many", "試行"),
    Dimension("quantile", "float", "share of draws at or below the value", "分位点"),
    Dimension(
        "time", "datetime64", "instant at which stocks are counted: the day after the count", "時点"
    ),
    Dimension("year", "int", "calendar year in which the interval of the flows starts", "年"),
    Dimension("sex", "text", "female, male, in that order", "性別"),
    Dimension("age", "int", "completed years; the last one is open", "年齢"),
    Dimension("sex_margin", "text", "sex in tables given beside the main one", "性別(周辺表)"),
    Dimension("age_margin", "int", "age in tables given beside the main one", "年齢(周辺表)"),
    Dimension("move_group", "int", "sex and ages that share their destinations", "移動年齢群"),
    Dimension("origin", "text", "district a move starts from", "移動元"),
    Dimension("district", "text", "zero-padded code of a district", "校区"),
    Dimension("area", "text", "code of the source's own area (town)", "町丁目"),
    Dimension("ward", "text", "code of a ward", "区"),
    Dimension("ward_year", "int", "year of a table by ward", "年(区別表)"),
    Dimension("ward_margin", "text", "ward in tables given beside the main one", "区(周辺表)"),
    Dimension("move", "int", "one row of the long table of moves", "転居の行"),
)
DIMENSIONS: Mapping[str, Dimension] = {d.name: d for d in _DIMENSIONS}

CELL = ("sex", "age", "district")
FLOW = ("year", *CELL)

_VARIABLES = (
    # stocks
    Variable("population", ("time", *CELL), "people", "stock", "registered residents", "人口"),
    Variable("jump_off", CELL, "people", "stock", "residents at the jump-off", "基準人口"),
    Variable(
        "split_mark",
        ("time", "sex", "age", "area"),
        "1",
        "stock",
        "how a count came about: 0 counted, 1 sex split, 2 age split, 3 both",
        "按分の有無(0 実数、1 性別、2 年齢、3 両方)",
    ),
    Variable(
        "population_by_sex",
        ("time", "sex_margin", "area"),
        "people",
        "stock",
        "residents of an area by sex, all ages, where the ages come for both sexes together",
        "男女別人口(年齢計)",
    ),
    Variable(
        "ward_population",
        ("time", "sex_margin", "age_margin", "ward_margin"),
        "people",
        "stock",
        "residents of a ward by sex and age, to split the areas by",
        "区別男女別年齢別人口",
    ),
    Variable(
        "ward_births",
        ("ward_year", "ward_margin"),
        "people",
        "none",
        "births of a ward",
        "区別出生数",
    ),
    Variable(
        "ward_births_estimated",
        ("ward_year", "ward_margin"),
        "people",
        "none",
        "births of a ward that stocks and life table alone would say",
        "区別出生数(推定)",
    ),
    Variable(
        "ward_deaths",
        ("ward_year", "ward_margin"),
        "people",
        "none",
        "deaths of a ward",
        "区別死亡数",
    ),
    Variable(
        "ward_deaths_estimated",
        ("ward_year", "ward_margin"),
        "people",
        "none",
        "deaths of a ward that stocks and life table alone would say",
        "区別死亡数(推定)",
    ),
    Variable("move_count", ("move",), "people", "period-cohort", "moves of a pair", "転居数"),
    # flows, labelled by the age reached at the end of the year
    Variable("births", ("year", "sex", "district"), "people", "period-cohort", "births", "出生数"),
    Variable("deaths", FLOW, "people", "period-cohort", "deaths", "死亡数"),
    Variable(
        "in_migrants", FLOW, "people", "period-cohort", "arrivals from outside the city", "転入数"
    ),
    Variable(
        "out_migrants", FLOW, "people", "period-cohort", "departures out of the city", "転出数"
    ),
    Variable(
        "moves_in", FLOW, "people", "period-cohort", "arrivals from other districts", "転居転入数"
    ),
    Variable(
        "moves_out", FLOW, "people", "period-cohort", "departures to other districts", "転居転出数"
    ),
    Variable(
        "net_migrants",
        FLOW,
        "people",
        "period-cohort",
        "arrivals less departures, where the source cannot tell them apart",
        "純移動数",
    ),
    Variable(
        "adjustment",
        FLOW,
        "people",
        "period-cohort",
        "registry corrections, controls and cuts at zero",
        "調整数",
    ),
    Variable(
        "corrections",
        FLOW,
        "people",
        "period-cohort",
        "the part of the adjustment that the register itself tells",
        "職権記載・消除など",
    ),
    Variable(
        "births_by_mother",
        ("year", "age", "district"),
        "people",
        "age-period",
        "births by the mother's age at the birth",
        "母の年齢別出生数",
    ),
    # exposure
    Variable(
        "exposure", FLOW, "person-years", "period-cohort", "person-years lived", "延べ滞在人年"
    ),
    Variable(
        "exposure_women",
        ("year", "age", "district"),
        "person-years",
        "age-period",
        "person-years lived by women at the age of a birth",
        "女性の延べ人年",
    ),
    # life table
    Variable("mx", FLOW, "1/person-year", "period-cohort", "central death rate", "死亡率"),
    Variable("qx", FLOW, "1", "age-period", "probability of dying within the age", "死亡確率"),
    Variable("ax", FLOW, "years", "age-period", "years lived by those who die", "平均生存年数"),
    Variable("lx", FLOW, "people", "none", "survivors at the exact age", "生存数"),
    Variable("Lx", FLOW, "person-years", "none", "person-years lived in the age", "定常人口"),
    Variable("Tx", FLOW, "person-years", "none", "person-years above the age", "定常人口(累積)"),
    Variable("ex", FLOW, "years", "none", "expectation of life", "平均余命"),
    Variable(
        "Sx",
        FLOW,
        "1",
        "period-cohort",
        "survival ratio, labelled by the age reached",
        "生残率",
    ),
    # fertility
    Variable(
        "asfr",
        ("year", "age", "district"),
        "1/person-year",
        "age-period",
        "fertility rate",
        "出生率",
    ),
    Variable("tfr", ("year", "district"), "1", "none", "total fertility rate", "合計特殊出生率"),
    Variable("srb", ("year", "district"), "1", "none", "males per female birth", "出生性比"),
    Variable("cwr", ("time", "district"), "1", "none", "child-woman ratio", "子ども女性比"),
    # migration
    Variable(
        "out_rate", FLOW, "1/person-year", "period-cohort", "risk of leaving the city", "転出率"
    ),
    Variable(
        "move_rate",
        FLOW,
        "1/person-year",
        "period-cohort",
        "risk of moving to another district",
        "転居率",
    ),
    Variable(
        "move_repeat",
        FLOW,
        "1",
        "period-cohort",
        "all person-years over those of people who did not move in this year",
        "転居者補正",
    ),
    Variable(
        "in_count",
        FLOW,
        "people/year",
        "period-cohort",
        "arrivals from outside in a year: not a risk on residents",
        "年間転入数",
    ),
    Variable(
        "destination_share",
        ("year", "move_group", "origin", "district"),
        "1",
        "none",
        "share of an origin's movers who go to the district",
        "転居先割合",
    ),
    Variable(
        "move_group_of", ("sex", "age"), "1", "none", "group an age moves with", "移動年齢群の番号"
    ),
    Variable(
        "control",
        ("year", "sex", "age"),
        "people",
        "stock",
        "people of all districts together at the end of the year, decided elsewhere",
        "合計値(制約)",
    ),
    Variable("net_count", FLOW, "people/year", "period-cohort", "net migrants a year", "純移動数"),
    Variable(
        "net_rate",
        FLOW,
        "1/year",
        "period-cohort",
        "net migrants per person who was there at the start (newborns: per birth)",
        "純移動率",
    ),
)
_ESTIMATED = ("mx", "asfr", "out_rate", "move_rate", "in_count", "net_rate")
_ERRORS = tuple(
    Variable(
        f"{v.name}_se",
        v.dims,
        v.units,
        v.lexis,
        f"standard error of {v.name}",
        f"{v.name}の標準誤差",
    )
    for v in _VARIABLES
    if v.name in _ESTIMATED
)
VARIABLES: Mapping[str, Variable] = {v.name: v for v in (*_VARIABLES, *_ERRORS)}

_ORDER = tuple(DIMENSIONS)


@dataclass(frozen=True)
class Fault:
    """One rule that the given data breaks, in the four parts a person needs.

    Parameters
    ----------
    where
        File (and sheet), or the section and key of a configuration.
    rule
        What must hold, as a clause: ``"age must be a whole number, '100+' or a range"``.
    remedy
        What to do, as a sentence.
    broken, total
        How many break it, out of how many; None where counting means nothing.
    first
        The first that breaks it: row and column, or labels, and the value.
    unit
        What is counted.
    """

    where: str
    rule: str
    remedy: str
    broken: int | None = None
    total: int | None = None
    first: str = ""
    unit: str = "rows"

    def __str__(self) -> str:
        text = f"{self.where}: {self.rule}"
        if self.broken is not None:
            verb = "does" if self.broken == 1 else "do"
            of = f"{self.broken:,}" if self.total is None else f"{self.broken:,} of {self.total:,}"
            text += f"; {of} {self.unit} {verb} not"
        if self.first:
            text += f", first {self.first}"
        return f"{text}. {self.remedy}"


class InputError(Exception):
    """What was given is wrong: carries every fault found, and reads as one message."""

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True)
class Note:
    """Something that was interpreted, left out or noticed while reading: never silent, never fatal.

    Parameters
    ----------
    where
        File, sheet or table.
    what
        One sentence saying what was understood and what was done.
    count
        How many cells, rows or people it concerns.
    first
        The first example.
    """

    where: str
    what: str
    count: float | None = None
    first: str = ""

    def __str__(self) -> str:
        count = "" if self.count is None else f" [{self.count:,.10g}]"
        return f"{self.where}: {self.what}{count}" + (
            f" (first: {self.first})" if self.first else ""
        )


def notes(*datasets: xr.Dataset) -> list[Note]:
    """Notes carried by datasets, in their order, each once."""
    return list(dict.fromkeys(n for ds in datasets for n in ds.attrs.get("notes", ())))


def with_notes(dataset: xr.Dataset, more: Iterable[Note]) -> xr.Dataset:
    """Return the dataset carrying its own notes and some more."""
    return dataset.assign_attrs(
        notes=tuple(dict.fromkeys((*dataset.attrs.get("notes", ()), *more)))
    )


def instants(count_dates: Iterable[object]) -> np.ndarray:
    """Instants of stocks counted at the close of the given days: the days after.

    Examples
    --------
    >>> instants(["2017-12-31"])
    array(['2018-01-01T00:00:00.000000000'], dtype='datetime64[ns]')
    """
    days = np.asarray(list(count_dates), dtype="datetime64[D]")
    return np.asarray((days + 1).astype("datetime64[ns]"))


def time_coordinate(count_dates: Iterable[object]) -> dict[str, xr.DataArray]:
    """Coordinates ``time`` and ``count_date`` for stocks counted at the close of the given days."""
    days = np.asarray(list(count_dates), dtype="datetime64[ns]")
    time = xr.DataArray(instants(days), dims="time")
    return {"time": time, "count_date": xr.DataArray(days, dims="time")}


def years_between(time: xr.DataArray) -> np.ndarray:
    """Label of each interval between consecutive instants: the calendar year in which it starts.

    Examples
    --------
    >>> years_between(xr.DataArray(instants(["2016-12-31", "2017-12-31"]), dims="time"))
    array([2017])
    """
    starts = time.to_numpy()[:-1].astype("datetime64[Y]")
    return np.asarray(starts.astype(int) + 1970)


def first_place(array: xr.DataArray, broken: np.ndarray) -> str:
    """Labels of the first cell that breaks a rule.

    Examples
    --------
    >>> people = xr.DataArray([[1.0, -2.0]], dims=("sex", "age"), coords={"sex": ["male"]})
    >>> first_place(people, people.to_numpy() < 0)
    'at sex male, age 1'
    """
    at = np.argwhere(broken)[0]
    labels = (f"{d} {array[d].to_numpy()[i]}" for d, i in zip(array.dims, at, strict=True))
    return "at " + ", ".join(labels)


def canonical(dims: Iterable[str]) -> tuple[str, ...]:
    """Sort dimension names into the order in which arrays are kept."""
    return tuple(sorted(map(str, dims), key=_ORDER.index))


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with unit, Lexis shape and meaning on every variable of the vocabulary."""
    dataset = dataset.copy(deep=False)
    for name in dataset.data_vars:
        known = VARIABLES.get(str(name))
        if known is not None:
            dataset[name].attrs |= {
                "long_name": known.long_name,
                "units": known.units,
                "lexis": known.lexis,
            }
    for dim in dataset.dims:
        known_dim = DIMENSIONS.get(str(dim))
        if known_dim is not None and dim in dataset.coords:
            dataset[dim].attrs.setdefault("long_name", known_dim.meaning)
    return dataset


def check(dataset: xr.Dataset, *, need: Sequence[str] = (), where: str = "dataset") -> xr.Dataset:
    """Refuse a dataset that breaks the naming; return it unchanged.

    Every variable must be of the vocabulary, on its own dims (any may be left out) in canonical
    order; sexes are female, male (or total); ages are consecutive from 0; codes are unique text.

    Parameters
    ----------
    dataset
        What is about to be used.
    need
        Names that must be there.
    where
        How the dataset is called in the message.

    Raises
    ------
    InputError
        With every fault.
    """
    faults = []
    for missing in need:
        if missing not in dataset:
            faults.append(
                Fault(
                    where, f"variable {missing!r} is needed, and is not there", f"Add {missing!r}."
                )
            )
    for name, array in dataset.data_vars.items():
        known = VARIABLES.get(str(name))
        if known is None:
            continue
        places = {"district", "area", "ward", "origin"}
        allowed = {*known.dims, "scenario", "draw", "quantile"} | (
            places if places & set(known.dims) else set()
        )
        strange = [str(d) for d in array.dims if d not in allowed]
        if strange:
            faults.append(
                Fault(
                    where,
                    f"{name} has dims {known.dims}, and the given one has {tuple(array.dims)}",
                    f"Drop or rename {', '.join(strange)}.",
                )
            )
        elif tuple(array.dims) != canonical(map(str, array.dims)):
            order = canonical(map(str, array.dims))
            faults.append(
                Fault(
                    where,
                    f"{name} must be in the order {order}, and is in {tuple(array.dims)}",
                    f"Use .transpose{order}.",
                )
            )
    for dim in ("sex", "sex_margin"):
        if dim in dataset.coords and tuple(dataset[dim].to_numpy()) not in (SEXES, ("total",)):
            got = tuple(map(str, dataset[dim].to_numpy()))
            faults.append(
                Fault(where, f"{dim} must be {SEXES}, and is {got}", "Reindex by these labels.")
            )
    if "age" in dataset.coords and "age_width" not in dataset.coords:
        ages = dataset["age"].to_numpy()
        if not np.array_equal(ages, np.arange(ages.size)):
            faults.append(
                Fault(where, "age must be 0, 1, 2, … without gaps", "Reindex by single years.")
            )
    for dim in ("district", "area", "ward", "time", "year"):
        if dim in dataset.indexes and not dataset.indexes[dim].is_unique:
            index = dataset.indexes[dim]
            twice = index[index.duplicated()]
            faults.append(
                Fault(
                    where,
                    f"each {dim} must stand once",
                    "Merge or drop the repeated ones.",
                    broken=len(twice),
                    total=len(index),
                    first=str(twice[0]),
                    unit="labels",
                )
            )
    if faults:
        raise InputError(faults)
    return dataset

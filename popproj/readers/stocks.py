"""Stocks: every table of residents of a city as one dataset, time by sex by age by area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from popproj.config import City, PopulationTable
from popproj.readers.cells import Floats
from popproj.readers.cube import Block
from popproj.readers.headers import Group, show_group
from popproj.readers.layouts import read_kobe, read_tidy
from popproj.readers.tables import distinct
from popproj.schema import SEXES, Fault, InputError, Note, describe, time_coordinate


def read_stocks(city: City) -> xr.Dataset:
    r"""Residents by area, sex and age on each day they were counted.

    An area that a day's tables do not have had nobody on it: 0. One that they have without figures
    is withheld: NaN. People of unknown age are left out, and a note says how many. Ages above
    ``city.open_age`` are put into the open group; sources that stop earlier keep their own.

    Parameters
    ----------
    city
        With ``population``, and ``ward_population`` where there is one.

    Returns
    -------
    Dataset
        - ``population`` (time, sex, age, area) [people];
        - ``population_by_sex`` (time, sex_margin, area) [people], where ages come for both sexes
          together and totals by sex stand beside them;
        - ``ward_population`` (time, sex_margin, age_margin, ward_margin) [people], on the same
          days; NaN on days without a table.

        Coordinates ``area_name``, and where known ``ward`` and ``ward_name`` (area); ``listed``
        (time, area), the place of the area's row among those of its day, NaN where it has none;
        ``age_width`` (age), ``age_margin_width`` (age_margin) where groups are wider than a year or
        end below the open age: 0 is open. ``attrs``: ``open_age``, where the open group starts;
        ``notes``.

    Raises
    ------
    InputError
        With the faults of all files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> text = "date,area,sex,age,count\n" + "".join(
    ...     f"2025-03-31,E01,{sex},{age},10\n" for sex in ("女", "男") for age in range(101)
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "people.csv").write_text(text, encoding="utf-8")
    ...     table = {"files": ("people.csv",)}
    ...     city = City(name="Minato", population=(table,), folder=Path(folder))
    ...     stocks = read_stocks(city)
    >>> dict(stocks.sizes), float(stocks["population"].sum())
    ({'time': 1, 'sex': 2, 'age': 101, 'area': 1}, 2020.0)
    """
    faults: list[Fault] = []
    towns, wards = [], []
    for table in city.population:
        found, beside = _read(city, table, "area", faults)
        towns += found
        wards += beside
    for table in city.ward_population:
        found, beside = _read(city, table, "ward", faults)
        wards += found + beside
    if faults:
        raise InputError(faults)
    if not towns:
        raise InputError(
            Fault("city.toml", "population must name a table", 'Write [population] file = "…".')
        )
    notes = [note for block in (*towns, *wards) for note in block.notes]
    stocks = _assemble(towns, "population", city.open_age, notes)
    if wards:
        stocks = _with_wards(
            stocks, _assemble(wards, "ward_population", city.open_age, notes), notes
        )
    return describe(stocks).assign_attrs(
        open_age=int(stocks["age"].values[-1]), notes=tuple(dict.fromkeys(notes))
    )


def _read(
    city: City, table: PopulationTable, level: str, faults: list[Fault]
) -> tuple[list[Block], list[Block]]:
    paths = table.paths(city.folder)
    own: list[Block] = []
    beside: list[Block] = []
    for path, shown in zip(paths, distinct([path.name for path in paths]), strict=True):
        try:
            if table.layout == "kobe":
                towns, wards = read_kobe(path, shown, table)
                own += towns if level == "area" else wards
                beside += wards if level == "area" else []
            else:
                own.append(read_tidy(path, shown, table, level))
        except InputError as error:
            faults += error.faults
    if table.dates is not None:
        wanted = np.array(table.dates, dtype="datetime64[D]")
        have = np.unique(np.concatenate([b.dates for b in own])) if own else wanted
        for day in wanted[~np.isin(wanted, have)]:
            faults.append(
                Fault(
                    "city.toml, dates",
                    f"the count date {day} must be in the tables, and is not",
                    f"The tables have {', '.join(map(str, have[:12]))}.",
                )
            )
        own, beside = ([_on(b, wanted) for b in blocks] for blocks in (own, beside))
    return [b for b in own if b.dates.size], [b for b in beside if b.dates.size]


def _on(block: Block, days: np.ndarray) -> Block:
    keep = np.isin(block.dates, days)
    return replace(
        block,
        dates=block.dates[keep],
        people=block.people[keep],
        present=block.present[keep],
        listed=block.listed[keep],
        by_sex=None if block.by_sex is None else block.by_sex[keep],
    )


def _extended(block: Block, open_age: int) -> Block:
    """Single years up to the open age, where the source's own open group is empty."""
    last = block.groups[-1][0]
    is_single = all(width == 1 for _, width in block.groups[:-1])
    if last >= open_age or not is_single or np.nansum(block.people[:, :, -1]) > 0:
        return block
    more = tuple((age, 1) for age in range(last, open_age))
    empty = np.repeat(block.people[:, :, -1:], len(more), axis=2)
    return replace(
        block,
        groups=(*block.groups[:-1], *more, (open_age, 0)),
        people=np.concatenate([block.people[:, :, :-1], empty, block.people[:, :, -1:]], axis=2),
    )


def _common_groups(blocks: Sequence[Block], open_age: int, notes: list[Note]) -> list[Group]:
    """Age groups that every block can be brought to: only the open one may differ."""
    open_ages = {b.where: b.groups[-1][0] for b in blocks}
    lowest = min(*open_ages.values(), open_age)
    closed = {b.where: [g for g in b.groups if g[0] < lowest] for b in blocks}
    first, groups = next(iter(closed.items()))
    other = next((w for w, g in closed.items() if g != groups), None)
    if other is not None or any(sum(g) > lowest for g in groups):
        shown = ", ".join(show_group(g) for g in (closed[other or first])[:4])
        raise InputError(
            Fault(
                other or first,
                "age groups must be the same in all tables of the population",
                "Keep the tables of one kind: single years where there are any.",
                first=f"{shown}, …; {first} has {', '.join(map(show_group, groups[:4]))}, …",
            )
        )
    for where, opens in open_ages.items():
        if opens > lowest:
            what = f"ages {lowest} to {opens} were put into one open group {lowest}+"
            notes.append(Note(where, what))
    return [*groups, (lowest, 0)]


def _grouped(block: Block, groups: Sequence[Group]) -> Floats:
    n = len(groups) - 1
    if block.people.shape[2] == n + 1:
        return block.people
    return np.concatenate(
        [block.people[:, :, :n], block.people[:, :, n:].sum(axis=2, keepdims=True)], axis=2
    )


def _assemble(blocks: Sequence[Block], name: str, open_age: int, notes: list[Note]) -> xr.Dataset:
    """All blocks of one level on common dates, sexes, ages and areas."""
    blocks = [_extended(block, open_age) for block in blocks]
    groups = _common_groups(blocks, open_age, notes)
    dates = np.unique(np.concatenate([b.dates for b in blocks]))
    codes = np.unique(np.concatenate([b.areas["area"].to_numpy(str) for b in blocks]))
    index = pd.Index(codes)
    sexes = _sexes(blocks)
    shape = (len(dates), len(sexes), len(groups), len(codes))
    people = np.zeros(shape)
    filled = np.zeros((len(dates), len(sexes), len(codes)), dtype=bool)
    has_margins = sexes == ("total",) and any(b.by_sex is not None for b in blocks)
    by_sex = np.full((len(dates), 2, len(codes)), np.nan)
    listed = np.full((len(dates), len(codes)), np.nan)
    rows_before = 0.0
    faults = []
    for block in blocks:
        d = np.searchsorted(dates, block.dates)
        a = index.get_indexer(pd.Index(block.areas["area"].to_numpy(str)))
        s = np.array([sexes.index(sex) for sex in block.sexes])
        here = np.ix_(d, s, a)
        twice = filled[here] & block.present[:, None]
        if twice.any():
            at = np.argwhere(twice)[0]
            faults.append(
                Fault(
                    block.where,
                    "each area must stand in one table only on each day",
                    "Name each file once, and leave re-issued ones out.",
                    broken=int(twice.any(axis=1).sum()),
                    total=int(block.present.sum()),
                    first=f"{block.areas['area'].iloc[at[2]]} on {block.dates[at[0]]}",
                    unit="areas",
                )
            )
        filled[here] |= block.present[:, None]
        cube = np.ix_(d, s, np.arange(len(groups)), a)
        people[cube] = np.where(block.present[:, None, None], _grouped(block, groups), people[cube])
        # The order of the rows, one table after the other.
        place = np.ix_(d, a)
        listed[place] = np.where(np.isnan(block.listed), listed[place], block.listed + rows_before)
        rows_before += float(np.nan_to_num(block.listed).max(initial=0)) + 1
        if has_margins and block.by_sex is not None:
            margin = np.ix_(d, np.arange(2), a)
            by_sex[margin] = np.where(block.present[:, None], block.by_sex, by_sex[margin])
    present = np.asarray(filled.any(axis=1))
    faults += _check_days(dates, present)
    if faults:
        raise InputError(faults)
    by_sex[~np.broadcast_to(present[:, None], by_sex.shape)] = 0
    about = _about(blocks, codes, notes)
    if not present.all():
        at = np.argwhere(~present)[0]
        what = f"areas that the tables of a day do not have were taken to be empty ({name})"
        first = f"{codes[at[1]]} on {dates[at[0]]}"
        notes.append(Note(blocks[0].where, what, int((~present).sum()), first))
    ages = np.array([g[0] for g in groups])
    widths = np.array([g[1] for g in groups])
    dataset = xr.Dataset(
        {name: (("time", "sex", "age", "area"), people)},
        coords={
            **time_coordinate(dates),
            "sex": np.array(sexes, dtype=object),
            "age": ages,
            "area": codes.astype(object),
            "area_name": ("area", about["name"].to_numpy(object)),
            **({"listed": (("time", "area"), _ranks(listed))} if name == "population" else {}),
        },
    )
    if not (widths[:-1] == 1).all() or ages[-1] != open_age:
        dataset = dataset.assign_coords(age_width=("age", widths))
    for column in ("ward", "ward_name"):
        if (about[column] != "").any():
            dataset = dataset.assign_coords({column: ("area", about[column].to_numpy(object))})
    if has_margins:
        dataset["population_by_sex"] = (("time", "sex_margin", "area"), by_sex)
        dataset = dataset.assign_coords(sex_margin=np.array(SEXES, dtype=object))
    return dataset


def _ranks(places: Floats) -> Floats:
    """Places of the rows of each day as 1, 2, 3, …, whatever stands between them."""
    return pd.DataFrame(places.T).rank().to_numpy().T


def _sexes(blocks: Sequence[Block]) -> tuple[str, ...]:
    sexes = {sex for block in blocks for sex in block.sexes}
    if sexes in ({"female", "male"}, {"total"}):
        return SEXES if len(sexes) == 2 else ("total",)
    split = next((b.where for b in blocks if "total" not in b.sexes), blocks[0].where)
    whole = next((b.where for b in blocks if "total" in b.sexes), None)
    state = f"{whole} has only both together" if whole else f"only {', '.join(sexes)} is there"
    raise InputError(
        Fault(
            split,
            f"all tables of the population must have both sexes, or all none; {state}",
            "Add the tables that are missing, or leave out those of the other kind.",
        )
    )


def _check_days(dates: np.ndarray, present: np.ndarray) -> list[Fault]:
    """A day with far fewer areas than another lacks a file."""
    areas = present.sum(axis=1)
    few = areas < areas.max() / 2
    if not few.any():
        return []
    first = int(np.flatnonzero(few)[0])
    return [
        Fault(
            "population",
            "every count date must cover the whole city",
            "Add the files that are missing, or choose days with dates = [ … ].",
            broken=int(few.sum()),
            total=len(dates),
            first=f"{dates[first]}: {areas[first]:,} of {areas.max():,} areas",
            unit="dates",
        )
    ]


def _about(blocks: Sequence[Block], codes: np.ndarray, notes: list[Note]) -> pd.DataFrame:
    """Name and ward of each area, the latest ones; a note says where they changed."""
    whole = pd.concat(
        [b.areas.assign(day=b.dates[-1], where=b.where) for b in blocks], ignore_index=True
    ).sort_values("day", kind="stable")
    about = whole.groupby("area").last().reindex(codes)
    for column, what in (
        ("name", "areas changed their name"),
        ("ward", "areas changed their ward"),
    ):
        changed = whole[whole[column] != ""].groupby("area")[column].nunique()
        changed = changed[changed > 1]
        if len(changed):
            both = whole.loc[whole["area"] == changed.index[0], column].unique()
            first = f"{changed.index[0]}: {' → '.join(map(str, both))}"
            notes.append(Note("population", f"{what}; the latest holds", len(changed), first))
    return about


def _with_wards(stocks: xr.Dataset, wards: xr.Dataset, notes: list[Note]) -> xr.Dataset:
    """Put the tables of wards beside the areas: the same days, their own sexes and ages."""
    if tuple(wards["sex"].to_numpy()) != SEXES:
        raise InputError(
            Fault(
                "ward_population",
                "the table of wards must have both sexes, and has them together",
                "Name the table by sex, or take ward_population out.",
            )
        )
    if "ward" in stocks.coords and not np.isin(wards["area"], stocks["ward"]).any():
        raise InputError(
            Fault(
                "ward_population",
                "its wards must be those of the areas, and none is",
                "Name the column that holds the same codes: columns = { ward = … }.",
                first=f"{wards['area'].values[0]}; areas have {stocks['ward'].values[0]}",
                unit="wards",
            )
        )
    names = dict(zip(wards["area"].to_numpy(), wards["area_name"].to_numpy(), strict=True))
    if "ward" in stocks.coords and any(names.values()):
        titles = [names.get(code, "") for code in stocks["ward"].to_numpy()]
        stocks = stocks.assign_coords(ward_name=("area", np.array(titles, dtype=object)))
    beside = wards.drop_vars(["count_date", "area_name", "ward", "ward_name"], errors="ignore")
    beside = beside.rename({"sex": "sex_margin", "age": "age_margin", "area": "ward_margin"})
    if "age_width" in beside.coords:
        beside = beside.rename(age_width="age_margin_width")
    days = stocks["time"].to_numpy()
    other = ~np.isin(beside["time"].to_numpy(), days)
    if other.any():
        what = "days of the ward table without a table of areas were left out"
        notes.append(Note("ward_population", what, int(other.sum())))
    missing = ~np.isin(days, beside["time"].to_numpy())
    if missing.any():
        notes.append(Note("ward_population", "days have no ward table", int(missing.sum())))
    return stocks.merge(beside.reindex(time=days), join="exact", combine_attrs="drop")

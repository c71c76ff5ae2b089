"""Areas (towns) through time: which district each belongs to, and a register put on districts.

A projection stands on one geography. The history of every area is therefore counted in the
districts of one day, the newest as a rule, whatever the districts were then.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.config import City
from popproj.readers import churn as codes_through_time
from popproj.readers.areafiles import COLUMNS, areas_table, read_area_table, read_lineage, tidy
from popproj.readers.clusters import find_clusters, rebase, width_of, years_of
from popproj.readers.flows import closing_gap, move_positions, with_move_table, year_starts_of
from popproj.readers.mapping import (
    Mapping,
    blank_notes,
    mapping_of,
    merging_notes,
    names_of,
    unassigned_notes,
)
from popproj.schema import Fault, InputError, Note, describe

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Areas:
    """Which district the people of each area belong to, from when to when.

    Parameters
    ----------
    table
        Columns area, name, ward, ward_name, district, district_name (text, "" where not given),
        share [1], valid_from, valid_to (days, both included; NaT: no limit). Rows of one area that
        are valid on one day have shares that sum to 1; an empty district means none. No rows at
        all: each area is a district of its own.
    lineage
        Columns old_area, new_area, share [1], date: where the people of an area live under later
        codes, and the first day of these (NaT: not told). An area that goes on and gives a part
        away has a row for what it keeps: itself, with its share.
    notes
        What was interpreted while reading.
    """

    table: pd.DataFrame
    lineage: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["old_area", "new_area", "share", "date"])
    )
    notes: tuple[Note, ...] = ()

    def on(self, day: datetime.date | np.datetime64) -> pd.DataFrame:
        """One mapping for the areas of all times, as of a day: rows of the table.

        Areas valid on the day have the rows valid then. One that is no more goes where its lineage
        says; without lineage it keeps the last rows it had, and one that is yet to come has its
        first.
        """
        at = pd.Timestamp(day)
        table = self.table
        valid = ~(table["valid_from"] > at) & ~(table["valid_to"] < at)
        now = table[valid]
        rest = table[~table["area"].isin(now["area"])]
        over = rest[rest["valid_to"] < at]
        over = over[over["valid_to"] == over.groupby("area")["valid_to"].transform("max")]
        to_come = rest[~rest["area"].isin(over["area"])]
        first = to_come.groupby("area")["valid_from"].transform("min")
        stand_in = pd.concat([over, to_come[to_come["valid_from"] == first]])
        heirs = self._heirs(now)
        stand_in = stand_in[~stand_in["area"].isin(heirs["area"])]
        return pd.concat([now, heirs, stand_in], ignore_index=True)

    def _heirs(self, now: pd.DataFrame) -> pd.DataFrame:
        """Rows of areas that are no more, through the areas that their people live in now."""
        line = self.lineage[~self.lineage["old_area"].isin(now["area"])]
        if "date" in line:
            last = line.groupby("old_area")["date"].transform("max")
            line = line[last.isna() | (line["date"] == last)]
        line = line[["old_area", "new_area", "share"]]
        if line.empty:
            return now.iloc[:0]
        found = []
        reach = line.rename(columns={"old_area": "area"})
        # A town renamed more often than there are renamings in the list goes round in a circle.
        for _ in range(len(line) + 1):
            there = reach["new_area"].isin(now["area"])
            found.append(reach[there])
            reach = reach[~there].merge(line, left_on="new_area", right_on="old_area")
            if reach.empty:
                break
            reach = pd.DataFrame(
                {
                    "area": reach["area"],
                    "new_area": reach["new_area_y"],
                    "share": reach["share_x"] * reach["share_y"],
                }
            )
        heirs = pd.concat(found, ignore_index=True).merge(
            now.drop(columns=["name", "valid_from", "valid_to"]),
            left_on="new_area",
            right_on="area",
        )
        heirs["share"] = heirs["share_x"] * heirs["share_y"]
        heirs = heirs.rename(columns={"area_x": "area"})
        # Heirs without a row of their own leave a part of the people without a district.
        missing = 1 - heirs.groupby("area")["share"].sum()
        missing = missing[missing > 1e-9]
        lost = pd.DataFrame({"area": missing.index, "share": missing.to_numpy()})
        return pd.concat([heirs, lost], ignore_index=True).reindex(columns=list(COLUMNS)).pipe(tidy)


# ---- reading ----------------------------------------------------------------------------------


def read_areas(city: City) -> Areas:
    r"""Read which district each area belongs to.

    Parameters
    ----------
    city
        Its ``areas`` table has a row for each area, or several with shares or with days from and to
        which they hold; its ``lineage`` says where the people of former areas live now.

    Returns
    -------
    Areas
        Empty where the city has no such table: then each area is a district of its own.

    Raises
    ------
    InputError
        With every fault of both tables: shares that do not add up, days that are none.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from popproj.config import City
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "towns.csv").write_text("町コード,校区コード\n007,E01\n", "cp932")
    ...     city = City(
    ...         name="Minato",
    ...         population=({"files": ("people.csv",)},),
    ...         areas={"files": ("towns.csv",)},
    ...         folder=Path(folder),
    ...     )
    ...     areas = read_areas(city)
    >>> areas.table[["area", "district", "share"]]
      area district  share
    0  007      E01    1.0
    """
    faults: list[Fault] = []
    notes: list[Note] = []
    table, lineage = areas_table([]), None
    if city.areas is not None:
        try:
            table = read_area_table(city.areas, city, faults, notes)
        except InputError as error:
            faults += error.faults
    if city.lineage is not None:
        try:
            lineage = read_lineage(city.lineage, city, faults, notes)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    given = Areas(table, notes=tuple(notes))
    return given if lineage is None else replace(given, lineage=lineage)


# ---- codes that come and go -------------------------------------------------------------------


def churn(
    register: xr.Dataset, areas: Areas, *, at: datetime.date | np.datetime64 | None = None
) -> pd.DataFrame:
    """People in codes that vanish or appear between two counts, by district.

    Parameters
    ----------
    register
        Dataset with dim ``area``.
    areas
        From :func:`read_areas`. Codes of its lineage are known, and not counted.
    at
        Day whose districts are taken. Default: the last day of the count.

    Returns
    -------
    DataFrame
        One row for each district and step between two counts in which any code comes or goes:
        ``district``; ``year`` of the later count; ``from``, ``to`` (count dates); ``vanish``,
        people at the first count in codes that have none at the second, ``appear`` the other way
        round [people]; ``vanish_withheld``, ``appear_withheld``, the part of them whose codes are
        there and blank (秘匿); ``people_before``, in the whole district; ``net_share`` = (appear −
        vanish) / people before.

    Examples
    --------
    >>> from popproj.schema import time_coordinate
    >>> people = [[[[50.0, 40.0, 0.0]]], [[[51.0, 0.0, 42.0]]]]
    >>> register = xr.Dataset(
    ...     {"population": (("time", "sex", "age", "area"), people)},
    ...     coords={**time_coordinate(["2016-03-31", "2017-03-31"]), "area": ["1", "2", "3"]},
    ... )
    >>> areas = Areas(areas_table([("1", "K01", 1.0), ("2", "K01", 1.0), ("3", "K02", 1.0)]))
    >>> churn(register, areas)[["district", "year", "vanish", "appear", "people_before"]]
      district  year  vanish  appear  people_before
    0      K01  2017    40.0     0.0           90.0
    1      K02  2017     0.0    42.0            0.0
    """
    mapping = mapping_of(_rows(register, areas, at), register.indexes["area"])
    found = codes_through_time.turnover(register, areas.lineage)
    table = codes_through_time.by_group(register, found, mapping.member(register.sizes["area"]))
    table.insert(0, "district", mapping.districts[table.pop("group").to_numpy()])
    return table


def _rows(
    register: xr.Dataset, areas: Areas, at: datetime.date | np.datetime64 | None
) -> pd.DataFrame:
    """The areas' rows of one day, by default of the last count."""
    codes = register.indexes["area"]
    if not len(areas.table):
        rows = areas_table([(code, code, 1.0) for code in codes])
        if "area_name" in register.coords:
            rows["district_name"] = register["area_name"].to_numpy().astype(object)
        return rows
    rows = areas.on(register["count_date"].to_numpy().max() if at is None else at)
    if not codes.isin(rows["area"]).any():
        raise InputError(
            Fault(
                "areas",
                "the areas must be those of the population, and none is: "
                f"{rows['area'].iloc[0]!r} here, {codes[0]!r} there",
                'Name the column that holds the population\'s codes: columns = { area = "…" }.',
            )
        )
    return rows


# ---- from areas to districts ------------------------------------------------------------------


def assign(
    register: xr.Dataset,
    areas: Areas,
    *,
    at: datetime.date | np.datetime64 | None = None,
    clusters: bool = True,
) -> xr.Dataset:
    """Put a register of areas on districts.

    All years are counted in the districts of one day, so that a change of boundaries does not look
    like migration. An area divided between districts gives each its share of every cell. The
    adjustment is taken anew from the districts' books.

    Areas whose figures are blank count as nothing: their people stand in the neighbour they were
    merged with. Where a town is blank on some days and not on others, and the neighbour lies in
    another district, the other days are brought to the merging of the last count up to `at`, whose
    own figures never change (:mod:`popproj.readers.clusters`): people of a town that is blank then
    are added to the neighbour that has them then, exactly; people of a town that is counted then
    are taken out of the neighbour that had them, by an estimate. The sum of the towns concerned
    stays as it is at every age, and notes say who was moved, when and where. Events stay where they
    were registered.

    Parameters
    ----------
    register
        Dataset with dim ``area`` (:func:`popproj.readers.register.read_register`).
    areas
        From :func:`read_areas`.
    at
        Day whose districts are taken. Default: the last day of the count.
    clusters
        Whether towns that are blank on some days only are brought to the merging of one day.

    Returns
    -------
    Dataset
        Everything on dim ``district``, in the order of the codes, with coordinates
        ``district_name``, ``ward`` (where most of the people live) and ``ward_name``. People of
        areas without a district stand in the row ``"unassigned"``, the last, if there are any.
        ``move_count`` holds moves between districts only. What has no dim ``area`` stays as it is.

    Raises
    ------
    InputError
        Where no area of the register occurs among `areas`.

    Examples
    --------
    >>> from popproj.schema import time_coordinate
    >>> register = xr.Dataset(
    ...     {"population": (("time", "sex", "age", "area"), [[[[5.0, 7.0, 9.0]]]])},
    ...     coords={**time_coordinate(["2017-03-31"]), "area": ["1", "2", "3"], "sex": ["total"]},
    ... )
    >>> table = areas_table([("1", "K01", 1.0), ("2", "K01", 0.5), ("2", "K02", 0.5)])
    >>> districts = assign(register, Areas(table))
    >>> districts["population"].squeeze(drop=True).to_series()
    district
    K01           8.5
    K02           3.5
    unassigned    9.0
    Name: population, dtype: float64
    """
    rows = _rows(register, areas, at)
    day = register["count_date"].to_numpy().max() if at is None else np.datetime64(at)
    mapping = mapping_of(rows, register.indexes["area"])
    notes: list[Note] = list(areas.notes)
    notes += _code_notes(register, areas)
    register = _under_later_codes(register, areas.lineage, notes)
    if clusters:
        register = _on_one_merging(register, mapping, day, notes)

    result = register.drop_vars(
        [
            name
            for name, v in register.variables.items()
            if "area" in v.dims or "move" in v.dims or name == "adjustment"
        ]
    ).assign_coords(district=mapping.districts)
    for name, array in register.variables.items():
        if "area" not in array.dims or name in ("area", "adjustment", "listed"):
            continue
        values = array.to_numpy()
        dims = tuple("district" if d == "area" else d for d in array.dims)
        if values.dtype in (np.bool_, np.int8):
            summed: NDArray[Any] = mapping.marks(values)
        elif values.dtype.kind in "fiu":
            summed = mapping.sums(values)
        else:
            continue
        variable = (dims, summed, array.attrs)
        if name in register.coords:
            result = result.assign_coords({str(name): variable})
        else:
            result[str(name)] = variable
    result = result.assign_coords(names_of(register, rows, mapping, notes))
    moves = None
    if "move_count" in register:
        result, moves = _moves(register, result, mapping, notes)
    if "adjustment" in register:
        result["adjustment"] = closing_gap(result, moves)
    notes += unassigned_notes(register, result, mapping)
    notes += blank_notes(register, mapping)
    result.attrs["notes"] = tuple(dict.fromkeys((*register.attrs.get("notes", ()), *notes)))
    return describe(result)


def _code_notes(register: xr.Dataset, areas: Areas) -> list[Note]:
    """Codes that come and go, and what looks like a renaming among them."""
    found = codes_through_time.turnover(register, areas.lineage)
    notes = codes_through_time.turnover_notes(register, found)
    alike = codes_through_time.renamings(register, areas.lineage)
    return notes + codes_through_time.renaming_notes(register, alike)


def _under_later_codes(
    register: xr.Dataset, lineage: pd.DataFrame, notes: list[Note]
) -> xr.Dataset:
    """Count people before each dated change of codes under the codes after it.

    Needed where an area goes on after it gave a part away, or changed more than once: the districts
    of its code of today say nothing of the part. Moves keep the codes they were registered under.
    """
    codes = register.indexes["area"]
    if "date" not in lineage or not lineage["date"].notna().any():
        return register
    dated = lineage[lineage["date"].notna()].sort_values("date", kind="stable")
    # Where a later code has no row anywhere, its district follows from the table alone.
    known = dated["new_area"].isin(codes).groupby([dated["old_area"], dated["date"]])
    dated = dated[known.transform("all") & dated["old_area"].isin(codes)]
    if dated.empty:
        return register
    counts = register["count_date"].to_numpy()
    starts = np.zeros(0, dtype="datetime64[ns]")
    if "year" in register.dims:
        starts = year_starts_of(register, register["year"].to_numpy())
    changed: dict[str, xr.DataArray] = {}
    people = 0.0
    for name, array in register.data_vars.items():
        along = next((d for d in ("time", "year") if d in array.dims), None)
        if along is None or "area" not in array.dims or array.dtype.kind != "f":
            continue
        array = array.transpose(along, ..., "area")
        values = array.to_numpy().copy()
        for day in np.unique(dated["date"].to_numpy()):
            change = dated[dated["date"] == day]
            # Flows go with the stock at the start of their year.
            earlier = counts < day if along == "time" else starts <= day
            old = codes.get_indexer(pd.Index(change["old_area"]))
            new = codes.get_indexer(pd.Index(change["new_area"]))
            before = values[earlier]
            given = before[..., old] * change["share"].to_numpy()
            after = before.copy()
            # A withheld area has nothing to pass on, and stays withheld.
            after[..., old] = np.where(np.isnan(before[..., old]), np.nan, 0.0)
            for i, area in enumerate(new):
                has = ~np.isnan(given[..., i])
                after[..., area] = np.where(
                    has, np.nan_to_num(after[..., area]) + given[..., i], after[..., area]
                )
            values[earlier] = after
            if name == "population":
                people += float(np.nansum(given[..., old != new]))
        changed[str(name)] = array.copy(data=values).transpose(*register[name].dims)
    notes.append(
        Note(
            "lineage",
            "people of earlier counts were put under the later codes of their areas, over all"
            f" counts before {', '.join(str(d)[:10] for d in dated['date'].unique()[:5])}",
            round(people),
            f"{dated['old_area'].iloc[0]} → {dated['new_area'].iloc[0]}",
        )
    )
    return register.assign(changed)


def _on_one_merging(
    register: xr.Dataset, mapping: Mapping, day: np.datetime64, notes: list[Note]
) -> xr.Dataset:
    """Bring all counts to the towns that were merged at one of them."""
    found = find_clusters(register)
    if not len(found):
        return register
    across = found.only(mapping.across(found))
    days = register["count_date"].to_numpy()
    until = np.flatnonzero(days <= day)
    reference = int(until[days[until].argmax()] if until.size else days.argmin())
    population = register["population"].transpose("time", "sex", "age", "area")
    years = years_of(register)
    people, moved = rebase(population.to_numpy(), across, reference, years, width_of(population))
    notes += merging_notes(register, mapping, found, across, moved, reference)
    register = register.assign(population=population.copy(data=people))
    if "population_by_sex" in register:
        by_sex = register["population_by_sex"].transpose("time", "sex_margin", "area")
        one_age = by_sex.to_numpy()[:, :, None]
        by_sex = by_sex.copy(data=rebase(one_age, across, reference, years)[0][:, :, 0])
        register = register.assign(population_by_sex=by_sex)
    return register


def _moves(
    register: xr.Dataset, result: xr.Dataset, mapping: Mapping, notes: list[Note]
) -> tuple[xr.Dataset, tuple[xr.DataArray, xr.DataArray]]:
    """Moves between districts: each move divided as its two areas are."""
    count = register["move_count"].to_numpy()
    *cell, origin, destination = move_positions(register)
    by_area = np.argsort(mapping.area, kind="stable")
    parts = np.bincount(mapping.area, minlength=register.sizes["area"])
    first = np.cumsum(parts) - parts
    move = np.arange(count.size)
    ends: list[Ints] = []
    for end in (origin, destination):
        area = end[move]
        repeat = parts[area]
        within = np.arange(repeat.sum()) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        row = by_area[np.repeat(first[area], repeat) + within]
        entry = np.repeat(np.arange(move.size), repeat)
        move, ends = move[entry], [e[entry] for e in ends]
        ends.append(row)
    count = count[move] * mapping.share[ends[0]] * mapping.share[ends[1]]
    left, reached = (mapping.district[row] for row in ends)
    inside = left == reached
    if inside.any():
        notes.append(
            Note(
                "events",
                "moves inside one district change no district's population and are left out",
                float(count[inside].sum()),
            )
        )
    far = ~inside
    place = (*(c[move][far] for c in cell), left[far], reached[far])
    return with_move_table(result, place, count[far])

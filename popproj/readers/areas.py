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
from popproj.readers.areafiles import COLUMNS, areas_table, read_area_table, read_lineage, tidy
from popproj.readers.flows import closing_gap, move_positions, with_move_table
from popproj.schema import UNASSIGNED, Fault, InputError, Note, describe

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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
        Columns old_area, new_area, share: where the people of areas that are no more live now.
    notes
        What was interpreted while reading.
    """

    table: pd.DataFrame
    lineage: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["old_area", "new_area", "share"])
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


# ---- from areas to districts ------------------------------------------------------------------


@dataclass(frozen=True)
class _Mapping:
    """Rows of area (position), district (position) and share, by district."""

    districts: NDArray[np.object_]
    area: Ints
    district: Ints
    share: Floats

    def sums(self, values: Floats) -> Floats:
        """Sum the last dim, areas, to districts; blank areas count as nothing."""
        total = np.zeros((*values.shape[:-1], len(self.districts)))
        if self.area.size:
            present, first = np.unique(self.district, return_index=True)
            parts = np.nan_to_num(values[..., self.area])
            parts *= self.share
            total[..., present] = np.add.reduceat(parts, first, axis=-1)
        # A slice without any figure is not known, rather than nobody.
        total[np.isnan(values).all(axis=-1)] = np.nan
        return total

    def marks(self, values: NDArray[Any]) -> NDArray[Any]:
        """Join the marks of a district's areas, bit by bit."""
        joined = np.zeros((*values.shape[:-1], len(self.districts)), dtype=values.dtype)
        if self.area.size:
            present, first = np.unique(self.district, return_index=True)
            of_rows = values[..., self.area]
            joined[..., present] = np.bitwise_or.reduceat(of_rows, first, axis=-1)
        return joined


def _mapping(rows: pd.DataFrame, areas: pd.Index) -> _Mapping:
    rows = rows[["area", "district", "share"]].copy()
    lost = areas[~areas.isin(rows["area"])]
    rows = pd.concat([rows, pd.DataFrame({"area": lost, "district": UNASSIGNED, "share": 1.0})])
    rows["district"] = rows["district"].replace("", UNASSIGNED)
    known = areas.get_indexer(pd.Index(rows["area"]))
    codes = sorted(set(rows["district"]) - {UNASSIGNED})
    if (known[rows["district"].to_numpy() == UNASSIGNED] >= 0).any():
        codes.append(UNASSIGNED)
    rows, known = rows[known >= 0], known[known >= 0]
    district = pd.Index(codes).get_indexer(pd.Index(rows["district"]))
    order = np.lexsort((known, district))
    return _Mapping(
        np.array(codes, dtype=object),
        known[order],
        district[order],
        rows["share"].to_numpy(dtype=float)[order],
    )


def assign(
    register: xr.Dataset, areas: Areas, *, at: datetime.date | np.datetime64 | None = None
) -> xr.Dataset:
    """Put a register of areas on districts.

    All years are counted in the districts of one day, so that a change of boundaries does not look
    like migration. An area divided between districts gives each its share of every cell. Areas
    whose figures are blank count as nothing: their people stand in the neighbour they were merged
    with. The adjustment is taken anew from the districts' books, so a town that is blank in one
    year and not in the next leaves no trace where the neighbour lies in the same district.

    Parameters
    ----------
    register
        Dataset with dim ``area`` (:func:`popproj.readers.register.read_register`).
    areas
        From :func:`read_areas`.
    at
        Day whose districts are taken. Default: the last day of the count.

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
    codes = register.indexes["area"]
    day = register["count_date"].to_numpy().max() if at is None else np.datetime64(at)
    rows = areas.on(day)
    if not len(areas.table):
        rows = areas_table([(code, code, 1.0) for code in codes])
    elif not codes.isin(rows["area"]).any():
        raise InputError(
            Fault(
                "areas",
                "the areas must be those of the population, and none is: "
                f"{rows['area'].iloc[0]!r} here, {codes[0]!r} there",
                'Name the column that holds the population\'s codes: columns = { area = "…" }.',
            )
        )
    mapping = _mapping(rows, codes)
    notes: list[Note] = list(areas.notes)

    result = register.drop_vars(
        [
            name
            for name, v in register.variables.items()
            if "area" in v.dims or "move" in v.dims or name == "adjustment"
        ]
    ).assign_coords(district=mapping.districts)
    for name, array in register.variables.items():
        if "area" not in array.dims or name in ("area", "adjustment"):
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
    result = result.assign_coords(_names(register, areas, rows, mapping, notes))
    moves = None
    if "move_count" in register:
        result, moves = _moves(register, result, mapping, notes)
    if "adjustment" in register:
        result["adjustment"] = closing_gap(result, moves)
    notes += _unassigned_notes(register, result, mapping)
    notes += _blank_notes(register, mapping)
    result.attrs["notes"] = tuple(dict.fromkeys((*register.attrs.get("notes", ()), *notes)))
    return describe(result)


def _moves(
    register: xr.Dataset, result: xr.Dataset, mapping: _Mapping, notes: list[Note]
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


def _names(
    register: xr.Dataset,
    areas: Areas,
    rows: pd.DataFrame,
    mapping: _Mapping,
    notes: list[Note],
) -> dict[str, Any]:
    """Coordinates that name the districts and their wards."""
    codes = register.indexes["area"]
    given = rows[rows["district_name"] != ""].groupby("district")["district_name"]
    several = given.nunique()
    if (several > 1).any():
        code = several.index[several > 1][0]
        names = ", ".join(given.get_group(code).unique()[:3])
        notes.append(
            Note(
                "areas",
                "districts with more than one name: the first is taken",
                int((several > 1).sum()),
                f"{code}: {names}",
            )
        )
    districts = pd.Index(mapping.districts)
    name = given.first().reindex(districts)
    if not len(areas.table) and "area_name" in register.coords:
        name = pd.Series(register["area_name"].to_numpy().astype(object), codes).reindex(districts)
    name = name.where(name.notna() & (name != ""), districts.to_series())
    coords = {"district_name": ("district", name.to_numpy(object))}
    wards = _wards(register, rows)
    if wards is None:
        return coords
    # The ward with most people at the last count.
    latest = int(np.argmax(register["time"].to_numpy()))
    people = np.nan_to_num(register["population"].isel(time=latest).to_numpy())
    people = people.sum(axis=tuple(range(people.ndim - 1)))
    frame = pd.DataFrame(
        {
            "district": mapping.district,
            "ward": wards["ward"].to_numpy()[mapping.area],
            # Without people the areas themselves are counted.
            "people": people[mapping.area] * mapping.share + 1e-6,
        }
    )
    frame = frame[(frame["ward"] != "") & (districts[frame["district"]] != UNASSIGNED)]
    sums = frame.groupby(["district", "ward"])["people"].sum().reset_index()
    sums = sums.sort_values(["district", "people", "ward"], ascending=[True, False, True])
    most = sums.drop_duplicates("district").set_index("district")["ward"]
    ward = most.reindex(range(len(districts))).fillna("").to_numpy(object)
    double = sums[sums.duplicated("district")]
    if len(double):
        first = int(double["district"].iloc[0])
        notes.append(
            Note(
                "areas",
                "districts in more than one ward: counted in the ward where most of their people"
                " live; people in the other wards",
                round(float(double["people"].sum())),
                f"{districts[first]}: {', '.join(sums.loc[sums['district'] == first, 'ward'])}",
            )
        )
    titles = wards[wards["ward"] != ""].drop_duplicates("ward").set_index("ward")["ward_name"]
    coords["ward"] = ("district", ward)
    coords["ward_name"] = ("district", titles.reindex(ward).fillna("").to_numpy(object))
    return coords


def _wards(register: xr.Dataset, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Ward of each area of the register: the areas' table first, then what the register says."""
    codes = register.indexes["area"]
    table = rows.drop_duplicates("area").set_index("area").reindex(codes)
    found = pd.DataFrame({c: table[c].fillna("").astype(object) for c in ("ward", "ward_name")})
    for name in ("ward", "ward_name"):
        if name in register.coords and register[name].dims == ("area",):
            own = pd.Series(register[name].to_numpy().astype(object), codes)
            found[name] = found[name].where(found[name] != "", own)
    return found if (found["ward"] != "").any() else None


def _unassigned_notes(register: xr.Dataset, result: xr.Dataset, mapping: _Mapping) -> list[Note]:
    """How many people have no district, when, and where most of them live."""
    if UNASSIGNED not in mapping.districts:
        return []
    lost = mapping.district == len(mapping.districts) - 1
    people = result["population"].to_numpy()
    people = np.nan_to_num(people).sum(axis=(1, 2))
    days = [str(d)[:10] for d in result["count_date"].to_numpy()]
    each = ", ".join(
        f"{day} {row[-1]:,.0f} ({row[-1] / max(row.sum(), 1):.2%})"
        for day, row in zip(days, people, strict=True)
    )
    latest = int(np.argmax(result["time"].to_numpy()))
    there = np.nan_to_num(register["population"].isel(time=latest).to_numpy()).sum(axis=(0, 1))
    weight = there[mapping.area] * mapping.share * lost
    top = [i for i in np.argsort(-weight, kind="stable")[:3] if weight[i] > 0]
    names = register["area_name" if "area_name" in register.coords else "area"].to_numpy()
    most = ", ".join(f"{names[mapping.area[i]]} {weight[i]:,.0f}" for i in top)
    return [
        Note(
            "areas",
            f"people in areas without a district stand in {UNASSIGNED!r}: {each}",
            float(people[latest, -1]),
            most,
        )
    ]


def _blank_notes(register: xr.Dataset, mapping: _Mapping) -> list[Note]:
    """Districts of which no area has figures at a count where others have."""
    blank = np.isnan(register["population"].to_numpy()).all(axis=(1, 2))
    some = mapping.area.size > 0 and not blank.all()
    if not some:
        return []
    count = len(mapping.districts)
    known = np.array([np.bincount(mapping.district, ~b[mapping.area], count) for b in blank])
    has_areas = np.bincount(mapping.district, minlength=count) > 0
    empty = (known == 0) & has_areas & ~blank.all(axis=1, keepdims=True)
    if not empty.any():
        return []
    t, d = np.argwhere(empty)[0]
    day = str(register["count_date"].to_numpy()[t])[:10]
    return [
        Note(
            "areas",
            "districts whose areas are all blank at a count: counted as nobody there",
            int(empty.sum()),
            f"{mapping.districts[d]} on {day}",
        )
    ]

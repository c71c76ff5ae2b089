"""The register of a city: residents at each count, and the events between the counts.

:func:`read_register` is the door of everything that is known about the past; :func:`books` says how
well it adds up.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.config import City, WardEventsTable
from popproj.readers.areas import read_areas
from popproj.readers.cells import (
    AGE,
    COUNT,
    DATE,
    MONTH,
    SEX,
    YEAR,
    Parsed,
    Parser,
    column,
    normal,
    parse,
    parse_age,
    parse_code,
    row_faults,
    row_notes,
    tell,
)
from popproj.readers.events import (
    TOTALS,
    completed_years,
    read_events,
    without_values,
)
from popproj.readers.flows import add_flows, positions
from popproj.readers.stocks import read_stocks
from popproj.readers.tables import ALIASES, open_files, open_table
from popproj.schema import (
    SEXES,
    Fault,
    InputError,
    Note,
    describe,
    time_coordinate,
    with_notes,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def read_register(city: City) -> xr.Dataset:
    """Read everything that city.toml says about the past.

    Parameters
    ----------
    city
        From ``popproj.load_city``.

    Returns
    -------
    Dataset
        On dim ``area``, the source's own:

        ``population`` (time, sex, age, area) [people]
            Residents at the close of each ``count_date``; NaN where the source is blank.
        ``population_by_sex``, ``ward_population``
            Margins to split it by, where the source has them.
        ``births`` (year, sex, area), ``births_by_mother`` (year, age, area), ``deaths``,
        ``in_migrants``, ``out_migrants``, ``adjustment`` (year, sex, age, area) [people]
            Where there are events: flows of the years with counts at both ends, labelled by the
            age reached at the end of the year, births by mother by her age at the birth. Kinds of
            events that do not occur have no variable.
        ``move_count`` (move) [people]
            Moves between areas, with coordinates ``move_year``, ``move_sex``, ``move_age``,
            ``move_origin``, ``move_destination``.
        ``ward_births``, ``ward_deaths`` (ward_year, ward_margin) [people]
            Yearly totals of wards; the attribute ``year_starts`` says when their years start.

        ``attrs``: ``open_age``, up to which single years are wanted; ``year_starts`` of the
        events; ``notes``, what was interpreted.

    Raises
    ------
    InputError
        With every fault of the tables of residents, and then of those of events. About records of
        persons a message tells row and column, and never a value.

    Notes
    -----
    The books close in every cell: ``population(t+1, a) = population(t, a−1) − deaths − out + in −
    moves out + moves in + adjustment``. The adjustment holds the corrections that the register
    tells itself, and whatever else does not close: what counts by age at the event lose when they
    are split over the two Lexis triangles, events that came in late, kinds that the files lack.
    """
    register = _residents_and_counts(city)
    if city.events:
        register = _with_events(register, city)
    if city.ward_events:
        register = _with_ward_events(register, city)
    # stocks alone can be split up to the open age; events keep to the ages they were counted by
    open_age = int(register["age"].to_numpy()[-1]) if city.events else city.open_age
    return describe(register.assign_attrs(open_age=open_age))


# ---- residents --------------------------------------------------------------------------------


def _residents_and_counts(city: City) -> xr.Dataset:
    """Counts of residents and counted records, on one axis of time and one of areas."""
    faults: list[Fault] = []
    parts = []
    for given, read in ((city.population, read_stocks), (city.residents, read_residents)):
        if given:
            try:
                parts.append(read(city))
            except InputError as error:
                faults += error.faults
    if faults:
        raise InputError(faults)
    if len(parts) == 1:
        return parts[0].sortby("time")
    counts, records = parts
    both = np.intersect1d(counts["count_date"], records["count_date"])
    if both.size:
        faults.append(
            Fault(
                "population and residents",
                "each day of the count must come from one of them, and some come from both",
                "Keep the days that you want with dates = […] in [population].",
                broken=both.size,
                first=str(both[0])[:10],
                unit="days",
            )
        )
    for dim in ("sex", "age"):
        if not np.array_equal(counts[dim], records[dim]):
            faults.append(
                Fault(
                    "population and residents",
                    f"both must have the same {dim} labels, and have {_few(counts[dim])} and"
                    f" {_few(records[dim])}",
                    "Give the population by sex and single years, or leave one of the two out.",
                )
            )
    if faults:
        raise InputError(faults)
    codes = counts.indexes["area"].union(records.indexes["area"], sort=False)
    counts = counts.reindex(area=codes)
    # A record that is not there is nobody; a row that is not there is not known.
    people = records["population"].reindex(area=codes, fill_value=0.0)
    days = np.concatenate([counts["count_date"], records["count_date"]])
    time = time_coordinate(days)
    register = counts.drop_vars("count_date").reindex(time=time["time"])
    register = register.assign_coords(count_date=time["count_date"])
    register["population"] = xr.concat(
        [
            counts["population"].drop_vars(["count_date", "listed"]),
            people.drop_vars("count_date"),
        ],
        dim="time",
    ).transpose("time", "sex", "age", "area")
    return with_notes(register, records.attrs["notes"]).sortby("time")


def _few(labels: xr.DataArray) -> str:
    values = labels.to_numpy().tolist()
    return ", ".join(map(str, values if len(values) < 4 else [*values[:2], "…", values[-1]]))


def read_residents(city: City) -> xr.Dataset:
    """Count the anonymised records of residents.

    Parameters
    ----------
    city
        Its ``residents`` tables hold one row a resident and day of the count.

    Returns
    -------
    Dataset
        ``population`` (time, sex, age, area) [people]: completed years at the close of the day
        (:func:`popproj.readers.events.completed_years`); a month of birth counts as its 15th.

    Raises
    ------
    InputError
        With every fault, told by row and column.
    """
    faults: list[Fault] = []
    notes: list[Note] = []
    parts = []
    need: list[str | tuple[str, ...]] = ["date", "area", "sex"]
    need.append(("birth_date", "birth_month", "age"))
    for table in city.residents:
        told: list[Fault] = []
        # One file at a time: the records of several years need not stand in memory together.
        for frame in open_files(table, city.folder, need=need, faults=told):
            notes += without_values(frame.attrs["notes"])
            parts.append(_count_residents(frame, city.open_age, faults, notes))
        faults += without_values(told)
    if faults:
        raise InputError(faults)
    counts = pd.concat(parts, ignore_index=True)
    dates, day = np.unique(counts["day"].to_numpy(), return_inverse=True)
    codes, place = np.unique(counts["area"].to_numpy(str), return_inverse=True)
    people = np.zeros((dates.size, len(SEXES), city.open_age + 1, codes.size))
    cell = (day, counts["sex"].to_numpy(), counts["age"].to_numpy(), place)
    np.add.at(people, cell, counts["count"].to_numpy())
    return xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people)},
        coords={
            **time_coordinate(dates),
            "sex": list(SEXES),
            "age": np.arange(city.open_age + 1),
            "area": codes.astype(object),
        },
        attrs={"notes": tuple(notes)},
    )


def _count_residents(
    frame: pd.DataFrame, open_age: int, faults: list[Fault], notes: list[Note]
) -> pd.DataFrame:
    """Residents of one file by day, area, sex and age."""
    # Without the columns themselves: a message about a record must not show what stands in it.
    places = frame[["_file", "_row"]]
    before = len(faults)

    def read(name: str, parser: Parser, required: bool = True) -> Parsed:
        parsed = parse(frame[name], parser)
        tell(places, name, parser, parsed, faults, notes, required=required)
        return parsed

    day = read("date", DATE)
    sex = read("sex", SEX)
    is_total = (sex.distinct == "total")[sex.codes]
    faults += row_faults(places, "sex", is_total, "must be female or male", "Take totals out.")
    area, names = pd.factorize(frame["area"])
    codes = parse_code(pd.Series(names))
    faults += row_faults(places, "area", (codes == "")[area], "must be given", "Fill it in.")
    told = next(name for name in ("birth_date", "birth_month", "age") if name in frame)
    if told == "age":
        blank = read("age", AGE, required=False).blank
        age, width, _ = parse_age(frame["age"])
        broken = (age < -1) | ((age >= 0) & (age < open_age) & (width != 1))
        rule, remedy = "must be a single year", "Write completed years, the last as 100+."
        faults += row_faults(places, "age", broken, rule, remedy)
        blank |= age == -1
    else:
        birth = read(told, DATE if told == "birth_date" else MONTH, required=False)
        born, blank, at = birth.values, birth.blank, day.values
        rule, remedy = "must not be later than the count", "Correct the register's export."
        faults += row_faults(places, told, born > at, rule, remedy)
        if told == "birth_month":
            born = born + np.timedelta64(14, "D")
        age = completed_years(np.where(np.isnat(born), at, born), at)
    if blank.any():
        what = "residents of unknown age cannot be placed and are left out"
        notes += row_notes(places, told, blank, what)
    if len(faults) > before:
        return pd.DataFrame()
    days, areas = day.distinct, np.unique(codes)
    sexes = positions(np.array(SEXES, dtype=object), sex.distinct)
    shape = (len(days), len(areas), len(SEXES), open_age + 1)
    cell = (day.codes, np.searchsorted(areas, codes)[area], sexes[sex.codes], age.clip(0, open_age))
    count = np.bincount(np.ravel_multi_index(cell, shape)[~blank], minlength=int(np.prod(shape)))
    some = np.flatnonzero(count)
    d, a, s, x = np.unravel_index(some, shape)
    return pd.DataFrame(
        {"day": days[d], "area": areas[a], "sex": s, "age": x, "count": count[some]}
    )


# ---- events -----------------------------------------------------------------------------------


def _with_events(register: xr.Dataset, city: City) -> xr.Dataset:
    widths = register["age_width"].to_numpy() if "age_width" in register.coords else None
    if widths is not None and (widths[:-1] != 1).any():
        raise InputError(
            Fault(
                "events",
                "events need the population by single years, and it has age groups",
                "Give the population by single years, or leave the events out.",
            )
        )
    codes = register.indexes["area"]
    known = codes
    if city.areas is not None:
        # Towns where nobody lives at any count have events all the same.
        known = codes.union(pd.Index(read_areas(city).table["area"].unique()), sort=False)
    events, notes = read_events(
        city.events,
        city.folder,
        areas=known.to_numpy(dtype=object),
        sexes=tuple(register["sex"].to_numpy().tolist()),
        open_age=int(register["age"].to_numpy()[-1]),
    )
    kept = np.arange(len(known)) < len(codes)
    kept[events.area] = kept[events.other[events.other >= 0]] = True
    if kept.sum() > len(codes):
        more = known[kept][len(codes) :]
        what = "areas with events that the population does not have: nobody lives there at a count"
        notes.append(Note("events", what, len(more), str(more[0])))
        register = register.reindex(area=known[kept])
        register["population"][..., len(codes) :] = 0.0
        for name in ("area_name", "ward", "ward_name"):
            if name in register.coords and register[name].dims == ("area",):
                register[name] = register[name].fillna("")
        place = np.cumsum(kept) - 1
        events = replace(
            events,
            area=place[events.area],
            other=np.where(events.other < 0, -1, place[events.other]),
        )
    register = with_notes(register.assign_attrs(year_starts=city.events[0].year_starts), notes)
    return add_flows(register, events)


def _with_ward_events(register: xr.Dataset, city: City) -> xr.Dataset:
    """Yearly births and deaths of wards, under the codes that the areas have for their wards."""
    faults: list[Fault] = []
    notes: list[Note] = []
    wards = _known_wards(register, city)
    parts = []
    for table in city.ward_events:
        try:
            parts += _read_ward_events(table, city, wards, faults, notes)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    found = pd.concat(parts, ignore_index=True)
    for name, rows in found.groupby("kind"):
        if rows["year_starts"].nunique() > 1 or rows.duplicated(["ward", "year"]).any():
            rule = f"{name} of a ward and year must stand once, in years that start on one day"
            faults.append(Fault("ward_events", rule, "Keep one of the tables."))
    if faults:
        raise InputError(faults)
    codes = register.indexes["ward_margin"] if "ward_margin" in register.indexes else pd.Index([])
    codes = codes.union(pd.Index(found["ward"].unique(), dtype=object), sort=False)
    years = np.unique(found["year"].to_numpy())
    if "ward_margin" in register.dims:
        register = register.reindex(ward_margin=codes)
    register = register.assign_coords(ward_year=years, ward_margin=codes.to_numpy(object))
    for name, rows in found.groupby("kind"):
        values = np.full((years.size, len(codes)), np.nan)
        ward = positions(codes.to_numpy(object), rows["ward"].to_numpy(object))
        values[np.searchsorted(years, rows["year"]), ward] = rows["count"]
        starts = {"year_starts": rows["year_starts"].iloc[0]}
        register[f"ward_{name}"] = (("ward_year", "ward_margin"), values, starts)
    return with_notes(register, notes)


def _known_wards(register: xr.Dataset, city: City) -> dict[str, str]:
    """Code of each ward by its code and by its name, as the areas have them."""
    pairs: list[tuple[str, str]] = []
    if city.areas is not None:
        table = read_areas(city).table
        pairs += zip(table["ward"], table["ward_name"], strict=True)
    for dim in ("area", "ward_margin"):
        code, name = ("ward", "ward_name") if dim == "area" else (dim, f"{dim}_name")
        if code in register.coords and register[code].dims == (dim,):
            codes = register[code].to_numpy().tolist()
            has_name = name in register.coords and register[name].dims == (dim,)
            pairs += zip(codes, register[name].to_numpy() if has_name else codes, strict=True)
    known: dict[str, str] = {}
    for code, name in dict.fromkeys(pairs):
        if code:
            word = normal(name)
            for key in (normal(code), word, word.removesuffix("区")):
                known.setdefault(key, code)
    return known


def _read_ward_events(
    table: WardEventsTable,
    city: City,
    wards: dict[str, str],
    faults: list[Fault],
    notes: list[Note],
) -> list[pd.DataFrame]:
    """Counts by kind, ward and year, memo rows and totals left out."""
    aliases = {**ALIASES, "ward": (*ALIASES["ward"], *ALIASES["ward_name"])}
    frame = open_table(table, city.folder, aliases, ["ward", "year", ("births", "deaths")])
    notes += frame.attrs["notes"]
    year = column(frame, "year", YEAR, faults, notes)
    code, distinct = pd.factorize(frame["ward"])
    words = [normal(text).strip("*") for text in distinct]
    totals = {normal(city.name), f"{normal(city.name)}計", *TOTALS, "全市", "市", "市計", "全区"}
    memo = np.array(["再掲" in word for word in words])[code]
    total = np.array([word in totals for word in words])[code]
    notes += row_notes(frame, "ward", memo, "memo rows are part of other wards and are left out")
    notes += row_notes(frame, "ward", total, "rows for the whole city are left out")
    own = [wards.get(word, wards.get(word.removesuffix("区"), "")) for word in words]
    # Where nobody else names wards, the table's own names serve.
    ward = np.array(own if wards else parse_code(pd.Series(distinct)), dtype=object)[code]
    rows = ~memo & ~total
    faults += row_faults(
        frame,
        "ward",
        rows & (ward == ""),
        "must be a ward of the areas, by code or name",
        f"The wards are {', '.join(dict.fromkeys(wards.values()))}: correct it, or name the wards"
        " in the areas table.",
    )
    found = []
    for kind in ("births", "deaths"):
        if kind not in frame:
            continue
        count = column(frame, kind, COUNT, faults, notes, required=False)
        part = pd.DataFrame(
            {
                "kind": kind,
                "ward": ward,
                "year": year,
                "count": count,
                "year_starts": table.year_starts,
            }
        )
        found.append(part[rows])
    return found

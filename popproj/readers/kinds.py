"""Which table of the contract a file is, told by its columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from popproj.config import (
    AreasTable,
    DevelopmentsTable,
    EnrolmentTable,
    EventsTable,
    FacilitiesTable,
    FertilityFile,
    LifeTableFile,
    LineageTable,
    PopulationTable,
    ResidentsTable,
    Table,
    WardEventsTable,
)
from popproj.readers.cells import normal
from popproj.readers.headers import Header, read_header
from popproj.readers.tables import ALIASES, STAND_INS, find_columns


@dataclass(frozen=True)
class Kind:
    """A table of the contract, and how it is told from others.

    Parameters
    ----------
    section, table
        Of city.toml.
    fits
        Whether a file with these columns may be one.
    signs
        Columns that tell it.
    """

    section: str
    table: type[Table]
    fits: Callable[[Collection[str], Header], bool]
    signs: tuple[str, ...]


def _has(*names: str | tuple[str, ...]) -> Callable[[Collection[str], Header], bool]:
    def fits(found: Collection[str], _: Header) -> bool:
        return all(
            name in found if isinstance(name, str) else any(n in found for n in name)
            for name in names
        )

    return fits


def _counts(found: Collection[str], header: Header) -> bool:
    return header.is_wide or ("age" in found and ("count" in found or header.has_sexes))


_AREA = ("area", "area_name")
_WARD = ("ward", "ward_name")
KINDS = (
    Kind("lineage", LineageTable, _has("old_area", "new_area"), ("old_area", "new_area")),
    Kind(
        "areas", AreasTable,
        lambda found, header: "area" in found and not header.is_wide
        and bool({"district", "district_name"} & set(found))
        and "age" not in found and "count" not in found,
        ("area", "district", "district_name"),
    ),
    Kind("facilities", FacilitiesTable, _has("lat", "lon"), ("lat", "lon")),
    Kind("life_table", LifeTableFile, _has("age", "mx"), ("age", "mx")),
    Kind("fertility", FertilityFile, _has("age", "asfr"), ("age", "asfr")),
    Kind(
        "events",
        EventsTable,
        _has("kind", ("year", "date"), "area", ("count", "birth_date")),
        ("kind", "year", "date", "count", "birth_date"),
    ),
    Kind(
        "ward_events",
        WardEventsTable,
        _has("ward", "year", ("births", "deaths")),
        ("ward", "year", "births", "deaths"),
    ),
    Kind(
        "residents",
        ResidentsTable,
        _has("area", "sex", ("birth_date", "birth_month")),
        ("area", "sex", "birth_date", "birth_month"),
    ),
    Kind(
        "population",
        PopulationTable,
        lambda found, header: _counts(found, header) and any(n in found for n in _AREA),
        ("area", "area_name", "age", "count"),
    ),
    Kind(
        "ward_population",
        PopulationTable,
        lambda found, header: _counts(found, header) and any(n in found for n in _WARD),
        ("ward", "ward_name", "age", "count"),
    ),
    Kind("enrolment", EnrolmentTable, _has("school", "grade", "pupils"), ("school", "grade")),
    Kind("developments", DevelopmentsTable, _has("units", ("area", "lat")), ("units",)),
    Kind("residents", ResidentsTable, _has("area", "sex", "age"), ("area", "sex", "age")),
)  # fmt: skip
"""Kinds of tables, the most particular ones first; the first that fits is taken."""


def recognise(frame: pd.DataFrame) -> tuple[Kind | None, dict[str, str], set[str]]:
    """Find which table of the contract a table of text is.

    Parameters
    ----------
    frame
        As ``files.read_frame`` gives it.

    Returns
    -------
    tuple
        The kind, or None; the file's column by the contract's name; and which of the kind's signs
        are there.

    Examples
    --------
    >>> frame = pd.DataFrame({"町コード": ["007"], "校区": ["北小"]})
    >>> kind, columns, _ = recognise(frame)
    >>> kind.section, columns
    ('areas', {'area': '町コード', 'district_name': '校区'})
    """
    given = [str(c) for c in frame.columns]
    header = read_header(given)
    for kind in KINDS:
        held = header.holds if kind.table is PopulationTable else set()
        names = {n: ALIASES.get(n, ()) for n in kind.table.names if n not in held}
        found, _ = find_columns("", given, names, {})
        _codes_not_names(found, frame, names)
        stood_in = {
            name
            for name, stand_ins in STAND_INS.items()
            if name in names and name not in found and set(stand_ins[:1]) & set(found)
        }
        there = {*found, *stood_in}
        if kind.fits(there, header):
            ordered = {n: found[n] for n in kind.table.names if n in found}
            return kind, ordered, there & set(kind.signs)
    return None, {}, set()


def _codes_not_names(
    found: dict[str, str], frame: pd.DataFrame, names: Mapping[str, Sequence[str]]
) -> None:
    """Where a column called ``ward`` holds names, and one called ``ward_cd`` codes, take those."""
    given = {normal(str(c)): str(c) for c in frame.columns}
    for code, name in (("area", "area_name"), ("ward", "ward_name"), ("district", "district_name")):
        if code not in found or _has_digits(frame[found[code]]):
            continue
        other = next((given[n] for a in names[code] if (n := normal(a)) in given), None)
        if other is not None and other != found[code] and _has_digits(frame[other]):
            if name in names and name not in found:
                found[name] = found[code]
            found[code] = other


def _has_digits(texts: pd.Series) -> bool:
    return bool(texts[texts != ""].head(50).str.contains(r"\d").mean() > 0.5)

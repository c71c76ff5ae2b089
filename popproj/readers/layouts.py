"""The shapes in which offices publish residents by area, sex and age, each read as a ``Block``.

Tidy tables are long, or wide by age, by sex or by both. 地域・年齢別人口, standard no. 04 of the
local governments' open data, is wide by both, in five variants that differ in their headers. Kobe's
町丁目別 1歳階級 workbooks have a sheet for each ward, with subtotals and withheld towns, and one
sheet of wards by sex.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popproj.config import PopulationTable
from popproj.readers.cells import (
    AGE,
    COUNT,
    DATE,
    SEX,
    UNKNOWN_AGE,
    Bools,
    Floats,
    Ints,
    column,
    normal,
    parse,
    parse_code,
    row_faults,
    tell,
)
from popproj.readers.cube import (
    ASK,
    SEX_ORDER,
    Block,
    Entries,
    Listing,
    Places,
    pivot,
    sum_by_ward,
)
from popproj.readers.files import HEAD, frame_of, read_frame, read_sheets, without_blanks
from popproj.readers.headers import (
    Group,
    Header,
    age_chain,
    date_in,
    find_chain,
    header_likeness,
    read_header,
    show_group,
)
from popproj.readers.tables import ALIASES, find_columns, named
from popproj.schema import Fault, InputError, Note

# ---- one table --------------------------------------------------------------------------------

_SUBTOTAL = re.compile(
    r"\*.*\*|[総合小]?計|総合計|総数|全[市町村区域体]|[区市町村]計"
    r"|.*(?:区|市|町|村|支所|出張所|本庁|本所)[総合小]?計"
)
_MUNICIPAL = {
    "全国地方公共団体コード", "都道府県コード又は市区町村コード", "市区町村コード", "市区町村名",
    "prefcode",
}  # fmt: skip


def read_tidy(path: Path, shown: str, table: PopulationTable, level: str = "area") -> Block:
    """One file of a tidy table, or of 地域・年齢別人口.

    Parameters
    ----------
    path, shown
        The file, and how it is called in messages.
    table
        Its section of city.toml.
    level
        ``area``, or ``ward`` for tables of wards.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    names = {name: ALIASES.get(name, ()) for name in table.names}
    known = {normal(word) for name in names for word in (name, *names[name])}
    known |= {normal(given) for given in table.columns.values()}
    frame = read_frame(
        path,
        sheet=table.sheet,
        skip_rows=table.skip_rows,
        encoding=table.encoding,
        delimiter=table.delimiter,
        is_header=lambda row: header_likeness(row, known),
    )
    return read_block(frame, shown, table, level=level)


def read_block(
    frame: pd.DataFrame,
    shown: str,
    table: PopulationTable,
    *,
    level: str = "area",
    date: datetime.date | None = None,
    is_merged: bool = False,
) -> Block:
    """Counts of a table of text: long, or wide by age, sex or both.

    Parameters
    ----------
    frame
        As ``files.read_frame`` gives it.
    shown
        How the file is called in messages.
    table
        Its section of city.toml.
    level
        ``area`` or ``ward``: whose counts these are.
    date
        Day of the count, where a title or a file name tells it.
    is_merged
        Whether withheld areas are merged into others, so that the areas make up the totals.

    Raises
    ------
    InputError
        With every fault of the table.
    """
    where = frame.attrs.get("where", shown)
    header = read_header([str(c) for c in frame.columns])
    frame = _named(frame, shown, where, table, header, level, date)
    faults: list[Fault] = []
    notes = list(frame.attrs["notes"])
    if header.numbered:
        last = show_group(max(group for _, group in header.cells))
        what = f"columns numbered from 1 were read as five-year groups 0-4 to {last}"
        notes.append(Note(where, what))
    day = column(frame, "date", DATE, faults, notes)
    places = _places(frame, level, where, notes)
    if header.is_wide:
        entries, margins = _wide(frame, header, where, faults, notes)
    else:
        entries, margins = _long(frame, header, faults, notes)
    chain = find_chain(where, entries.groups, faults, notes, is_long=not header.is_wide)
    if faults:
        raise InputError(faults)
    block = pivot(Listing(frame, where, day, places, entries, chain, margins, is_merged, notes))
    return sum_by_ward(block) if level == "ward" else block


def _named(
    frame: pd.DataFrame,
    shown: str,
    where: str,
    table: PopulationTable,
    header: Header,
    level: str,
    date: datetime.date | None,
) -> pd.DataFrame:
    """Give the table the contract's names; what holds people keeps the file's."""
    if header.twice:
        raise InputError(
            Fault(
                where,
                "each column of people must stand once",
                "Rename or remove the repeated ones.",
                broken=len(header.twice),
                first=header.twice[0],
                unit="columns",
            )
        )
    held = header.holds - set(table.columns)
    names = {name: ALIASES.get(name, ()) for name in table.names if name not in held}
    used = {name: words for name, words in names.items() if name not in table.fixed()}
    notes = list(frame.attrs.get("notes", ()))
    columns, _ = find_columns(where, [str(c) for c in frame.columns], used, table.columns)
    if "date" not in columns and table.date is None:
        if date is None and (date := date_in(shown)) is not None:
            notes.append(Note(where, f"the count date was taken from the file name: {date}"))
        if date is not None:
            frame = frame.assign(date=date.isoformat())
    frame.attrs["notes"] = tuple(notes)
    place: tuple[str, ...] = ("area",) if level == "area" else ("ward", "area")
    need: list[str | tuple[str, ...]] = ["date", place]
    if not header.is_wide:
        need += ["age"] if "sex" in held else ["sex", "age", "count"]
    return named(frame, shown, table, names, need)


def _places(frame: pd.DataFrame, level: str, where: str, notes: list[Note]) -> Places:
    """Where the people of each row live, and which rows are sums of others."""
    blank = np.full(len(frame), "", dtype=object)
    text = {
        name: _stripped(frame[name]) if name in frame else blank
        for name in ("area_name", "ward_name", "branch")
    }
    area, ward = (parse_code(frame[n]) if n in frame else blank for n in ("area", "ward"))
    name = text["area_name"]
    is_sum = np.zeros(len(frame), dtype=bool)
    label = blank.copy()
    for words in (text["branch"], text["ward_name"], name, area):
        matches = _matches(words, _SUBTOTAL)
        label[matches] = words[matches]
        is_sum |= matches
    if level == "ward":
        ward = ward if "ward" in frame else area
        area = ward + "|" + text["branch"] if "branch" in frame else ward
        name = text["ward_name"] if "ward_name" in frame else name
    else:
        nameless = (area == "") & (name != "") & ~is_sum
        if nameless.any():
            area = np.where(nameless, name, area)
            what = "rows without a code: the name serves as code"
            notes.append(Note(where, what, int(nameless.sum()), str(name[nameless][0])))
        if normal(frame.attrs["columns"].get("ward", "")) in _MUNICIPAL and len(set(ward)) == 1:
            ward = blank
        # A row without area, where others have one, is the whole city.
        is_sum |= area == ""
    if is_sum.all():
        is_sum = np.zeros(len(frame), dtype=bool)
        area = np.where(area == "", "city", area)
    return Places(area, name, ward, text["ward_name"], is_sum, label)


def _matches(texts: NDArray[np.object_], pattern: re.Pattern[str]) -> Bools:
    codes, distinct_texts = pd.factorize(texts)
    found = [pattern.fullmatch(normal(text)) is not None for text in distinct_texts]
    return np.asarray(np.array(found, dtype=bool)[codes])


def _stripped(texts: pd.Series) -> NDArray[np.object_]:
    codes, distinct_texts = pd.factorize(texts)
    return np.asarray(np.array([t.strip() for t in distinct_texts], dtype=object)[codes])


def _sex_codes(frame: pd.DataFrame, faults: list[Fault], notes: list[Note]) -> Ints | None:
    """Position of each row's sex in SEX_ORDER."""
    if "sex" not in frame:
        return None
    words = column(frame, "sex", SEX, faults, notes)
    return np.asarray(pd.Index(SEX_ORDER).get_indexer(pd.Index(words)), dtype=np.int64)


def _wide(
    frame: pd.DataFrame, header: Header, where: str, faults: list[Fault], notes: list[Note]
) -> tuple[Entries, dict[str, Floats]]:
    n = len(frame)
    sex_of_row = _sex_codes(frame, faults, notes)
    is_whole = sex_of_row is None and {sex for sex, _ in header.cells} == {"total"}
    if is_whole and not header.has_sexes:
        notes.append(Note(where, "no sex is given: counts were read as both sexes together"))
    columns = [(sex, group, name) for (sex, group), name in header.cells.items()]
    columns += [(sex, (UNKNOWN_AGE, 0), name) for sex, name in header.unknown.items()]
    parsed = parse(pd.concat([frame[name] for *_, name in columns], ignore_index=True), COUNT)
    by_cell = parsed.codes.reshape(len(columns), n)
    wrong = parsed.is_broken[by_cell]
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=0))[0])
        name = columns[int(np.flatnonzero(wrong[:, row])[0])][2]
        place = f'at row {int(frame["_row"].iloc[row]):,}, column {name}: "{frame[name].iloc[row]}"'
        total = int((~parsed.is_blank[by_cell]).sum())
        faults.append(
            Fault(
                where, f"count {COUNT.rule}", COUNT.remedy, int(wrong.sum()), total, place, "cells"
            )
        )
    for remark, at in parsed.remarks.items():
        cells = np.isin(by_cell, at)
        row = int(np.flatnonzero(cells.any(axis=0))[0])
        place = f"at row {int(frame['_row'].iloc[row]):,}"
        notes.append(Note(where, remark, int(cells.sum()), place))
    groups = tuple(dict.fromkeys(group for _, group, _ in columns))
    count = parsed.distinct[by_cell]
    blank = parsed.is_blank[by_cell]
    sexes = np.array([SEX_ORDER.index(sex) for sex, *_ in columns])
    margins = {
        sex: column(frame, name, COUNT, faults, notes, required=False)
        for sex, name in header.margins.items()
    }
    _check_margins(frame, header, groups, columns, count, blank, margins, faults)
    entries = Entries(
        row=np.tile(np.arange(n), len(columns)),
        sex=np.tile(sex_of_row, len(columns)) if sex_of_row is not None else np.repeat(sexes, n),
        group=np.repeat([groups.index(group) for _, group, _ in columns], n),
        groups=groups,
        count=count.ravel(),
        blank=blank.ravel(),
    )
    keep = is_whole and header.has_sexes
    return entries, {s: margins[s] for s in SEX_ORDER[:2]} if keep else {}


def _check_margins(
    frame: pd.DataFrame,
    header: Header,
    groups: Sequence[Group],
    columns: Sequence[tuple[str, Group, str]],
    count: Floats,
    blank: Bools,
    margins: Mapping[str, Floats],
    faults: list[Fault],
) -> None:
    """Totals that stand in the row must be the sums of its ages, and of the sexes."""
    chain = set(age_chain(groups)[0]) | {(UNKNOWN_AGE, 0)}
    counted = np.array([group in chain for _, group, _ in columns])
    of_sex = np.array([sex for sex, *_ in columns])
    sums: dict[str, Floats] = {}
    for sex in SEX_ORDER:
        here = counted & (of_sex == sex)
        if here.any():
            known = np.isfinite(count[here])
            # A withheld cell leaves the sum open; an empty one next to figures is nobody.
            closed = known.any(axis=0) & (known | blank[here]).all(axis=0)
            sums[sex] = np.where(closed, np.nansum(count[here], axis=0), np.nan)
    if {"female", "male"} <= set(sums) and "total" not in sums:
        sums["total"] = sums["female"] + sums["male"]
    for sex, given in margins.items():
        if sex in sums:
            _tell_sums(frame, header.margins[sex], given, sums[sex], "its ages", faults)
    if {*SEX_ORDER} <= set(margins) and not {"female", "male"} <= set(sums):
        both = margins["female"] + margins["male"]
        _tell_sums(frame, header.margins["total"], margins["total"], both, "the sexes", faults)


def _tell_sums(
    frame: pd.DataFrame, name: str, given: Floats, found: Floats, of: str, faults: list[Fault]
) -> None:
    with np.errstate(invalid="ignore"):
        wrong = np.abs(given - found) > 0.5
    for fault in row_faults(frame, name, wrong, f"must equal the sum of {of}", ASK):
        first = int(np.flatnonzero(wrong & (np.asarray(frame["_file"]) == fault.where))[0])
        faults.append(replace(fault, first=f"{fault.first}, the sum is {found[first]:,.10g}"))


def _long(
    frame: pd.DataFrame, header: Header, faults: list[Fault], notes: list[Note]
) -> tuple[Entries, dict[str, Floats]]:
    ages = parse(frame["age"], AGE)
    tell(frame, "age", AGE, ages, faults, notes)
    distinct_groups = [(int(a), int(b)) for a, b in ages.distinct]
    groups = tuple(dict.fromkeys(distinct_groups))
    group = np.array([groups.index(g) for g in distinct_groups], dtype=np.int64)[ages.codes]
    n = len(frame)
    if "sex" in frame:
        sexes = [_sex_codes(frame, faults, notes)]
        names = ["count"]
    else:
        sexes = [np.full(n, s) for s in range(2)]
        names = [header.margins["female"], header.margins["male"]]
    parsed = [parse(frame[name], COUNT) for name in names]
    for name, one in zip(names, parsed, strict=True):
        tell(frame, name, COUNT, one, faults, notes, required=False)
    count = [one.values for one in parsed]
    if "sex" not in frame and "total" in header.margins:
        total = column(frame, header.margins["total"], COUNT, faults, notes, required=False)
        name = header.margins["total"]
        _tell_sums(frame, name, total, count[0] + count[1], "the sexes", faults)
    entries = Entries(
        row=np.tile(np.arange(n), len(names)),
        sex=np.concatenate([s for s in sexes if s is not None]),
        group=np.tile(group, len(names)),
        groups=groups,
        count=np.concatenate(count),
        blank=np.concatenate([one.blank for one in parsed]),
    )
    return entries, {}


# ---- Kobe -------------------------------------------------------------------------------------


def read_kobe(path: Path, shown: str, table: PopulationTable) -> tuple[list[Block], list[Block]]:
    """One workbook 町丁目別 1歳階級 of Kobe: towns by single year, wards by sex and single year.

    Each sheet of towns must add up to its own subtotal, and the towns of each ward to the ward's
    figures, age by age: small towns are withheld by adding them to a neighbour, so nobody may be
    missing.

    Parameters
    ----------
    path, shown
        The file, and how it is called in messages.
    table
        Its section of city.toml.

    Returns
    -------
    tuple
        Blocks of towns, one a sheet, and of wards.

    Raises
    ------
    InputError
        With every fault of the workbook.
    """
    towns: list[Block] = []
    wards: list[Block] = []
    notes: list[Note] = []
    faults: list[Fault] = []
    for grid in read_sheets(path, sheet=table.sheet if table.sheet is not None else "*"):
        where = f"{shown}, sheet {grid.name}"
        top, level = kobe_header(grid.rows[:HEAD])
        if not level:
            what = "sheets without a column 町コード or 性別 were left out"
            notes.append(Note(where, what, 1, grid.name))
            continue
        title = date_in(" ".join(cell for row in grid.rows[:top] for cell in row))
        date = table.date or title or date_in(shown)
        source = "city.toml" if table.date else "the title" if title else "the file name"
        notes.append(Note(where, f"the count date was taken from {source}: {date}"))
        try:
            names = [cell.strip() for cell in grid.rows[top]]
            frame = frame_of(where, grid.rows[top + 1 :], names, top + 2)
            frame.attrs.update(where=where)
            frame = without_blanks(frame)
            block = read_block(frame, shown, table, level=level, date=date, is_merged=True)
        except InputError as error:
            faults += (replace(f, where=where) if f.where == shown else f for f in error.faults)
        else:
            (towns if level == "area" else wards).append(block)
            notes += (replace(n, where=where) for n in block.notes)
    if not towns and not faults:
        rule = "the workbook must have sheets of towns with a column 町コード, and has none"
        faults.append(Fault(shown, rule, 'Take out layout = "kobe", or name another file.'))
    faults += _check_wards(shown, towns, wards)
    if faults:
        raise InputError(faults)
    whole = _one_note_a_file(shown, notes)
    return [replace(b, notes=whole) for b in towns], [replace(b, notes=()) for b in wards]


def kobe_header(rows: Sequence[Sequence[str]]) -> tuple[int, str]:
    """Position of the row of names, and whether the sheet is one of towns or the one of wards."""
    for i, row in enumerate(rows):
        words = {normal(cell) for cell in row if cell}
        if words & {"町コード", "性別"}:
            return i, "area" if "町コード" in words else "ward"
    return -1, ""


def _check_wards(shown: str, towns: Sequence[Block], wards: Sequence[Block]) -> list[Fault]:
    """The towns of each ward must make up the ward's figures, age by age."""
    faults = []
    for table in wards:
        sums: dict[tuple[Any, str], Any] = {}
        for block in towns:
            if block.groups != table.groups:
                continue
            for date, people in zip(block.dates, np.nansum(block.people, axis=1), strict=True):
                codes, ward_of = np.unique(block.areas["ward"].to_numpy(str), return_inverse=True)
                for i, code in enumerate(codes):
                    key = (date, str(code))
                    sums[key] = sums.get(key, 0) + np.nansum(people[:, ward_of == i], axis=1)
        for d, date in enumerate(table.dates):
            for a, code in enumerate(table.areas["area"]):
                told = table.people[d, :, :, a].sum(axis=0)
                found = sums.get((date, str(code)))
                if found is not None and np.abs(told - found).max() > 0.5:
                    age = int(np.argmax(np.abs(told - found) > 0.5))
                    faults.append(
                        Fault(
                            shown,
                            f"the towns of ward {code} must make up the ward's figures",
                            "Look for missing or repeated rows on the ward's sheet.",
                            broken=int((np.abs(told - found) > 0.5).sum()),
                            total=len(told),
                            first=f"at age {show_group(table.groups[age])}: {told[age]:,.10g},"
                            f" the sum is {found[age]:,.10g}",
                            unit="ages",
                        )
                    )
    return faults


def _one_note_a_file(shown: str, notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes of the sheets of one file, the same ones put together."""
    together: dict[str, list[Note]] = {}
    for note in notes:
        together.setdefault(note.what, []).append(note)
    result = []
    for what, same in together.items():
        first = [same[0].where.removeprefix(f"{shown}, "), same[0].first]
        count = sum(n.count for n in same if n.count is not None)
        result.append(Note(shown, what, count or None, ", ".join(filter(None, first))))
    return tuple(result)

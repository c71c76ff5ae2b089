"""Events of a register, counted or recorded one by one: what the files say, checked at the door.

Records of persons stay in memory only as arrays of sexes, ages and places; a message about them
names row and column, and never a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popproj.config import EventsTable
from popproj.readers.cells import (
    AGE,
    ALL_AGES,
    DATE,
    MEMO,
    NUMBER,
    SEX,
    YEAR,
    Parser,
    normal,
    parse,
    parse_age,
    parse_code,
    row_faults,
    row_notes,
)
from popproj.readers.flows import (
    BIRTH,
    DEATH,
    IN,
    MOVE,
    OTHER,
    OUT,
    Bools,
    Events,
    Ints,
    positions,
)
from popproj.readers.tables import open_table
from popproj.schema import EVENT_KINDS, SEXES, Fault, InputError, Note

_REMOVED = 10
_KINDS = {
    **dict.fromkeys(("birth", "births", "出生", "出生数"), BIRTH),
    **dict.fromkeys(("death", "deaths", "死亡", "死亡数"), DEATH),
    **dict.fromkeys(("in", "転入", "転入数", "市外転入", "市外から転入", "国外転入"), IN),
    **dict.fromkeys(("out", "転出", "転出数", "市外転出", "市外へ転出", "国外転出"), OUT),
    **dict.fromkeys(("move", "moves", "転居", "転居数", "市内転居", "市内移動"), MOVE),
    **dict.fromkeys(("other", "その他", "職権", "職権記載", "職権回復", "その他増"), OTHER),
    **dict.fromkeys(("職権消除", "その他減"), OTHER + _REMOVED),
}
"""Kinds as offices write them; what takes people out of the register by a correction is marked."""

TOTALS = frozenset({"計", "総数", "合計", "総計", "total", "all"})


@dataclass
class _Sheet:
    """A table being read: its rows that still count, and what is wrong with it."""

    frame: pd.DataFrame
    private: bool
    faults: list[Fault]
    notes: list[Note]
    rows: Bools

    def column(self, name: str, parser: Parser, required: bool = True) -> NDArray[Any]:
        """Parse a column; of personal records, messages tell the place and never the value."""
        parsed = parse(self.frame[name], parser)
        broken = parsed.broken | (parsed.blank & self.rows if required else False)
        self.fault(name, broken, parser.rule, parser.remedy)
        for remark, at in parsed.remarks.items():
            self.note(name, np.isin(parsed.codes, at), remark)
        return parsed.values

    def fault(self, name: str, broken: Bools, rule: str, remedy: str, show: bool = True) -> None:
        """Rows that break a rule; they count no longer."""
        if broken.any():
            self.faults += row_faults(self._shown(show), name, broken, rule, remedy)
            self.rows &= ~broken

    def note(self, name: str, there: Bools, what: str) -> None:
        """Rows in which something was interpreted."""
        if there.any():
            self.notes += row_notes(self._shown(True), name, there, what)

    def leave_out(self, name: str, there: Bools, what: str) -> None:
        """Rows that are no events."""
        self.note(name, there & self.rows, what)
        self.rows &= ~there

    def _shown(self, show: bool) -> pd.DataFrame:
        return self.frame[["_file", "_row"]] if self.private or not show else self.frame


_Told = TypeVar("_Told", Fault, Note)


def without_values(told: Iterable[_Told]) -> list[_Told]:
    """What is told about records of persons: where it stands, but nothing that stands there.

    Examples
    --------
    >>> fault = Fault("a.csv", "a day", "Columns: 1985-04-01, 女.", first='at row 7: "1985-13-01"')
    >>> print(*without_values([fault]))
    a.csv: a day, first at row 7. Columns: ….
    """
    hidden = []
    for item in told:
        changes: dict[str, Any] = {"first": item.first.split(': "')[0]}
        if isinstance(item, Fault) and re.search(r": .*\d", item.remedy):
            # Where a header is missing, its place is taken by the first person.
            changes["remedy"] = re.sub(r": .*", ": ….", item.remedy)
        hidden.append(replace(item, **changes))
    return hidden


def read_events(
    tables: Sequence[EventsTable],
    folder: Path,
    *,
    areas: NDArray[Any],
    sexes: Sequence[str],
    open_age: int,
) -> tuple[Events, list[Note]]:
    """Read all tables of events.

    Parameters
    ----------
    tables, folder
        ``City.events`` and ``City.folder``.
    areas
        Codes of the population's areas.
    sexes
        Sexes of the population; with ``("total",)`` the events of both are added up.
    open_age
        Lower bound of the open age [years].

    Returns
    -------
    Events
        Without moves inside one area, and without rows whose count is blank.
    list of Note
        What was interpreted or left out.

    Raises
    ------
    InputError
        With every fault of all tables: kinds, areas, sexes, ages, dates or counts that are none,
        negative counts but of corrections, rows that stand twice.
    """
    faults: list[Fault] = []
    notes: list[Note] = []
    parts = []
    starts = sorted({table.year_starts for table in tables})
    if len(starts) > 1:
        faults.append(
            Fault(
                "events",
                f"all events must be counted in the same years, and years start on"
                f" {' and '.join(starts)}",
                "Give one year_starts; where two calendars cannot be helped, use records.",
            )
        )
    for table in tables:
        need: list[str | tuple[str, ...]] = ["kind", "area"]
        need += ["sex"] if tuple(sexes) != ("total",) else []
        need += ["date"] if table.records else ["year", "count"]
        if table.kind != "birth":
            need.append("birth_date" if table.records else "age")
        try:
            frame = open_table(table, folder, need=need)
        except InputError as error:
            faults += without_values(error.faults) if table.records else error.faults
            continue
        read = frame.attrs["notes"]
        notes += without_values(read) if table.records else read
        sheet = _Sheet(frame, table.records, faults, notes, np.ones(len(frame), dtype=bool))
        parts.append(_read_table(table, sheet, areas, tuple(sexes), open_age))
    if faults:
        raise InputError(dict.fromkeys(faults))
    events = Events.concat(parts)
    if not events.count.size:
        told = "; ".join(f"{n.what} ({n.count:,.10g})" for n in notes if n.count)
        rule = f"at least one event must remain, and none does: {told}"
        raise InputError(Fault("events", rule, "Correct the tables, or take [events] out."))
    return events, notes


def _read_table(
    table: EventsTable, sheet: _Sheet, areas: NDArray[Any], sexes: tuple[str, ...], open_age: int
) -> Events:
    frame = sheet.frame
    kind, sign = _read_kind(table, sheet)
    sex = _read_sex(sheet, kind, sexes)
    if "nationality" in frame:
        word = parse(frame["nationality"], _WORD).values
        totals = np.isin(word, list(TOTALS))
        if not totals.all():
            sheet.leave_out("nationality", totals, "totals over nationalities were left out")
    area = _read_area(sheet, "area", areas, np.ones(len(frame), dtype=bool))
    other = np.full(len(frame), -1)
    if "other_area" in frame:
        other = _read_area(sheet, "other_area", areas, kind == MOVE)
    else:
        sheet.fault(
            "other_area",
            (kind == MOVE) & sheet.rows,
            "must be given for moves, and there is no such column",
            'Write columns = { other_area = "…" }: the area that a move goes to.',
        )
    if table.records:
        year, age, reached_at_end = _read_dates(table, sheet, kind, open_age)
        count = np.ones(len(frame))
    else:
        year = sheet.column("year", YEAR)
        age = _read_age(sheet, kind, open_age)
        reached_at_end = np.full(len(frame), table.age_at == "year_end")
        count = sheet.column("count", NUMBER, required=False)
        negative = (count < 0) & (kind != OTHER)
        remedy = "Count people as 0 or more; write departures as the kind out."
        sheet.fault("count", negative, "must not be negative, but of the kind other", remedy)
        blank = np.isnan(count)
        sheet.leave_out(
            "count", blank, "rows without a count were left out: the adjustment makes up for them"
        )
        _check_once(sheet, kind, year, area, other, age, open_age)
    # A removal counts against the register, however the file signs it.
    count = np.where(sign < 0, -np.abs(count), count)
    inside = (kind == MOVE) & (area == other) & sheet.rows
    if inside.any():
        what = "moves inside one area change nobody's area and are left out"
        sheet.notes.append(Note(str(frame["_file"].iloc[0]), what, float(count[inside].sum())))
    unknown = (age < 0) & (kind != BIRTH) & sheet.rows
    if unknown.any():
        what = "events at an unknown age are left out: the adjustment makes up for them"
        sheet.notes.append(Note(str(frame["_file"].iloc[0]), what, float(count[unknown].sum())))
    events = Events(kind, year, area, other, sex, age, reached_at_end, count)
    return events.take(sheet.rows & ~inside & ~unknown)


_WORD = Parser("", "", lambda text: text, "")


def _read_kind(table: EventsTable, sheet: _Sheet) -> tuple[Ints, Ints]:
    """Kind and, for corrections that take people out, a negative sign."""
    own = {normal(code): EVENT_KINDS.index(kind) for code, kind in table.kinds.items()}
    known = _KINDS | own
    parser = Parser(
        f"must be one of {', '.join(EVENT_KINDS)} (出生 死亡 転入 転出 転居 その他)",
        'Say what the file\'s own codes mean: [events] kinds = { "21" = "in" }.',
        known.get,
        -1,
        np.int64,
    )
    # What kind of event it was tells nobody who it was, and is needed to map the code.
    parsed = parse(sheet.frame["kind"], parser)
    broken = parsed.broken | parsed.blank
    if broken.any():
        sheet.faults += row_faults(sheet.frame, "kind", broken, parser.rule, parser.remedy)
        sheet.rows &= ~broken
    found = np.where(broken, OTHER, parsed.values)
    return found % _REMOVED, np.where(found >= _REMOVED, -1, 1)


def _read_sex(sheet: _Sheet, kind: Ints, sexes: tuple[str, ...]) -> Ints:
    """Position of the sex; rows for both sexes beside rows by sex are totals."""
    if "sex" not in sheet.frame:
        return np.zeros(len(sheet.frame), dtype=np.int64)
    word = sheet.column("sex", SEX, required=sexes != ("total",))
    sex = positions(np.array(SEXES, dtype=object), word)
    by_sex = np.bincount(kind[sheet.rows & (sex >= 0)], minlength=len(EVENT_KINDS)) > 0
    sheet.leave_out("sex", (sex < 0) & by_sex[kind], "totals over both sexes were left out")
    if sexes == ("total",):
        return np.zeros_like(sex)
    sheet.fault(
        "sex",
        (sex < 0) & sheet.rows,
        "must be female or male, as in the population",
        "Give the events by sex, or the population for both sexes together.",
    )
    return sex


def _read_area(sheet: _Sheet, name: str, areas: NDArray[Any], needed: Bools) -> Ints:
    """Position of the area, of rows that need one."""
    codes, distinct = pd.factorize(sheet.frame[name])
    clean = parse_code(pd.Series(distinct))
    found = positions(areas, clean)[codes]
    blank = (clean == "")[codes]
    needed = needed & sheet.rows
    sheet.fault(name, needed & blank, "must be given", "Fill it in, or leave the rows out.")
    broken = needed & ~blank & (found < 0)
    if broken.any():
        # The code of a town is no personal datum, and needed to find the fault.
        sheet.faults += row_faults(
            sheet.frame,
            name,
            broken,
            "must be an area of the population",
            "Correct the code, or add the area to the population or to the areas table.",
        )
        sheet.rows &= ~broken
    return np.where(needed, found, -1)


def _read_age(sheet: _Sheet, kind: Ints, open_age: int) -> Ints:
    """Single year, the open age, or -1 where it is not known."""
    frame = sheet.frame
    if "age" not in frame:
        return np.full(len(frame), -1)
    codes, distinct = pd.factorize(frame["age"])
    lower, width, broken = parse_age(pd.Series(distinct))
    lower, width = lower[codes], width[codes]
    sheet.fault("age", broken[codes], AGE.rule, AGE.remedy)
    whole = np.isin(lower, (ALL_AGES, MEMO))
    if not whole.all():
        sheet.leave_out("age", whole, "totals over ages and memo rows were left out")
    group = whole | ((lower >= 0) & (lower < open_age) & (width != 1))
    mothers = group & (kind == BIRTH)
    # Births by age groups of the mother are births all the same.
    lowest = mothers & (width == 0) & ~whole
    sheet.note("age", lowest & sheet.rows, "an open last age of mothers was read as its lowest")
    sheet.fault(
        "age",
        group & ~mothers & sheet.rows,
        f"must be a single year, or {open_age}+ as the population's last",
        "Give the events by single years of age.",
    )
    lower = np.where((mothers & ~lowest) | (lower < 0), -1, lower)
    return np.minimum(lower, open_age)


def _read_dates(
    table: EventsTable, sheet: _Sheet, kind: Ints, open_age: int
) -> tuple[Ints, Ints, Bools]:
    """Year of a record, and the age at the year's end, of mothers at the birth."""
    day = sheet.column("date", DATE)
    day = np.where(np.isnat(day), np.datetime64("1970-01-01"), day)
    start = np.datetime64(f"2001-{table.year_starts}")
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    year -= _month_day(day) < _month_day(start)
    labels, place = np.unique(year, return_inverse=True)
    ends = np.array([f"{y + 1:04d}-{table.year_starts}" for y in labels], dtype="datetime64[D]")
    last_day = ends[place] - 1
    age = np.full(len(day), -1)
    for column, rows, until in (
        ("birth_date", kind != BIRTH, last_day),
        ("mother_birth_date", kind == BIRTH, day),
    ):
        if column not in sheet.frame:
            continue
        # Of rows of the other kind the column is not looked at.
        given = sheet.frame[column].where(rows, "")
        parsed = parse(given, DATE)
        sheet.fault(column, parsed.broken, DATE.rule, DATE.remedy)
        born = parsed.values
        known = rows & ~np.isnat(born)
        sheet.fault(
            column,
            known & (born > day),
            "must not be later than the event",
            "Correct the date in the register's export.",
        )
        age[known] = completed_years(born[known], until[known])
    return year, np.minimum(age, open_age), kind != BIRTH


def completed_years(birth: NDArray[np.datetime64], day: NDArray[np.datetime64]) -> Ints:
    """Completed years of age at the close of a day: birthdays up to and with that day count.

    Who is born on 29 February completes a year on 1 March where there is no 29 February. Japanese
    law (年齢計算ニ関スル法律) lets a year of age be completed at the close of the day before the
    birthday; statistics of the register count by the birthday, and so does this.

    Parameters
    ----------
    birth, day
        Days, broadcast against each other.

    Examples
    --------
    >>> birth = np.array(["2010-04-01", "2010-04-02", "2012-02-29"], dtype="datetime64[D]")
    >>> completed_years(birth, np.datetime64("2017-04-01"))
    array([7, 6, 5])
    """
    years = day.astype("datetime64[Y]").astype(np.int64) - birth.astype("datetime64[Y]").astype(
        np.int64
    )
    return np.asarray(years - (_month_day(day) < _month_day(birth)), dtype=np.int64)


def _month_day(day: Any) -> Ints:
    month = day.astype("datetime64[M]")
    within = (day.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    return np.asarray(month.astype(np.int64) % 12 * 32 + within)


def _check_once(
    sheet: _Sheet, kind: Ints, year: Ints, area: Ints, other: Ints, age: Ints, open_age: int
) -> None:
    """Each cell of a table of counts stands once; by nationality, once for each."""
    frame = sheet.frame
    if "age" in frame:
        # Unknown ages, groups and all ages in the open one are told apart by what is written.
        single = (age >= 0) & (age < open_age)
        age = np.where(single, age, -1 - pd.factorize(frame["age"])[0])
    columns = [kind, year, area, other, age]
    columns += [pd.factorize(frame[c])[0] for c in ("sex", "nationality") if c in frame]
    key = np.zeros(len(frame), dtype=np.int64)
    for values in columns:
        low = values.min(initial=0)
        key = key * (values.max(initial=0) - low + 1) + (values - low)
    again = np.zeros(len(frame), dtype=bool)
    rows = np.flatnonzero(sheet.rows)
    again[rows] = pd.Series(key[rows]).duplicated().to_numpy()
    sheet.fault(
        "count",
        again,
        "must stand once for each year, kind, area, other_area, sex and age",
        "Add up the rows, or take the repeated ones out.",
    )

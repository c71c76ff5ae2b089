"""A first city.toml from a user's own files: what each holds, guessed and said line by line.

Nothing is guessed that the projection would silently depend on: what a file does not tell, such as
the day on which a year of events starts, is written as a commented line to fill in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from popproj.config import Language, language, toml_value
from popproj.readers.attributes import read_attributes
from popproj.readers.cells import DATE, normal, parse
from popproj.readers.files import find_encoding, is_workbook, read_bytes, read_frame, read_sheets
from popproj.readers.headers import Header, date_in, header_likeness, read_header, show_group
from popproj.readers.kinds import recognise
from popproj.readers.layouts import kobe_header
from popproj.readers.tables import ALIASES, distinct
from popproj.schema import Fault, InputError

_MAPS = {".geojson", ".gpkg", ".shp", ".json", ".fgb", ".gml", ".kml"}
_CODE_NAMES = {"code", "district", "district_code", "school_code", "school_id", "key_code", "id"}
_SIDE_FILES = {".dbf", ".shx", ".prj", ".cpg", ".sbn", ".sbx", ".qmd", ".xml"}
_ONE_TABLE_ONLY = {"areas", "lineage", "facilities", "life_table", "fertility", "enrolment",
                   "developments", "districts"}  # fmt: skip
_ORDER = ("population", "ward_population", "residents", "events", "ward_events", "areas",
          "lineage", "districts", "facilities", "life_table", "fertility", "enrolment",
          "developments")  # fmt: skip


@dataclass
class _Look:
    """What was seen in one file."""

    path: Path
    section: str = ""
    why: str = ""
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    ask: list[tuple[str, str]] = field(default_factory=list)
    incomplete: bool = False
    days: list[Any] = field(default_factory=list)
    city: str = ""
    districts: set[str] = field(default_factory=set)
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def signature(self) -> tuple[Any, ...]:
        """Files with the same one are written as one table."""
        keys = {k: v for k, (v, _) in self.keys.items() if k not in ("encoding", "delimiter")}
        named = tuple((k, v) for k, (v, _) in sorted(self.columns.items()))
        asked = tuple(key for key, _ in self.ask)
        return self.section, tuple(sorted(keys.items(), key=str)), named, asked


def guess(files: Sequence[Path], base: Path | None = None, lang: Language | None = None) -> str:
    """Write a commented city.toml for some files.

    Parameters
    ----------
    files
        Tables and maps, in any order.
    base
        Folder that the city.toml will lie in: names are written relative to it. Default: the
        current one.
    lang
        Language of the comments. Default: the system's.

    Returns
    -------
    str
        TOML. Each guess has its reason beside it; what has to be filled in is a commented line
        after "please fill in". It loads with ``popproj.load_city`` wherever a table of the
        population was recognised.

    Raises
    ------
    InputError
        Where files cannot be read: all of them at once.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pop.csv")
    ...     header, row = "調査日,町コード,性別,年齢,人数", "2025-03-31,007,女,0,12"
    ...     _ = path.write_text(chr(10).join([header, row]), encoding="cp932")
    ...     print(guess([path], base=Path(folder), lang="en"))  # doctest: +ELLIPSIS
    # Guessed by popproj from 1 file: read each line, correct what is wrong.
    ...
    [[population]]
    # has columns for area, age, count
    file = "pop.csv"
    # count dates: 2025-03-31
    # valid as cp932 (Shift_JIS) only
    encoding = "cp932"
    [population.columns]
    date = "調査日"  # for example 2025-03-31
    area = "町コード"  # for example 007
    sex = "性別"  # for example 女
    age = "年齢"  # for example 0
    count = "人数"  # for example 12
    <BLANKLINE>
    """
    say = _Words(lang or language())
    faults: list[Fault] = []
    looks = []
    for path in map(Path, files):
        try:
            if path.suffix.lower() not in _SIDE_FILES:
                looks.append(_look(path, say))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    _match_maps(looks, say)
    base = Path.cwd() if base is None else base
    return "\n".join(_write(looks, len(files), base, say)) + "\n"


class _Words:
    """One sentence in the language of the comments."""

    def __init__(self, lang: Language) -> None:
        self.is_japanese = lang == "ja"

    def __call__(self, english: str, japanese: str) -> str:
        return japanese if self.is_japanese else english


# ---- looking into one file --------------------------------------------------------------------


def _look(path: Path, say: _Words) -> _Look:
    if path.suffix.lower() in _MAPS:
        return _look_at_map(path, say)
    content = read_bytes(path)
    look = _Look(path)
    sheet: str | int | None = None
    if is_workbook(content):
        grids = read_sheets(path, content, "*")
        headers = [kobe_header(grid.rows[:30])[1] for grid in grids]
        if headers.count("area") > 1 or {"area", "ward"} <= set(headers):
            return _look_at_kobe(look, grids, headers, say)
        scores = [max(map(_likeness, grid.rows[:30]), default=0.0) for grid in grids]
        best = int(np.argmax(scores))
        sheet = grids[best].name
        if best > 0:
            why = say("the sheet whose header is recognised best", "見出しが最もよく分かったシート")
            look.keys["sheet"] = sheet, why
        title = " ".join(cell for row in grids[best].rows[:3] for cell in row if cell)
    else:
        title = ""
    frame = read_frame(path, sheet=sheet, is_header=_likeness)
    _tell_text(look, content, frame, say)
    rows_above = frame.attrs["header_row"] - 1
    if rows_above > 0:
        why = say("rows above the header", "見出しより上の行数")
        look.keys["skip_rows"] = rows_above, why
        if not title:
            title = content[:2000].decode(frame.attrs.get("encoding", "utf-8"), errors="ignore")
    header = read_header([str(c) for c in frame.columns])
    frame.columns = pd.Index(distinct([str(c) for c in frame.columns]), dtype=object)
    _recognise(look, frame, say)
    if look.section in ("population", "ward_population"):
        _tell_population(look, frame, header, title if rows_above > 0 else "", say)
    elif look.section == "residents" and not {"date"} & set(look.columns):
        _ask_for_day(look, say)
    elif look.section in ("events", "ward_events"):
        _tell_events(look, say)
    for column in frame.columns:
        if normal(str(column)) in _CITY_NAMES and frame[column].nunique() == 1:
            look.city = str(frame[column].iloc[0]).strip()
    return look


_CITY_NAMES = {"市区町村名", "地方公共団体名", "cityname"}


def _known_words() -> set[str]:
    return {normal(word) for name, words in ALIASES.items() for word in (name, *words)}


_KNOWN = _known_words()


def _likeness(row: Sequence[str]) -> float:
    return header_likeness(row, _KNOWN)


def _tell_text(look: _Look, content: bytes, frame: pd.DataFrame, say: _Words) -> None:
    if "encoding" not in frame.attrs:
        return
    encoding = find_encoding(content if not content.startswith(b"\x1f\x8b") else b"")
    encoding = frame.attrs["encoding"] or encoding
    reasons = {
        "utf-8-sig": say("starts with the mark of UTF-8", "先頭に UTF-8 の BOM がある"),
        "utf-16": say("starts with the mark of UTF-16", "先頭に UTF-16 の BOM がある"),
        "cp932": say("valid as cp932 (Shift_JIS) only", "cp932 (Shift_JIS) としてのみ読める"),
        "utf-8": say("valid as UTF-8", "UTF-8 として読める"),
    }
    look.keys["encoding"] = encoding, reasons[encoding]
    delimiter = frame.attrs["delimiter"]
    if delimiter != ",":
        why = say("splits most rows into the same cells", "ほとんどの行が同じ列数に分かれる")
        look.keys["delimiter"] = delimiter, why


def _look_at_kobe(look: _Look, grids: Sequence[Any], headers: Sequence[str], say: _Words) -> _Look:
    look.section = "population"
    towns = sum(level == "area" for level in headers)
    look.why = say(
        f"{towns} sheets have a column 町コード, one has 性別: Kobe's 町丁目別 1歳階級",
        f"町コードの列があるシートが{towns}、性別の列があるシートが1: 神戸市の町丁目別1歳階級",
    )
    look.keys["layout"] = (
        "kobe",
        say(
            "dates from the titles; columns, subtotals and withheld towns are known",
            "調査日は表題から。列・小計行・秘匿の町は既知",
        ),
    )
    for grid, level in zip(grids, headers, strict=True):
        if level:
            title = " ".join(cell for row in grid.rows[:2] for cell in row if cell)
            if day := date_in(title) or date_in(look.path.name):
                look.days = [day]
                break
    names = [cell for grid in grids[1:2] for row in grid.rows[:4] for cell in row]
    look.city = next((c.split("市")[0] + "市" for c in names if "市" in c and len(c) < 12), "")
    return look


_PRIVATE = {"residents", "events"}
"""Tables of persons: nothing that stands in them is repeated."""


def _recognise(look: _Look, frame: pd.DataFrame, say: _Words) -> None:
    kind, columns, signs = recognise(frame)
    if kind is None:
        shown = ", ".join(map(str, frame.columns[:8]))
        look.why = say(f"not recognised; its columns are {shown}", f"内容が不明。列は {shown}")
        return
    look.section = kind.section
    told = ", ".join(name for name in kind.signs if name in signs)
    look.why = say(f"has columns for {told}", f"{told} に当たる列がある")
    for name, column in columns.items():
        filled = frame.loc[frame[column] != "", column]
        if filled.empty:
            continue
        example = ""
        if kind.section not in _PRIVATE:
            value = str(filled.iloc[0])[:20]
            example = say(f"for example {value}", f"例: {value}")
        look.columns[name] = column, example
        if kind.section == "areas" and name in ("district", "district_name"):
            look.districts |= set(filled.str.strip())


def _tell_population(
    look: _Look, frame: pd.DataFrame, header: Header, title: str, say: _Words
) -> None:
    words = {normal(str(c)) for c in frame.columns}
    if words & {"調査年月日", "surveydate", "総人口", "totalpopulation"} and header.has_sexes:
        why = say("columns of 地域・年齢別人口", "地域・年齢別人口の列")
        look.keys["layout"] = "region_age", why
    if header.is_wide:
        groups = [group for _, group in header.cells]
        span = f"{show_group(min(groups))} … {show_group(max(groups))}"
        sexes = {sex for sex, _ in header.cells}
        split = say("by sex", "男女別") if "female" in sexes else say("both sexes", "男女計")
        look.why += say(
            f"; ages side by side: {span}, {split}{', numbered' if header.numbered else ''}",
            f"。年齢が横に並ぶ: {span}、{split}",
        )
        no_sex = sexes == {"total"} and "sex" not in look.columns
        if no_sex and not header.has_sexes:
            text = say(
                "female, male or total: no column tells whose counts these are; total is assumed",
                "female, male, total のいずれか。性別の列がないため計とみなす",
            )
            look.ask.append(('sex = "total"', text))
    elif "sex" not in look.columns and not header.has_sexes:
        text = say("female, male or total: no column holds the sex", "性別の列がない")
        look.ask.append(('sex = "total"', text))
    if "date" in look.columns:
        days = parse(frame[look.columns["date"][0]], DATE).values
        look.days = sorted({d.astype(object) for d in days if not np.isnat(d)})
    elif (day := date_in(title)) is not None:
        look.days = [day]
        why = say("from the title above the table", "表題から")
        look.keys["date"] = day, why
    elif (day := date_in(look.path.name)) is not None:
        look.days = [day]
        text = say(
            f"taken from the file name: {day}. Set another day here",
            f"ファイル名から {day} とみなす。違うときは指定する",
        )
        look.ask.append((f"date = {toml_value(day)}", text))
    else:
        _ask_for_day(look, say)


def _ask_for_day(look: _Look, say: _Words) -> None:
    text = say("day of the count: no column holds it", "調査日。列がない")
    look.ask.append(('date = "2025-03-31"', text))


def _tell_events(look: _Look, say: _Words) -> None:
    starts = say(
        "first day of the year of the events, month-day: 04-01 for fiscal years (年度)",
        "年の始まり(月-日)。年度は 04-01、暦年は 01-01",
    )
    if look.section == "ward_events":
        look.ask.append(('year_starts = "01-01"', starts))
        look.incomplete = True
        return
    is_record = "birth_date" in look.columns
    if is_record:
        why = say("there is a column of birth dates", "生年月日の列がある")
        look.keys["records"] = True, why
    look.ask.append(('year_starts = "04-01"', starts))
    if not is_record:
        text = say(
            "event: age when it happened; year_end: age at the end of that year",
            "event(異動時の年齢)または year_end(年末の年齢)",
        )
        look.ask.append(('age_at = "event"', text))
    look.incomplete = True


# ---- maps -------------------------------------------------------------------------------------


def _look_at_map(path: Path, say: _Words) -> _Look:
    """Find which attribute looks like a code, and which like a name."""
    look = _Look(path, section="districts")
    layer, table = read_attributes(path)
    look.attributes = table
    look.why = say("a file of polygons", "ポリゴンのファイル")
    if layer:
        look.keys["layer"] = layer, say("the only layer with attributes", "属性のあるレイヤ")
    unique = [
        name
        for name, values in table.items()
        if len(set(values)) == len(values) > 0 and all(v not in ("", "None") for v in values)
    ]
    schools = [
        name
        for name, values in table.items()
        if values and sum("校" in v or "school" in v.lower() for v in values) > len(values) / 2
    ]
    by_name = [n for n in table if n.lower() in _CODE_NAMES]
    compact = [n for n in unique if n not in schools and max(map(len, table[n])) <= 20]
    code = next((n for n in (*by_name, *compact, *unique) if n in unique), None)
    if code is None:
        shown = ", ".join(list(table)[:10]) or say("not readable here", "ここでは読めない")
        text = say(
            f"attribute with the district code; the attributes are {shown}",
            f"校区コードの属性名。属性は {shown}",
        )
        look.ask.append(('code = "…"', text))
        look.incomplete = True
    else:
        why = say("differs for every polygon", "すべてのポリゴンで異なる")
        look.keys["code"] = code, f"{why}: {table[code][0][:20]}"
    shorter = sorted(schools, key=lambda n: sum(map(len, table[n])))
    name = next((n for n in shorter if n != code), None)
    if name is not None:
        why = say("holds names of schools", "学校名が入っている")
        look.keys["name"] = name, f"{why}: {table[name][0][:20]}"
    return look


def _match_maps(looks: Sequence[_Look], say: _Words) -> None:
    """Where a table of areas names its districts, that attribute is the code which it names."""
    named = set().union(*(look.districts for look in looks))
    for look in looks:
        shared = {name: len(named & set(values)) for name, values in look.attributes.items()}
        best = max(shared, key=shared.__getitem__, default="")
        if not best or not shared[best]:
            continue
        text = say(
            f"holds {shared[best]:,} of the {len(named):,} codes and names of the areas",
            f"地域の表にある校区のコード・名称 {len(named):,} のうち {shared[best]:,} を含む",
        )
        look.keys = {"code": (best, text)} | {k: v for k, v in look.keys.items() if k != "code"}
        if look.keys.get("name", ("", ""))[0] == best:
            del look.keys["name"]
        look.ask, look.incomplete = [], False


# ---- writing ----------------------------------------------------------------------------------


def _write(looks: Sequence[_Look], n_files: int, base: Path, say: _Words) -> list[str]:
    plural = "file" if n_files == 1 else "files"
    lines = [
        "# "
        + say(
            f"Guessed by popproj from {n_files} {plural}: read each line, correct what is wrong.",
            f"popproj が {n_files} 個のファイルから推測した設定。各行を確かめて直すこと。",
        ),
        "# "
        + say(
            'Lines after "please fill in" have no guess. All keys: popproj init -o all.toml',
            "「記入」の行は推測できなかったもの。すべての項目: popproj init -o all.toml",
        ),
        "",
    ]
    city = next((look.city for look in looks if look.city), "")
    if city:
        lines += [f"name = {toml_value(city)}  # " + say("found in a file", "ファイルの記載から")]
    else:
        lines += ["# " + say("please fill in: name of the city", "記入: 市の名称"), 'name = "…"']
    groups: dict[tuple[Any, ...], list[_Look]] = {}
    for look in looks:
        groups.setdefault(look.signature(), []).append(look)
    written: set[str] = set()
    ordered = sorted(
        groups.values(),
        key=lambda g: _ORDER.index(g[0].section) if g[0].section else len(_ORDER),
    )
    for group in ordered:
        section = group[0].section
        if not section:
            lines += ["", *(f"# {_relative(one.path, base)}: {one.why}" for one in group)]
            continue
        second = section in written and section in _ONE_TABLE_ONLY
        lines += ["", *_section(group, base, second, say)]
        written.add(section)
    if not written & {"population", "residents"}:
        text = say("the table of the population", "人口の表")
        lines += ["", "# " + say("please fill in: ", "記入: ") + text]
        lines += ["#[[population]]", '#file = "…"']
    return lines


def _section(group: Sequence[_Look], base: Path, second: bool, say: _Words) -> list[str]:
    first = group[0]
    one_only = first.section in _ONE_TABLE_ONLY
    header = f"[{first.section}]" if one_only else f"[[{first.section}]]"
    lines = []
    if second:
        text = say(
            "another table of this kind, with other columns: choose one, or make them alike",
            "同じ種類で列の異なる表。どちらかを選ぶか、列をそろえる",
        )
        lines += [f"# {text}"]
    body = [header, *(f"# {why}" for why in dict.fromkeys(look.why for look in group))]
    names = [_relative(look.path, base) for look in group]
    if len(names) == 1:
        body += [f"file = {toml_value(names[0])}"]
    else:
        body += ["file = [", *(f"    {toml_value(name)}," for name in names), "]"]
    days = sorted({day for look in group for day in look.days})
    if days:
        shown = ", ".join(map(str, days if len(days) < 9 else [*days[:4], "…", *days[-3:]]))
        body += ["# " + say("count dates: ", "調査日: ") + shown]
    body += _keys(group, say)
    for line, text in first.ask:
        body += ["# " + say("please fill in: ", "記入: ") + text, f"#{line}"]
    if first.columns:
        other = {name: got for name, got in first.columns.items() if got[0] != name}
        same = [name for name in first.columns if name not in other]
        if same:
            text = say("called as in the contract: ", "契約どおりの列名: ")
            body += ["# " + text + ", ".join(same)]
        if other:
            body += [f"[{first.section}.columns]"]
            for name, (column, example) in other.items():
                comment = f"  # {example}" if example else ""
                body += [f"{name} = {toml_value(column)}{comment}"]
    if first.incomplete or second:
        # Without the lines to fill in the section would be refused: the whole waits for them.
        body = [line if line.startswith("#") else f"#{line}" for line in body]
    return lines + body


def _keys(group: Sequence[_Look], say: _Words) -> list[str]:
    lines = []
    for key in dict.fromkeys(key for look in group for key in look.keys):
        found = dict.fromkeys(look.keys.get(key) for look in group)
        if len(found) == 1:
            value, why = group[0].keys[key]
            lines += [f"# {why}", f"{key} = {toml_value(value)}"]
        else:
            text = say("differs, so it is found for each file", "ファイルごとに自動判別する")
            lines += [f"# {key}: {text}"]
            for value, why in filter(None, found):
                files = [look.path.name for look in group if look.keys.get(key) == (value, why)]
                shown = ", ".join(files[:3]) + (", …" if len(files) > 3 else "")
                lines += [f"#   {toml_value(value)}, {why}: {shown}"]
    return lines


def _relative(path: Path, base: Path) -> str:
    try:
        name = os.path.relpath(path, base)
    except ValueError:  # on another drive of Windows
        name = str(path.resolve())
    return name.replace(os.sep, "/")

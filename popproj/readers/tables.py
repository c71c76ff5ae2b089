"""Tables under the contract's names: whatever an office called its columns.

:func:`open_table` is the door for every table of city.toml. Counts of residents, which come in more
shapes, have their own behind it: ``stocks.read_stocks``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from popproj.config import Table
from popproj.readers.cells import normal
from popproj.readers.files import read_frame
from popproj.schema import Fault, InputError, Note

ALIASES: Mapping[str, tuple[str, ...]] = {
    "date": (
        "調査年月日", "基準日", "調査日", "年月日", "調査期日", "異動年月日", "異動日", "日付",
        "時点", "surveyDate", "count_date",
    ),
    "year": ("年", "年度", "年次", "暦年"),
    "area": (
        "町コード", "町丁コード", "町丁目コード", "町字コード", "町丁字コード", "町名コード",
        "地域コード", "区域コード", "地区コード", "area_code", "town_code", "regionCode", "code",
        "KEY_CODE", "from_area",
    ),
    "area_name": (
        "町名", "町丁名", "町丁目名", "町丁目", "町字名", "町丁字名", "大字町丁名", "地域名",
        "地区名", "区域名", "town", "town_name", "regionName", "name", "名称",
    ),
    "name": (
        "名称", "施設名", "施設名称", "町名", "町丁名", "町丁目名", "町丁目", "町字名", "地域名",
        "area_name", "town", "town_name",
    ),
    "ward": (
        "区コード", "区CD", "行政区コード", "行政区CD", "全国地方公共団体コード",
        "都道府県コード又は市区町村コード", "市区町村コード", "ward_code", "ward_cd", "prefCode",
    ),
    "ward_name": ("区名", "区", "行政区", "行政区名", "区・支所", "市区町村名"),
    "branch": ("支所・出張所", "支所", "出張所"),
    "district": (
        "校区コード", "小学校区コード", "学校区コード", "通学区コード", "学校コード", "school_code",
        "district_code", "district_id",
    ),
    "district_name": (
        "校区", "校区名", "小学校区", "小学校区名", "学校区", "学校区名", "通学区域",
        "小学校", "小学校名", "学校名", "school",
    ),
    "share": ("割合", "按分率", "配分率", "比率"),
    "valid_from": ("適用開始日", "開始日", "有効開始日", "適用開始", "設定日"),
    "valid_to": ("適用終了日", "終了日", "有効終了日", "適用終了", "廃止日"),
    "old_area": ("旧町コード", "旧コード", "旧町丁コード", "旧地域コード", "変更前コード"),
    "new_area": ("新町コード", "新コード", "新町丁コード", "新地域コード", "変更後コード"),
    "reason": ("事由", "理由", "変更事由", "備考"),
    "sex": ("性別", "男女", "男女別", "gender"),
    "age": ("年齢", "年令", "満年齢", "年齢階級", "年齢区分", "母の年齢"),
    "count": (
        "人数", "人口", "件数", "人口総数", "総人口", "人口計", "総数", "値", "population",
        "persons", "number", "n", "value",
    ),
    "nationality": ("国籍", "国籍区分", "日本人外国人", "日本人・外国人", "国籍等"),
    "birth_date": ("生年月日", "出生年月日", "birthday", "date_of_birth"),
    "birth_month": ("生年月", "出生年月"),
    "mother_birth_date": ("母の生年月日", "母生年月日", "mothers_birth_date"),
    "kind": ("異動事由", "事由", "種別", "異動種別", "異動区分", "区分", "event", "type"),
    "other_area": (
        "異動先町コード", "異動先コード", "転居先町コード", "転居先コード", "相手先コード",
        "to_area", "destination",
    ),
    "births": ("出生", "出生数", "出生者数"),
    "deaths": ("死亡", "死亡数", "死亡者数"),
    "mx": ("死亡率", "m(x)", "nmx"),
    "asfr": ("出生率", "年齢別出生率", "fx"),
    "id": ("施設ID", "ID", "番号", "NO", "facility_id"),
    "category": ("カテゴリ", "カテゴリリスト", "施設種別", "種別", "分類", "種類", "施設分類",
        "type",
    ),
    "lat": ("緯度", "latitude"),
    "lon": ("経度", "longitude", "lng"),
    "capacity": ("定員", "収容人数", "定数"),
    "opened": ("開設日", "開設年月日", "開設年", "設置年", "建築年", "開校日"),
    "closed": ("廃止日", "廃止年月日", "閉鎖日", "閉校日"),
    "school": ("学校名", "校名", "学校", "学校コード", "school_code"),
    "grade": ("学年",),
    "pupils": ("児童数", "生徒数", "児童生徒数"),
    "classes": ("学級数",),
    "units": ("戸数", "計画戸数", "住戸数"),
    "unit_type": ("住戸タイプ", "住宅種別", "建て方"),
    "first_year": ("入居開始年", "入居年", "竣工年"),
    "fill_years": ("入居期間", "入居年数"),
    "status": ("状況", "状態", "進捗"),
    "source": ("出典", "資料"),
}  # fmt: skip
"""What offices call the contract's columns, the likeliest first; the contract's own name counts."""

STAND_INS: Mapping[str, tuple[str, ...]] = {
    "area": ("area_name", "name"),
    "ward": ("ward_name",),
    "district": ("district_name",),
    "other_area": (),
}
"""Names serve as codes where a table has no codes."""


def open_table(
    table: Table,
    folder: Path,
    aliases: Mapping[str, tuple[str, ...]] = ALIASES,
    need: Sequence[str | tuple[str, ...]] = (),
) -> pd.DataFrame:
    r"""Read all files of a table under the contract's names.

    Parameters
    ----------
    table
        A section of city.toml.
    folder
        What its file names are relative to: ``City.folder``.
    aliases
        What else a column may be called, by the contract's name.
    need
        Columns that must be there; a tuple means one of them.

    Returns
    -------
    DataFrame
        Text, blank where empty. Columns: the contract's names that the files have, those with a
        fixed value in city.toml, ``_file``, ``_row`` (counted from 1), and the other columns as the
        files call them. ``attrs``: ``columns``, what the first file calls each; ``notes``.

    Raises
    ------
    InputError
        With the faults of all files: unreadable ones, and columns that are missing.

    Examples
    --------
    >>> import tempfile
    >>> from popproj.config import AreasTable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "towns.csv")
    ...     _ = path.write_text("町コード,町名,校区コード\n007,港町,E01\n", "cp932")
    ...     towns = open_table(AreasTable(file="towns.csv"), Path(folder), need=["district"])
    >>> towns[["area", "name", "district", "_row"]]
      area name district  _row
    0  007   港町      E01     2
    """
    faults: list[Fault] = []
    frames = list(open_files(table, folder, aliases, need, faults=faults))
    if faults:
        raise InputError(faults)
    notes = tuple(note for frame in frames for note in frame.attrs["notes"])
    columns = frames[0].attrs["columns"]
    names = [str(frame["_file"].iloc[0]) for frame in frames]
    files = pd.Categorical.from_codes(
        np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        categories=pd.Index(distinct(names)),
    )
    if len(frames) == 1:
        whole = frames[0].reset_index(drop=True)
    else:
        whole = pd.concat(frames, ignore_index=True)
        text = [c for c in whole.columns if c not in ("_row", "_file")]
        whole[text] = whole[text].fillna("")
    whole["_file"] = files
    whole.attrs.update(notes=notes, columns=columns)
    return whole


def open_files(
    table: Table,
    folder: Path,
    aliases: Mapping[str, tuple[str, ...]] = ALIASES,
    need: Sequence[str | tuple[str, ...]] = (),
    *,
    faults: list[Fault],
) -> Iterator[pd.DataFrame]:
    """Read the files of a table one by one, as :func:`open_table` does; faults are collected."""
    names = {name: aliases.get(name, ()) for name in table.names}
    known = {normal(alias) for name in names for alias in (name, *names[name])}
    known |= {normal(column) for column in table.columns.values()}
    paths = table.paths(folder)
    for path, shown in zip(paths, distinct([path.name for path in paths]), strict=True):
        try:
            frame = read_frame(
                path,
                sheet=table.sheet,
                skip_rows=table.skip_rows,
                encoding=table.encoding,
                delimiter=table.delimiter,
                is_header=lambda row: sum(normal(cell) in known for cell in row if cell),
            )
            yield named(frame, shown, table, names, need)
        except InputError as error:
            faults += error.faults


def named(
    frame: pd.DataFrame,
    shown: str,
    table: Table,
    names: Mapping[str, tuple[str, ...]],
    need: Sequence[str | tuple[str, ...]] = (),
) -> pd.DataFrame:
    """Give a table of :func:`files.read_frame` the contract's names and fixed values.

    Raises
    ------
    InputError
        Where a column is missing, or one that city.toml names is not there.
    """
    where = frame.attrs.get("where", shown)
    notes = list(frame.attrs.get("notes", ()))
    if frame.attrs.get("header_row", 1) > 1 + table.skip_rows:
        what = "rows above the header were left out"
        notes.append(Note(where, what, frame.attrs["header_row"] - 1))
    columns, faults = find_columns(
        where, [str(c) for c in frame.columns], names, table.columns, set(table.fixed())
    )
    given = {column: name for name, column in columns.items()}
    # A column not used may be called as the contract calls another one.
    frame.columns = pd.Index(
        [
            given.get(c) or (f"{c} (not used)" if c in columns else c)
            for c in map(str, frame.columns)
        ],
        dtype=object,
    )
    for name, value in table.fixed().items():
        if name in columns:
            frame = frame.drop(columns=name)
            columns.pop(name)
        frame[name] = str(value)
    for name, stand_ins in STAND_INS.items():
        used = next((s for s in stand_ins if s in frame), None)
        if name in names and name not in frame and used:
            notes.append(Note(where, f"no codes: {columns.get(used, used)} serves as {name}"))
            columns[name] = columns.get(used, used)
            frame[name] = frame[used]
    for wanted in need:
        either = (wanted,) if isinstance(wanted, str) else wanted
        if not set(either) & set(frame.columns):
            fixable = [name for name in either if name in type(table).model_fields]
            faults.append(_missing_column(where, either, names, fixable, frame))
    if faults:
        raise InputError(faults)
    frame["_row"] = frame.index.to_numpy(dtype=np.int64)
    frame["_file"] = pd.Categorical.from_codes(
        np.zeros(len(frame), dtype=np.int8), categories=pd.Index([shown])
    )
    frame.attrs["notes"] = tuple(notes)
    frame.attrs["columns"] = columns
    return frame


def find_columns(
    where: str,
    given: Sequence[str],
    names: Mapping[str, tuple[str, ...]],
    said: Mapping[str, str],
    fixed: Collection[str] = (),
) -> tuple[dict[str, str], list[Fault]]:
    """Which of the given columns is which of the contract's.

    What city.toml says comes first, then the contract's own names, then aliases in their order;
    each column serves once.

    Returns
    -------
    tuple
        Given column by the contract's name, and faults: columns said that are not there, or there
        more than once.
    """
    found: dict[str, str] = {}
    faults = []
    by_key: dict[str, list[str]] = {}
    for column in given:
        by_key.setdefault(normal(column), []).append(column)
    for name, column in said.items():
        matches = [column] * given.count(column) or by_key.get(normal(column), [])
        if len(matches) == 1:
            found[name] = matches[0]
            continue
        near = get_close_matches(column, list(given), n=3, cutoff=0.4) or list(given[:8])
        state = "stands there twice" if matches else "is not there"
        faults.append(
            Fault(
                where,
                f'the column "{column}" that city.toml takes for {name} must stand there once,'
                f" and {state}",
                f"Correct columns in city.toml. Nearest there: {', '.join(near)}.",
            )
        )
    for depth in range(1 + max((len(a) for a in names.values()), default=0)):
        for name, aliases in names.items():
            words = (name, *aliases)
            if name in found or name in said or name in fixed or depth >= len(words):
                continue
            free = [c for c in by_key.get(normal(words[depth]), []) if c not in found.values()]
            if len(free) > 1:
                faults.append(
                    Fault(
                        where,
                        f'the column "{free[0]}" must stand there once, and stands there'
                        f" {len(free)} times",
                        "Rename or remove the others.",
                    )
                )
            if free:
                found[name] = free[0]
    return found, faults


def _missing_column(
    where: str,
    either: Sequence[str],
    names: Mapping[str, tuple[str, ...]],
    fixable: Sequence[str],
    frame: pd.DataFrame,
) -> Fault:
    """Tell that none of some columns is there, what they may be called, and what is there."""
    rest = [c for c in map(str, frame.columns) if c not in names]
    words = [f"{name} ({', '.join(names.get(name, ())[:3])})".replace(" ()", "") for name in either]
    said = f', or {fixable[0]} = "…" where one holds for all rows' if fixable else ""
    left = f" Columns not recognised: {', '.join(rest[:8])}." if rest else ""
    return Fault(
        where,
        f"the table must have a column {' or '.join(words)}, and has none",
        f'Write columns = {{ {either[0]} = "…" }} in city.toml, or rename it{said}.{left}',
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Names of files of several folders, told apart by a number where they are the same."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result

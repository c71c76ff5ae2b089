"""Files, cells and names of columns: whatever an office wrote, and every way it can be wrong."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xlsxwriter
import xlwt
from hypothesis import given
from hypothesis import strategies as st

from popproj.config import AreasTable, FacilitiesTable, PopulationTable
from popproj.readers.cells import (
    COUNT,
    UNKNOWN_AGE,
    column,
    parse_age,
    parse_code,
    parse_count,
    parse_date,
    parse_month,
    parse_sex,
    parse_year,
)
from popproj.readers.files import read_frame
from popproj.readers.headers import show_group
from popproj.readers.tables import open_table
from popproj.schema import Fault, InputError, Note

TOWNS = '町コード,町名,人数\n007,港町１丁目,"1,234"\n008,浜ノ町,5\n'


def write(folder: Path, name: str, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("said", [True, False])
def test_every_encoding_reads_the_same(
    tmp_path: Path, encoding: str, newline: str, said: bool
) -> None:
    path = write(tmp_path, "towns.csv", TOWNS.replace("\n", newline), encoding)
    frame = read_frame(path, encoding=encoding if said else None)
    assert list(frame.columns) == ["町コード", "町名", "人数"]
    assert frame.loc[2].tolist() == ["007", "港町１丁目", "1,234"]
    assert list(frame.index) == [2, 3]
    assert frame.attrs["encoding"] == encoding


@pytest.mark.parametrize(
    ("written", "said", "seems"),
    [("cp932", "utf-8", "cp932"), ("utf-8", "cp932", "utf-8"), ("utf-8", "utf-16", "utf-8")],
)
def test_wrong_encoding(tmp_path: Path, written: str, said: str, seems: str) -> None:
    path = write(tmp_path, "towns.csv", TOWNS, written)
    message = rf"towns.csv: the text must be in the encoding {said}.*seems to be {seems}.*city.toml"
    with pytest.raises(InputError, match=message):
        read_frame(path, encoding=said)


def test_bytes_of_no_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", b"a,b\n1,\xff\x80\x81\n")
    with pytest.raises(InputError, match=r"encoding cp932, and is not, first at row 2, byte 0x81"):
        read_frame(path)


@pytest.mark.parametrize(("delimiter", "text"), [("\t", "a\tb\n1\t2,3\n"), (";", "a;b\n1;2\n")])
def test_delimiters_are_found(tmp_path: Path, delimiter: str, text: str) -> None:
    frame = read_frame(write(tmp_path, "x.csv", text))
    assert frame.shape == (1, 2)
    assert frame.attrs["delimiter"] == delimiter


def test_gzip_quotes_blank_lines_and_remarks(tmp_path: Path) -> None:
    text = '町コード,町名,人数\n001,"港\n町",1\n\n002,"a,b",2\n※秘匿あり\n003,c\n,,\n'
    path = write(tmp_path, "x.csv.gz", gzip.compress(text.encode()))
    frame = read_frame(path)
    assert frame["町名"].tolist() == ["港\n町", "a,b", "c"]
    assert frame["人数"].tolist() == ["1", "2", ""]
    assert [note.first for note in frame.attrs["notes"]] == ['row 5: "※秘匿あり"']


def test_rows_longer_than_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "a,b\n1,2,\n1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match=r'at most the 2 cells.*2 of 3 rows.*at row 3: "3"'):
        read_frame(path)


def test_titles_above_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "towns.csv", "人口一覧\n令和7年3月31日現在\n\n" + TOWNS)
    towns = open_table(PopulationTable(file="towns.csv"), tmp_path, need=["area", "count"])
    assert towns["_row"].tolist() == [5, 6]
    assert any("above the header" in note.what for note in towns.attrs["notes"])
    skipped = read_frame(path, skip_rows=3)
    assert skipped.index.tolist() == [5, 6]
    with pytest.raises(InputError, match=r"below 40 skipped rows.*Correct skip_rows"):
        read_frame(path, skip_rows=40)


def xls(folder: Path, name: str, sheets: dict[str, list[list[object]]]) -> Path:
    book = xlwt.Workbook()
    day = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for title, rows in sheets.items():
        sheet = book.add_sheet(title)
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                if isinstance(value, datetime.date):
                    sheet.write(r, c, value, day)
                elif value is not None:
                    sheet.write(r, c, value)
    book.save(str(folder / name))
    return folder / name


def xlsx(folder: Path, name: str, sheets: dict[str, list[list[object]]]) -> Path:
    with xlsxwriter.Workbook(str(folder / name), {"default_date_format": "yyyy/m/d"}) as book:
        for title, rows in sheets.items():
            sheet = book.add_worksheet(title)
            for r, row in enumerate(rows):
                for c, value in enumerate(row):
                    if isinstance(value, datetime.date):
                        sheet.write_datetime(r, c, value)
                    elif value is not None:
                        sheet.write(r, c, value)
            sheet.set_column(0, 300, 4)
    return folder / name


@pytest.mark.parametrize("writer", [xls, xlsx])
def test_workbooks(tmp_path: Path, writer) -> None:
    rows = [
        ["調査日", "町コード", "率", "町名", None],
        [datetime.datetime(2025, 3, 31), 28101.0, 0.5, "港町", None],
        [None, None, None, None, None],
        ["R7.3.31", "0101", 2, "浜", None],
    ]
    path = writer(tmp_path, f"book.{writer.__name__}", {"表紙": [["x"]], "人口": rows})
    frame = read_frame(path, sheet="人口")
    assert frame.to_numpy().tolist() == [
        ["2025-03-31", "28101", "0.5", "港町"],
        ["R7.3.31", "0101", "2", "浜"],
    ]
    assert frame.index.tolist() == [2, 4]
    assert frame.equals(read_frame(path, sheet=1))
    with pytest.raises(InputError, match=r"must have the sheet '区'.*Its sheets are 表紙, 人口"):
        read_frame(path, sheet="区")


def test_parquet(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "町コード": pd.Categorical(["007", "008"]),
            "区": [28101.0, np.nan],
            "日": pd.to_datetime(["2025-03-31", "2025-03-31"]),
            "率": [0.25, 1.0],
        }
    )
    table.to_parquet(tmp_path / "x.parquet")
    frame = read_frame(tmp_path / "x.parquet")
    assert frame.to_numpy().tolist() == [
        ["007", "28101", "2025-03-31", "0.25"],
        ["008", "", "2025-03-31", "1"],
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", r"x.csv: the file must hold a table, and is empty"),
        ("x.csv", b"\n \r\n", r"is empty"),
        ("x.csv", "町コード,人数\n".encode(), r"must have rows below its header, and has none"),
        ("x.xlsx", b"PK\x03\x04 not a workbook", r"must be an Excel workbook, and is damaged"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, r"Excel workbook, and is dam"),
        ("x.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-9], r"must be whole, and is cut short"),
        ("x.parquet", b"PAR1 and no more", r"must be Parquet, and is damaged"),
        ("x.csv", b'a,b\n"' + b"x" * 200_000, r"must be a table of cells.*not closed"),
        ("x.csv", b'a,b\n1,"2\n3,4\n5,6\n', r"must be a table of cells.*not closed"),
        ("x.csv", b'a,b\n\n1,"2\n3,4\n5,6\n', r"must be a table of cells.*not closed"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_frame(write(tmp_path, name, content))


def test_a_workbook_that_breaks_off(tmp_path: Path) -> None:
    whole = xlsx(tmp_path, "whole.xlsx", {"s": [["a"] * 50] * 500}).read_bytes()
    for share in (0.3, 0.7, 0.99):
        path = write(tmp_path, "cut.xlsx", whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"cut.xlsx: the file must be an Excel workbook"):
            read_frame(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.csv: the file must be readable"):
        read_frame(tmp_path / "none.csv")


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), min_size=3,
                 max_size=3),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    wanted = [row for row in rows if any(cell.strip() for cell in row)]
    path = tmp_path_factory.mktemp("round") / "x.csv"
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    frame.to_csv(path, index=False, encoding="utf-8")
    if not wanted:
        with pytest.raises(InputError, match="has none"):
            read_frame(path)
    else:
        assert read_frame(path).to_numpy().tolist() == wanted


# ---- cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("7", (7, 1)), ("７歳", (7, 1)), ("満7歳", (7, 1)), ("人口_7歳", (7, 1)), ("a7", (7, 1)),
        ("0-4", (0, 5)), ("０〜４歳", (0, 5)), ("０～４歳", (0, 5)), ("0－4", (0, 5)),
        ("15歳未満", (0, 15)),
        ("100+", (100, 0)), ("100歳以上", (100, 0)), ("１００歳 以上", (100, 0)),
        ("a65plus", (65, 0)),
        ("年齢不詳", (UNKNOWN_AGE, 0)), ("不詳", (UNKNOWN_AGE, 0)),
    ],
)  # fmt: skip
def test_ages(text: str, group: tuple[int, int]) -> None:
    lower, width, broken = parse_age(pd.Series([text]))
    assert ((lower[0], width[0]), broken[0]) == (group, False)


@pytest.mark.parametrize("text", ["８５〜", "5-3", "-3", "2015", "x", "7.5", "1月4日"])
def test_what_is_no_age(text: str) -> None:
    assert parse_age(pd.Series([text]))[2].all()


@given(st.integers(0, 110), st.sampled_from([0, 1, 5, 10]))
def test_shown_groups_are_read_again(lower: int, width: int) -> None:
    low, wide, broken = parse_age(pd.Series([show_group((lower, width))]))
    assert (low[0], wide[0], broken[0]) == (lower, width, False)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2025/1/1", "2025-01-01"), ("11/1/2018", "2018-11-01"), ("20250331", "2025-03-31"),
        ("平成29年12月31日", "2017-12-31"), ("平成２９年９月３０日", "2017-09-30"),
        ("令和元年5月1日", "2019-05-01"),
        ("H29.3.31", "2017-03-31"), ("S64/1/7", "1989-01-07"),
        ("2025-03-31 00:00:00", "2025-03-31"),
        ("平 成 16 年 4 月 1 日", "2004-04-01"), ("2025年3月31日", "2025-03-31"),
        ("t15.12.25", "1926-12-25"),
    ],
)  # fmt: skip
def test_dates(text: str, day: str) -> None:
    values, broken = parse_date(pd.Series([text]))
    assert (str(values[0]), broken[0]) == (day, False)


@pytest.mark.parametrize("text", ["2025/2/29", "13/13/2018", "平成", "43405", "2025", "3月31日"])
def test_what_is_no_date(text: str) -> None:
    assert parse_date(pd.Series([text]))[1].all()


def test_months_years_sexes_codes_counts() -> None:
    months = parse_month(pd.Series(["2025年3月", "202503", "平成29年4月"]))[0]
    assert months.astype(str).tolist() == [
        "2025-03-01", "2025-03-01", "2017-04-01",
    ]  # fmt: skip
    assert parse_year(pd.Series(["２０２４年度", "令和元年", "1700"]))[0].tolist() == [
        2024,
        2019,
        -1,
    ]
    assert parse_sex(pd.Series(["女性", "Ｆ", "1", "男女計", ""]))[0].tolist() == [
        "female", "female", "male", "total", "",
    ]  # fmt: skip
    assert parse_code(pd.Series(["００７", "28101.0", "K-1"])).tolist() == ["007", "28101", "K-1"]
    values, broken = parse_count(
        pd.Series(["1,234", "１２人", "***", "…", "－", "▲3", "1e3", "1,2"])
    )
    np.testing.assert_array_equal(values[:5], [1234, 12, np.nan, np.nan, 0])
    assert broken.tolist() == [False] * 5 + [True, False, True]


def test_what_was_interpreted_is_told(tmp_path: Path) -> None:
    write(tmp_path, "x.csv", "area,count\n1,-\n2,X\n3,4\n4,***\n")
    frame = open_table(PopulationTable(file="x.csv"), tmp_path)
    faults: list[Fault] = []
    notes: list[Note] = []
    column(frame, "count", COUNT, faults, notes, required=False)
    assert not faults
    assert [(note.count, note.first) for note in notes] == [
        (1, 'at row 2, column count: "-"'),
        (2, 'at row 3, column count: "X"'),
    ]


def test_faults_name_the_files_own_column_and_row(tmp_path: Path) -> None:
    write(tmp_path, "x.csv", "町コード,人数\n1,5\n2,五\n3,-1\n4,\n")
    frame = open_table(PopulationTable(file="x.csv"), tmp_path)
    faults: list[Fault] = []
    column(frame, "count", COUNT, faults)
    assert str(faults[0]) == (
        "x.csv: count must be a number of people, 0 or more; 3 of 4 rows do not, first at row 3,"
        ' column 人数: "五". Correct the cells; leave them blank where the figure is withheld.'
    )


# ---- names of columns -------------------------------------------------------------------------


def test_aliases_fixed_values_and_other_columns(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "施設ID,名 称,緯度,経度,住所\n01,北小,34.7,135.2,港町\n", "cp932")
    write(tmp_path, "b.csv", "id\tname\tlat\tlon\tcapacity\n02\t南小\t34.6\t135.1\t300\n")
    frame = open_table(FacilitiesTable(files=("?.csv",), category="学校"), tmp_path)
    assert frame["id"].tolist() == ["01", "02"]
    assert frame["category"].tolist() == ["学校", "学校"]
    assert frame["capacity"].tolist() == ["", "300"]
    assert frame["住所"].tolist() == ["港町", ""]
    assert frame["_file"].tolist() == ["a.csv", "b.csv"]
    assert frame.attrs["columns"]["lat"] == "緯度"


def test_said_columns_come_first(tmp_path: Path) -> None:
    write(tmp_path, "x.csv", "ward,ward_cd,町コード,校区\n東区,28101,1,北小\n")
    table = AreasTable(file="x.csv", columns={"ward": "ward_cd"})
    frame = open_table(table, tmp_path, need=["area", "ward", "district"])
    assert frame.loc[0, ["ward", "area", "district"]].tolist() == ["28101", "1", "北小"]
    assert any("校区 serves as district" in note.what for note in frame.attrs["notes"])


def test_missing_columns_of_all_files_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "x,y\n1,2\n")
    write(tmp_path, "b.csv", "")
    write(tmp_path, "c.csv", "町コード,人口,人口\n1,2,3\n")
    table = PopulationTable(files=("a.csv", "b.csv", "c.csv"), columns={"age": "齢"})
    with pytest.raises(InputError) as caught:
        open_table(table, tmp_path, need=["area", "sex", "count"])
    message = str(caught.value)
    for part in (
        r'a.csv: the column "齢" that city.toml takes for age',
        "a.csv: the table must have a column area (町コード, 町丁コード, 町丁目コード)",
        'or sex = "…" where one holds for all rows. Columns not recognised: x, y.',
        r"b.csv: the file must hold a table, and is empty",
        r'c.csv: the column "人口" must stand there once, and stands there 2 times',
    ):
        assert part in message, part


def test_same_names_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("2024", "2025"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "towns.csv", "町コード,町名\n1,a\n")
    frame = open_table(AreasTable(files=("*/towns.csv",)), tmp_path)
    assert frame["_file"].tolist() == ["towns.csv", "towns.csv (2)"]


def test_a_million_rows_are_parsed_by_their_distinct_texts() -> None:
    # Counted, not timed: the parser must see each text once.
    seen = []
    texts = pd.Series(["1", "２", "1"] * 1000)
    from popproj.readers.cells import Parser, parse

    parser = Parser("", "", lambda text: seen.append(text) or 1.0, 0.0, np.float64)
    assert parse(texts, parser).values.sum() == 3000
    assert sorted(seen) == ["1", "2"]

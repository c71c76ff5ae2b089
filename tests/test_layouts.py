"""Residents by area, sex and age in the shapes offices publish them in, invented and real."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import xlwt
from hypothesis import given
from hypothesis import strategies as st

from popproj.config import City
from popproj.readers.headers import age_chain, date_in, read_header, show_group
from popproj.readers.layouts import read_kobe
from popproj.readers.stocks import read_stocks
from popproj.schema import InputError

AGES = [f"{a}歳" for a in range(100)] + ["100歳以上"]
GROUPS = [f"{a}-{a + 4}" for a in range(0, 100, 5)] + ["100+"]


def stocks(folder: Path, *names: str, wards: tuple[str, ...] = (), **keys: Any) -> xr.Dataset:
    open_age = keys.pop("open_age", 100)
    tables = ({"files": names, **keys},)
    beside = ({"files": wards},) if wards else ()
    return read_stocks(
        City(
            name="港市", population=tables, ward_population=beside, folder=folder, open_age=open_age
        )
    )


def whats(dataset: xr.Dataset) -> list[str]:
    return [note.what for note in dataset.attrs["notes"]]


def long_table(
    dates: Sequence[str] = ("2024-03-31", "2025-03-31"),
    areas: Sequence[str] = ("001", "002", "003"),
    sexes: Sequence[str] = ("女", "男"),
    ages: Sequence[str] = (*map(str, range(100)), "100+"),
) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [dates, areas, sexes, ages], names=["調査日", "町コード", "性別", "年齢"]
    )
    counts = np.random.default_rng(1).integers(0, 30, len(index))
    return pd.DataFrame({"人数": counts}, index=index).reset_index()


def save(folder: Path, table: pd.DataFrame, name: str = "people.csv", **keys: Any) -> Path:
    table.to_csv(folder / name, index=False, **{"encoding": "utf-8", **keys})
    return folder / name


def truth(table: pd.DataFrame) -> np.ndarray:
    shape = [table[c].nunique() for c in ("調査日", "町コード", "性別", "年齢")]
    cube = table["人数"].to_numpy(float).reshape(shape)
    return np.moveaxis(cube, 1, 3)


# ---- tidy tables in every shape ---------------------------------------------------------------


def test_long_and_wide_and_both_read_the_same(tmp_path: Path) -> None:
    table = long_table()
    save(tmp_path, table, "long.csv", encoding="cp932")
    keys = ["調査日", "町コード"]
    order = [*map(str, range(100)), "100+"]
    by_age = table.pivot(index=[*keys, "性別"], columns="年齢", values="人数")[order]
    by_age.columns = AGES
    save(tmp_path, by_age.reset_index(), "by_age.csv", encoding="utf-8-sig")
    by_sex = table.pivot(index=[*keys, "年齢"], columns="性別", values="人数")
    by_sex["計"] = by_sex.sum(axis=1)
    save(tmp_path, by_sex.reset_index(), "by_sex.csv", sep="\t")
    both = table.pivot(index=keys, columns=["性別", "年齢"], values="人数")
    both.columns = [
        f"{'100歳以上' if age == '100+' else age + '歳'}の{sex}性" for sex, age in both.columns
    ]
    both.insert(0, "総人口", both.sum(axis=1))
    save(tmp_path, both.reset_index(), "both.csv", encoding="utf-16")
    both.reset_index().to_parquet(tmp_path / "both.parquet")
    both.reset_index().to_excel(tmp_path / "both.xlsx", index=False)
    first = stocks(tmp_path, "long.csv")
    np.testing.assert_array_equal(first["population"], truth(table))
    assert first["population"].dims == ("time", "sex", "age", "area")
    assert first["sex"].values.tolist() == ["female", "male"]
    assert first["area"].values.tolist() == ["001", "002", "003"]
    assert "age_width" not in first.coords
    assert first.attrs["open_age"] == 100
    assert pd.DatetimeIndex(first["time"]).tolist() == [
        pd.Timestamp("2024-04-01"),
        pd.Timestamp("2025-04-01"),
    ]
    for name in ("by_age.csv", "by_sex.csv", "both.csv", "both.parquet", "both.xlsx"):
        xr.testing.assert_equal(stocks(tmp_path, name), first)


def test_one_file_a_day_and_files_by_sex(tmp_path: Path) -> None:
    table = long_table()
    for (day, sex), part in table.groupby(["調査日", "性別"]):
        word = {"女": "f", "男": "m"}[sex]
        save(tmp_path, part.drop(columns="調査日"), f"{word}_{day.replace('-', '')}.csv")
    split = stocks(tmp_path, "*.csv")
    np.testing.assert_array_equal(split["population"], truth(table))
    assert sum("date was taken from the file name" in what for what in whats(split)) == 4


@given(order=st.randoms(use_true_random=False), drop=st.integers(0, 40))
def test_order_of_rows_does_not_matter_and_missing_rows_are_empty(
    tmp_path_factory: pytest.TempPathFactory, order: Any, drop: int
) -> None:
    table = long_table(dates=["2025-03-31"], areas=["1", "2"], ages=GROUPS)
    table.loc[table.index[1 : drop + 1], "人数"] = 0
    rows = [i for i in table.index if not 1 <= i <= drop]
    order.shuffle(rows)
    folder = tmp_path_factory.mktemp("order")
    save(folder, table.loc[rows])
    read = stocks(folder, "people.csv")
    np.testing.assert_array_equal(read["population"], truth(table))
    assert ("ages without a figure, in areas that have others, were read as 0" in whats(read)) == (
        drop > 0
    )


def test_full_width_era_dates_excel_codes_and_memo_columns(tmp_path: Path) -> None:
    row = ["令和７年３月３１日", 28101.0, "港町１丁目", *["１"] * 101, 35, "１０１", 50]
    names = ["基準日", "町コード", "町名", *AGES, "再_65歳以上", "合計", "世帯数"]
    pd.DataFrame([row], columns=names).to_excel(tmp_path / "a.xlsx", index=False)
    read = stocks(tmp_path, "a.xlsx", sex="total")
    assert read["area"].item() == "28101"
    assert read["area_name"].item() == "港町１丁目"
    assert read["count_date"].values.astype("datetime64[D]").tolist() == [
        datetime.date(2025, 3, 31)
    ]
    assert read["population"].sum() == 101


def test_blank_rows_are_withheld_and_absent_areas_empty(tmp_path: Path) -> None:
    table = long_table(ages=GROUPS)
    blank = (table["町コード"] == "002") & (table["調査日"] == "2024-03-31")
    absent = (table["町コード"] == "003") & (table["調査日"] == "2025-03-31")
    table["人数"] = table["人数"].astype(object).where(~blank, "")
    save(tmp_path, table[~absent])
    read = stocks(tmp_path, "people.csv")
    people = read["population"].sum(["sex", "age"], skipna=False)
    assert np.isnan(people.sel(area="002").values).tolist() == [True, False]
    assert people.sel(area="003").values[1] == 0
    noted = {note.what: note.count for note in read.attrs["notes"]}
    assert noted["areas without figures were kept as withheld (秘匿), not taken for empty"] == 1
    assert (
        noted["areas that the tables of a day do not have were taken to be empty (population)"] == 1
    )


def test_marks_for_none_and_for_withheld(tmp_path: Path) -> None:
    table = long_table(dates=["2025-03-31"], areas=["1"], ages=GROUPS)
    table["人数"] = table["人数"].astype(object)
    table.loc[0, "人数"] = "－"
    table.loc[1, "人数"] = "X"
    save(tmp_path, table)
    read = stocks(tmp_path, "people.csv")
    assert read["population"].values[0, 0, :2, 0].tolist()[0] == 0
    assert np.isnan(read["population"].values[0, 0, 1, 0])
    assert 'a dash "-" was read as 0' in whats(read)


def test_unknown_ages_are_left_out_and_counted(tmp_path: Path) -> None:
    table = long_table(dates=["2025-03-31"], ages=[*GROUPS, "年齢不詳"])
    table.loc[table["年齢"] == "年齢不詳", "人数"] = 2
    save(tmp_path, table)
    read = stocks(tmp_path, "people.csv")
    assert read["population"].sum() == table.loc[table["年齢"] != "年齢不詳", "人数"].sum()
    note = next(n for n in read.attrs["notes"] if "年齢不詳" in n.what)
    assert note.count == 12


def test_totals_and_subtotals_are_checked_and_left_out(tmp_path: Path) -> None:
    table = long_table(dates=["2025-03-31"], ages=GROUPS)
    keys = ["調査日", "町コード", "性別", "年齢"]
    both = (
        table.groupby(["調査日", "町コード", "年齢"], as_index=False)["人数"]
        .sum()
        .assign(性別="計")
    )
    every = pd.concat([table, both])
    every = pd.concat(
        [every, every.groupby(keys[:3], as_index=False)["人数"].sum().assign(年齢="総数")]
    )
    city = (
        every.groupby(["調査日", "性別", "年齢"], as_index=False)["人数"]
        .sum()
        .assign(町コード="合計")
    )
    whole = pd.concat([every, city])[[*keys, "人数"]]
    save(tmp_path, whole)
    read = stocks(tmp_path, "people.csv")
    np.testing.assert_array_equal(read["population"], truth(table))
    assert "rows that are sums of others were left out" in whats(read)

    wrong = whole.copy()
    wrong.loc[
        (wrong["町コード"] == "001") & (wrong["年齢"] == "0-4") & (wrong["性別"] == "計"), "人数"
    ] += 1
    wrong.loc[
        (wrong["町コード"] == "002") & (wrong["年齢"] == "総数") & (wrong["性別"] == "女"), "人数"
    ] += 1
    wrong.loc[
        (wrong["町コード"] == "合計") & (wrong["年齢"] == "5-9") & (wrong["性別"] == "男"), "人数"
    ] += 1
    save(tmp_path, wrong)
    with pytest.raises(InputError) as caught:
        stocks(tmp_path, "people.csv")
    for part in (
        "people.csv: count of both sexes must equal women and men together; 2 of ",
        "people.csv: count of all ages must equal the sum of the ages; 2 of ",
        'people.csv: the row "合計" must equal the sum of the areas; 3 of ',
    ):
        assert part in str(caught.value)


def test_coarser_groups_beside_finer_ones_are_memo_items(tmp_path: Path) -> None:
    row = ["1", *[3] * 101, 45, 150, 108]
    names = ["町コード", *AGES, "0-14", "15-64歳", "65歳以上"]
    pd.DataFrame([row], columns=names).to_csv(tmp_path / "x.csv", index=False)
    read = stocks(tmp_path, "x.csv", date="2025-03-31", sex="total")
    assert read["population"].sum() == 303
    assert read.sizes["age"] == 101


def test_ages_above_the_open_age_and_sources_that_stop_earlier(tmp_path: Path) -> None:
    save(tmp_path, long_table(dates=["2024-03-31"], ages=[*map(str, range(105)), "105+"]), "a.csv")
    save(
        tmp_path, long_table(dates=["2025-03-31"], ages=[*map(str, range(85)), "85歳以上"]), "b.csv"
    )
    older = stocks(tmp_path, "a.csv")
    assert older.sizes["age"] == 101
    assert "age_width" not in older.coords
    assert older["population"].sum() == pd.read_csv(tmp_path / "a.csv")["人数"].sum()
    both = stocks(tmp_path, "a.csv", "b.csv")
    assert both.attrs["open_age"] == 85
    assert both["age_width"].values[[0, -1]].tolist() == [1, 0]
    assert both["population"].isel(time=0).sum() == older["population"].sum()
    assert any("put into one open group 85+" in what for what in whats(both))


def test_margins_by_sex_stay_beside_ages_of_both(tmp_path: Path) -> None:
    rows = [["1", 60, 41, 101, *[1] * 101], ["2", 101, 101, 202, *[2] * 101]]
    pd.DataFrame(rows, columns=["町コード", "男", "女", "合計", *AGES]).to_csv(
        tmp_path / "x.csv", index=False
    )
    read = stocks(tmp_path, "x.csv", date="2025-03-31")
    assert read["sex"].values.tolist() == ["total"]
    assert read["population_by_sex"].sel(area="1").values.tolist() == [[41, 60]]
    assert read["sex_margin"].values.tolist() == ["female", "male"]


def test_wards_beside_areas(tmp_path: Path) -> None:
    areas = long_table(dates=["2024-03-31", "2025-03-31"]).assign(区コード="28101", 区名="東区")
    save(tmp_path, areas.rename(columns={"町コード": "町丁目コード"}))
    wards = areas.groupby(["調査日", "区コード", "性別", "年齢"], as_index=False)["人数"].sum()
    save(tmp_path, wards[wards["調査日"] > "2025"], "wards.csv")
    read = stocks(tmp_path, "people.csv", wards=("wards.csv",))
    table = read["ward_population"]
    assert table.dims == ("time", "sex_margin", "age_margin", "ward_margin")
    assert np.isnan(table.isel(time=0)).all()
    assert table.isel(time=1).sum() == areas.loc[areas["調査日"] > "2025", "人数"].sum()
    assert set(read["ward"].values) == {"28101"}
    save(tmp_path, wards.assign(区コード="東区"), "wards.csv")
    with pytest.raises(InputError, match=r"its wards must be those of the areas, and none is"):
        stocks(tmp_path, "people.csv", wards=("wards.csv",))


def test_days_to_keep(tmp_path: Path) -> None:
    save(tmp_path, long_table())
    day = datetime.date(2025, 3, 31)
    assert stocks(tmp_path, "people.csv", dates=(day,)).sizes["time"] == 1
    with pytest.raises(InputError, match=r"2023-03-31 must be in the tables, and is not"):
        stocks(tmp_path, "people.csv", dates=(day, datetime.date(2023, 3, 31)))


# ---- faults -----------------------------------------------------------------------------------


def faulty(table: pd.DataFrame, row: int, name: str, value: object) -> pd.DataFrame:
    table = table.astype(object)
    table.loc[row, name] = value
    return table


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "人数",
            "-3",
            r"people.csv: count must be a number of people, 0 or more; 1 of 252 rows does not,"
            r' first at row 7, column 人数: "-3"',
        ),
        ("人数", "三人", r'count must be a number.*column 人数: "三人"'),
        ("年齢", "８５〜", r'a whole number, "100\+" or a range; 1 of 252.*"８５〜"\. .*85-89'),
        ("年齢", "", r"age must be a whole number.*column 年齢: \"\""),
        ("年齢", "7-11", r"age groups must follow each other from 0.*first 7-11 cuts across"),
        ("性別", "3", r'sex must be female, male or total \(女, 男, 計\).*column 性別: "3"'),
        ("調査日", "2024/2/30", r'date must be a day; .*column 調査日: "2024/2/30"'),
        ("調査日", "", r"date must be a day"),
    ],
)  # fmt: skip
def test_faults_of_cells(tmp_path: Path, name: str, value: str, message: str) -> None:
    save(tmp_path, faulty(long_table(ages=GROUPS), 5, name, value))
    with pytest.raises(InputError, match=message):
        stocks(tmp_path, "people.csv")


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    table = long_table(ages=GROUPS)
    for row, name, value in (
        (1, "人数", "九"),
        (2, "年齢", "y"),
        (3, "性別", "z"),
        (4, "調査日", "w"),
    ):
        table = faulty(table, row, name, value)
    save(tmp_path, table)
    with pytest.raises(InputError) as caught:
        stocks(tmp_path, "people.csv")
    words = {fault.rule.split()[0] for fault in caught.value.faults}
    assert words == {"date", "sex", "age", "count"}


def test_faults_of_all_files_at_once(tmp_path: Path) -> None:
    save(tmp_path, faulty(long_table(["2024-03-31"]), 0, "人数", "九"), "a.csv")
    (tmp_path / "b.csv").write_bytes(b"")
    save(tmp_path, long_table(["2025-03-31"]).drop(columns="年齢"), "c.csv")
    with pytest.raises(InputError) as caught:
        stocks(tmp_path, "*.csv")
    assert [fault.where for fault in caught.value.faults] == ["a.csv", "b.csv", "c.csv"]
    assert "must have a column age (年齢, 年令, 満年齢), and has none" in str(caught.value)


def test_repeated_rows_and_tables(tmp_path: Path) -> None:
    table = long_table()
    save(tmp_path, pd.concat([table, table.iloc[[9, 9]]]))
    with pytest.raises(
        InputError, match=r"area must stand once only for each date, sex and age; 3"
    ):
        stocks(tmp_path, "people.csv")
    save(tmp_path, table)
    save(tmp_path, table, "again.csv")
    with pytest.raises(
        InputError, match=r"in one table only on each day; 6 of 6.*first 001 on 2024"
    ):
        stocks(tmp_path, "*.csv")


def test_totals_in_the_row(tmp_path: Path) -> None:
    names = ["町コード", "総人口", "男性", "女性"]
    names += [
        f"{g.replace('+', '歳以上')}{'' if '+' in g else '歳'}の{s}性"
        for g in GROUPS
        for s in "男女"
    ]
    rows = [["1", 42, 21, 21, *[1] * 42], ["2", 43, 22, 21, *[1] * 42]]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InputError) as caught:
        stocks(tmp_path, "x.csv", date="2025-03-31")
    for part in (
        "x.csv: 男性 must equal the sum of its ages; 1 of 2 rows does not, first at row 3,",
        ' column 男性: "22", the sum is 21. Ask the office which figure holds.',
    ):
        assert part in str(caught.value)
    assert "総人口 must equal the sum of its ages" in str(caught.value)


@pytest.mark.parametrize(
    ("ages", "message"),
    [
        ([*GROUPS[:4], *GROUPS[5:]], r"first nothing after 15-19"),
        (GROUPS[:10], r"first nothing after 45-49"),
        (GROUPS[1:], r"first no group from 0"),
        ([*GROUPS, "3-12"], r"first 3-12 cuts across the others"),
    ],
)
def test_ages_with_gaps(tmp_path: Path, ages: list[str], message: str) -> None:
    save(tmp_path, long_table(ages=ages))
    with pytest.raises(InputError, match=message):
        stocks(tmp_path, "people.csv")


def test_tables_of_different_kinds(tmp_path: Path) -> None:
    save(tmp_path, long_table(["2024-03-31"], ages=GROUPS), "a.csv")
    save(tmp_path, long_table(["2025-03-31"]), "b.csv")
    with pytest.raises(InputError, match=r"b.csv: age groups must be the same in all tables"):
        stocks(tmp_path, "?.csv")
    save(tmp_path, long_table(["2024-03-31"], sexes=["計"]), "a.csv")
    with pytest.raises(
        InputError, match=r"b.csv: all tables.*both sexes, or all none; a.csv has only"
    ):
        stocks(tmp_path, "?.csv")
    save(tmp_path, long_table(["2024-03-31"], areas=["001"]), "a.csv")
    with pytest.raises(InputError, match=r"every count date must cover.*2024-03-31: 1 of 3 areas"):
        stocks(tmp_path, "?.csv")


def test_columns_of_people_that_stand_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("町コード,0歳,1歳,1歳,2+\n1,2,3,4,5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"column of people must stand once; 1 columns.*first 1歳"):
        stocks(tmp_path, "x.csv", date="2025-03-31", sex="total")


# ---- ages and headers -------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_any_partition_is_a_chain(widths: list[int], order: Any) -> None:
    edges = np.cumsum([0, *widths]).tolist()
    groups = [(a, b - a) for a, b in pairwise(edges)] + [(edges[-1], 0)]
    shuffled = list(groups)
    order.shuffle(shuffled)
    assert age_chain(shuffled) == (groups, [], "")
    whole = (0, edges[-1])
    if whole not in groups:
        assert age_chain([*shuffled, whole]) == (groups, [whole], "")
    assert len({show_group(g) for g in groups}) == len(groups)


@pytest.mark.parametrize("word", ["man0", "男0歳", "0歳_男", "0歳男性", "男性_0", "0～0歳/m", "m0"])
def test_columns_of_one_sex_and_age(word: str) -> None:
    assert read_header([word]).cells == {("male", (0, 1)): word}


def test_dates_in_names() -> None:
    assert date_in("zensi2503.xls") == datetime.date(2013, 3, 31)
    assert date_in("202402opendata.csv") == datetime.date(2024, 2, 29)
    assert date_in("jinko_20250331.csv") == datetime.date(2025, 3, 31)
    assert date_in("0066.xlsx") is None


# ---- 地域・年齢別人口, its five variants ------------------------------------------------------

OLD = (
    "都道府県コード又は市区町村コード,地域コード,都道府県名,市区町村名,調査年月日,地域名,"
    "総人口,男性,女性"
)
NEW = "全国地方公共団体コード,地域コード,地方公共団体名,調査年月日,地域名,総人口,男性,女性"


def region_age(head: str, tail: str, top: int, unknown: str, rows: list[list[object]]) -> str:
    groups = [f"{a}-{a + 4}歳" for a in range(0, top, 5)] + [f"{top}歳以上"]
    ages = [f"{g}の{sex}性" for g in [*groups, *([unknown] if unknown else [])] for sex in "男女"]
    lines = [",".join([head, *ages, tail])]
    for row in rows:
        lead = [str(cell) for cell in row]
        each = "1" if row[-1] == len(groups) else "2"
        counts = [each] * 2 * len(groups) + ["0"] * 2 * bool(unknown)
        end = [""] * (tail.count(",") + 1)
        lines.append(",".join([*lead, *counts, *end]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "encoding", "open_age"),
    [
        (
            "old.csv",
            region_age(
                OLD, "世帯数,備考", 100, "年齢不詳",
                [[999999, "", "港県", "港市", "2025/1/1", "", 84, 42, 42],
                 [999999, "", "港県", "港市", "2025/1/1", "浜町", 42, 21, 21],
                 [999999, "", "港県", "港市", "2025/1/1", "丘町", 42, 21, 21]],
            ),
            "utf-8-sig",
            100,
        ),
        (
            "old2021.csv",
            region_age(
                OLD, "世帯数,備考,KEY_CODE", 85, "不詳者",
                [[999999, "01", "港県", "港市", "令和7年1月1日", "浜町", 36, 18, 18],
                 [999999, "02", "港県", "港市", "令和7年1月1日", "丘町", 36, 18, 18]],
            ),
            "cp932",
            85,
        ),
        (
            "new.csv",
            region_age(
                NEW, "世帯数,備考", 85, "",
                [[999999, "01", "港市", "2025-01-01", "浜町", 36, 18, 18],
                 [999999, "02", "港市", "2025-01-01", "丘町", 36, 18, 18]],
            ),
            "utf-16",
            85,
        ),
        (
            "20250101opendata.csv",
            region_age("地域名,総人口,男性,女性", "世帯数", 85, "",
                       [["浜町", 36, 18, 18], ["丘町", 36, 18, 18]]),
            "cp932",
            85,
        ),
        (
            "linked.csv",
            "#property,prefCode,regionCode,prefName,cityName,surveyDate,regionName,totalPopulation,"
            "male,woman," + ",".join(f"man{i},woman{i}" for i in range(1, 19))
            + ",numberOfHouseholds,note,location\n"
            + f"1,99999,,港県,港市,1/1/2025,浜町,36,18,18,{','.join(['1'] * 36)},9,,\n"
            + f"2,99999,,港県,港市,1/1/2025,丘町,36,18,18,{','.join(['1'] * 36)},9,,\n",
            "utf-8",
            85,
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["region_age", None])
def test_variants(
    tmp_path: Path, name: str, text: str, encoding: str, open_age: int, layout: str | None
) -> None:
    (tmp_path / name).write_text(text, encoding=encoding)
    read = stocks(tmp_path, name, layout=layout)
    assert (read["population"] == 1).all()
    assert read["age"].values.tolist() == [*range(0, open_age, 5), open_age]
    assert read["age_width"].values.tolist() == [5] * (open_age // 5) + [0]
    assert sorted(read["area_name"].values) == ["丘町", "浜町"]
    assert str(read["count_date"].values[0])[:10] == "2025-01-01"
    assert "ward" not in read.coords


def test_takamatsu(shared_data: Path) -> None:
    folder = shared_data / "takamatsu"
    raw = stocks(folder, "raw/0066*.xlsx", layout="region_age")
    tidy = stocks(folder, "takamatsu_town_age5sex_2018-11_2022-12.csv.gz", layout="region_age")
    assert dict(tidy.sizes) == {"time": 49, "sex": 2, "age": 18, "area": 235}
    days = [day for day in raw["time"].values if day in tidy["time"].values]
    assert len(days) == 2
    xr.testing.assert_equal(raw["population"].sel(time=days), tidy["population"].sel(time=days))
    assert raw["population"].sel(area="塩屋町").isel(time=0).sum() == 226


# ---- Kobe -------------------------------------------------------------------------------------


def kobe_book(
    folder: Path, name: str = "zensi3103.xls", change: tuple[str, int, int, object] | None = None
) -> Path:
    """An invented workbook of two wards, one with a branch office, as Kobe publishes them."""
    rng = np.random.default_rng(3)
    wards = {
        ("28101", "東区", "本区"): ["101001001", "101001002", "101002000"],
        ("28102", "西区", "本区"): ["102001000", "102014002"],
        ("28102", "西区", "北西支所"): ["102026161", "102026162"],
    }
    sheets: dict[str, list[list[object]]] = {"神戸市": []}
    title = "町別世帯数年齢１歳階級別人口統計（全市）　　平成３１年３月３１日現在　　※秘匿"
    names = ["区CD", "行政区CD", "区名", "支所・出張所", "性別", "世帯数", "人口_総数"]
    sheets["神戸市"] = [
        ["行政区別（平成31年３月31日現在）"],
        [*names, *(f"人口_{age}" for age in AGES)],
    ]
    ward_rows: list[tuple[tuple[str, str, str], np.ndarray]] = []
    for (code, ward, branch), towns in wards.items():
        sheet: list[list[object]] = [
            [None, title],
            [
                "区・支所",
                "区コード",
                "町コード",
                "町名",
                "世帯数",
                "男",
                "女",
                "合計",
                *AGES,
                "再_65歳以上",
            ],
        ]
        male = rng.integers(0, 9, (len(towns), 101))
        female = rng.integers(0, 9, (len(towns), 101))
        # The second town is withheld: its people are in the row above.
        for sex in (male, female):
            sex[0] += sex[1]
            sex[1] = 0
        both = male + female
        office = f"{ward if branch == '本区' else branch}"
        total = [int(male.sum()), int(female.sum()), int(both.sum()), *both.sum(axis=0).tolist()]
        sheet.append(
            [
                f"＊{office}計＊",
                float(code),
                0.0,
                f"神戸市{ward}",
                9,
                *total,
                int(both[:, 65:].sum()),
            ]
        )
        for i, town in enumerate(towns):
            by_sex = [int(male[i].sum()), int(female[i].sum()), int(both[i].sum())]
            figures: list[object] = [9, *by_sex, *both[i].tolist(), int(both[i, 65:].sum())]
            if i == 1:
                figures = [None] * len(figures)
            sheet.append([office, float(code), float(town), f"白川字不計{i}", *figures])
        sheets[office] = sheet
        ward_rows.append(((code, ward, branch), np.stack([male.sum(axis=0), female.sum(axis=0)])))
    city = np.sum([rows for _, rows in ward_rows], axis=0)
    west = ward_rows[1][1] + ward_rows[2][1]
    table = [
        (("28100", "全市", "＊合計＊"), city),
        ward_rows[0],
        (("28102", "西区", "＊合計＊"), west),
        *ward_rows[1:],
    ]
    for (code, ward, branch), rows in table:
        for sex, counts in (("＊合計＊", rows.sum(axis=0)), ("男", rows[0]), ("女", rows[1])):
            line = [code, "00000", ward, branch, sex, 9, int(counts.sum()), *counts.tolist()]
            sheets["神戸市"].append(line)
    if change is not None:
        sheet_name, r, c, value = change
        sheets[sheet_name][r][c] = value
    book = xlwt.Workbook()
    for sheet_name, lines in sheets.items():
        sheet = book.add_sheet(sheet_name)
        for r, line in enumerate(lines):
            for c, value in enumerate(line):
                if value is not None:
                    sheet.write(r, c, value)
    book.save(str(folder / name))
    return folder / name


def test_an_invented_workbook_as_kobe_publishes_them(tmp_path: Path) -> None:
    kobe_book(tmp_path)
    read = stocks(tmp_path, "*.xls", layout="kobe")
    assert read["area"].values.tolist()[0] == "101001001"
    assert set(read["ward"].values) == {"28101", "28102"}
    assert set(read["ward_name"].values) == {"東区", "西区"}
    assert read["ward_margin"].values.tolist() == ["28101", "28102"]
    assert str(read["count_date"].values[0])[:10] == "2019-03-31"
    by_ward = read["population"].groupby("ward").sum().isel(time=0, sex=0)
    np.testing.assert_array_equal(by_ward, read["ward_population"].sum("sex_margin").isel(time=0))
    assert np.isnan(read["population"].sel(area="101001002")).all()
    assert read["population_by_sex"].sum() == read["population"].sum()
    # 白川字不計 is a town, whatever its last letter.
    assert read["population"].sel(area="102026161").sum() > 0
    assert len([n for n in read.attrs["notes"] if n.where == "zensi3103.xls"]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("東区", 3, 8, 99),
            r"sheet 東区: 合計 must equal the sum of its ages; 1 of .*first at row 4",
        ),
        (
            ("東区", 2, 10, 9),
            r'sheet 東区: 合計 must equal|sheet 東区: the row "＊東区計＊" must equal',
        ),
        (("神戸市", 5, 7, 9), r"sheet 神戸市: 人口_総数 must equal the sum of its ages"),
        (("東区", 5, 2, 101001001.0), r"sheet 東区: area must stand once only"),
        (("東区", 3, 9, "九"), r'sheet 東区: count must be a number.*row 4, column 1歳: "九"'),
    ],
)
def test_workbooks_that_do_not_add_up(
    tmp_path: Path, change: tuple[str, int, int, object], message: str
) -> None:
    path = kobe_book(tmp_path, change=change)
    with pytest.raises(InputError, match=message):
        stocks(tmp_path, path.name, layout="kobe")


def test_a_ward_whose_towns_are_not_all_there(tmp_path: Path) -> None:
    kobe_book(tmp_path)
    table = City(name="x", population=({"files": ("*.xls",), "layout": "kobe"},)).population[0]
    towns, wards = read_kobe(tmp_path / "zensi3103.xls", "zensi3103.xls", table)
    from popproj.readers.layouts import _check_wards

    assert _check_wards("x", towns, wards) == []
    (fault,) = _check_wards("x", towns[:-1], wards)
    assert str(fault).startswith("x: the towns of ward 28102 must make up the ward's figures")


def test_not_a_workbook_of_towns(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_excel(tmp_path / "x.xlsx", index=False)
    with pytest.raises(InputError, match=r"must have sheets of towns with a column 町コード"):
        stocks(tmp_path, "x.xlsx", layout="kobe")


# Published totals of the workbooks' own city row (全市 ＊合計＊).
KOBE = {
    "2013-03-31": 1_550_634, "2013-06-30": 1_553_165, "2014-03-31": 1_548_790,
    "2015-03-31": 1_546_191, "2016-03-31": 1_544_671, "2017-03-31": 1_541_080,
    "2017-09-30": 1_542_375,
}  # fmt: skip


def test_kobe_to_the_person(shared_data: Path) -> None:
    """All seven dates: the towns make up every ward, sex and age that the city publishes."""
    read = stocks(shared_data / "kobe" / "raw", "zensi*.xls*", layout="kobe")
    days = [str(day)[:10] for day in read["count_date"].values]
    assert (
        dict(zip(days, read["population"].sum(["sex", "age", "area"]).values, strict=True)) == KOBE
    )
    assert read["ward_margin"].size == 9
    by_ward = read["population"].groupby("ward").sum().isel(sex=0)
    wards = read["ward_population"].sum("sex_margin")
    np.testing.assert_array_equal(
        by_ward.transpose("time", "age", "ward"), wards.transpose(*wards.dims)
    )
    np.testing.assert_array_equal(
        read["population_by_sex"].groupby("ward").sum().transpose("time", "sex_margin", "ward"),
        read["ward_population"].sum("age_margin").transpose("time", "sex_margin", "ward_margin"),
    )
    tidy = pd.read_csv(
        shared_data / "kobe" / "kobe_town_age1_2012-2017.csv.gz", dtype={"town_code": str}
    )
    for day in days:
        theirs = tidy[tidy["date"] == day].set_index("town_code").filter(regex=r"^a\d+$")
        ours = read["population"].isel(sex=0, time=days.index(day)).sel(area=theirs.index.to_list())
        np.testing.assert_array_equal(ours.transpose("area", "age"), theirs)
        assert 267 <= np.isnan(ours).all("age").sum() <= 311


def test_kobe_tidied_reads_like_the_workbooks(shared_data: Path) -> None:
    folder = shared_data / "kobe"
    tidy = stocks(folder, "kobe_town_age1_2012-2017.csv.gz")
    raw = stocks(folder / "raw", "zensi2903.xls", layout="kobe")
    day = raw["time"].values
    for name in ("population", "population_by_sex"):
        ours = tidy[name].sel(time=day, area=raw["area"].values)
        np.testing.assert_array_equal(ours.transpose(*raw[name].dims), raw[name])
    assert tidy.sizes["time"] == 33

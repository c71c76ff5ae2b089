"""A first city.toml from files that nobody described."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from popproj.config import load_city
from popproj.readers.guess import guess
from popproj.readers.stocks import read_stocks
from popproj.schema import InputError

TOWNS = "町コード,町名,区コード,校区コード,校区\n001,浜町,1,E1,北小\n002,丘町,1,E2,南小\n"
MOVES = "異動日,異動事由,町コード,性別,生年月日\n2024-05-01,転入,001,男,1990-01-02\n"
COUNTS = "年度,異動事由,町コード,性別,年齢,人数\n2024,死亡,001,男,80,1\n"
SCHOOLS = "施設ID,施設名,緯度,経度\n1,北小学校,34.1,135.2\n"


def save(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def people(day: str = "2025-03-31", areas: tuple[str, ...] = ("001", "002")) -> str:
    rows = [
        f"{day},{area},{sex},{age},3"
        for area in areas
        for sex in "男女"
        for age in (*range(100), "100歳以上")
    ]
    return "\n".join(["調査年月日,町コード,性別,年齢,人数", *rows]) + "\n"


def load(folder: Path, text: str, data: Path | None = None):
    save(folder, "city.toml", text)
    return load_city(folder / "city.toml", data)


def test_everything_a_city_may_have(tmp_path: Path) -> None:
    files = [
        save(tmp_path, "p2024.csv", people("2024-03-31"), "cp932"),
        save(tmp_path, "p2025.csv", people("2025-03-31"), "cp932"),
        save(tmp_path, "towns.csv", TOWNS),
        save(tmp_path, "moves.csv", MOVES),
        save(tmp_path, "counts.csv", COUNTS),
        save(tmp_path, "wards.csv", "区コード,年,出生,死亡\n1,2024,10,20\n"),
        save(tmp_path, "schools.csv", SCHOOLS.replace(",", "\t"), "utf-16"),
        save(tmp_path, "lines.csv", "旧町コード,新町コード\n000,001\n"),
        save(tmp_path, "mx.csv", "年齢,性別,mx\n0,女,0.002\n"),
        save(tmp_path, "strange.csv", "x,y,z\n1,2,3\n"),
        save(
            tmp_path,
            "map.geojson",
            json.dumps(
                {
                    "type": "FeatureCollection",
                    "features": [
                        {"properties": {"OBJECTID": i, "key": f"E{i}", "学校": f"{n}小学校"}}
                        for i, n in ((1, "北"), (2, "南"))
                    ],
                }
            ),
        ),
    ]  # fmt: skip
    text = guess(files, base=tmp_path, lang="en")
    city = load(tmp_path, text)
    (population,) = city.population
    assert population.files == ("p2024.csv", "p2025.csv")
    assert population.encoding == "cp932"
    assert population.columns["count"] == "人数"
    assert city.areas is not None
    assert city.areas.columns["district"] == "校区コード"
    assert city.districts is not None
    assert (city.districts.code, city.districts.name) == ("key", "学校")
    assert city.facilities is not None
    assert (city.facilities.encoding, city.facilities.delimiter) == ("utf-16", "\t")
    assert city.lineage is not None
    assert city.life_table is not None
    assert city.events == city.ward_events == ()
    assert "# count dates: 2024-03-31, 2025-03-31" in text
    assert "# please fill in: first day of the year of the events" in text
    assert "# please fill in: event: age when it happened" in text
    assert "# strange.csv: not recognised; its columns are x, y, z" in text
    assert "1990" not in text, "what stands in records of persons is not repeated"
    assert read_stocks(city)["population"].sum() == 2 * 2 * 2 * 101 * 3
    # What waits to be filled in is complete once it is.
    filled = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )
    assert len(load(tmp_path, filled).events) == 2


def test_every_value_has_its_reason(tmp_path: Path) -> None:
    files = [save(tmp_path, "p.csv", "人口一覧\n\n" + people(), "cp932")]
    for lang in ("ja", "en"):
        lines = guess(files, base=tmp_path, lang=lang).splitlines()
        for i, line in enumerate(lines):
            key = line.split(" = ")[0]
            if key in ("layout", "sheet", "skip_rows", "encoding", "delimiter", "records"):
                assert lines[i - 1].startswith("# "), line
            elif key in ("date", "area", "sex", "age", "count"):
                assert "  # " in line, line
        assert any(line.startswith("skip_rows = 2") for line in lines)


def test_titles_tell_the_day_and_files_without_one_ask(tmp_path: Path) -> None:
    body = people().replace("調査年月日,", "").replace("2025-03-31,", "")
    titled = save(tmp_path, "a.csv", "人口統計　令和７年３月３１日現在\n" + body, "cp932")
    city = load(tmp_path, guess([titled], base=tmp_path))
    assert city.population[0].date == datetime.date(2025, 3, 31)
    assert read_stocks(city)["population"].sum() == 2 * 2 * 101 * 3
    plain = save(tmp_path, "b.csv", body)
    text = guess([plain], base=tmp_path, lang="en")
    assert '# please fill in: day of the count: no column holds it\n#date = "' in text
    with pytest.raises(InputError, match=r'b.csv: the table must have a column date.*date = "…"'):
        read_stocks(load(tmp_path, text))


def test_other_folders_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "city").mkdir()
    path = save(tmp_path / "in", "p.csv", people())
    text = guess([path], base=tmp_path / "city")
    assert tomllib.loads(text)["population"][0]["file"] == "../in/p.csv"
    assert load(tmp_path / "city", text).population[0].files == ("../in/p.csv",)
    empty, cut = save(tmp_path, "e.csv", ""), tmp_path / "c.xlsx"
    cut.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError) as caught:
        guess([path, empty, cut])
    assert [fault.where for fault in caught.value.faults] == ["e.csv", "c.xlsx"]


def test_the_sheet_that_holds_the_table(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "p.xlsx") as book:
        pd.DataFrame({"説明": ["この表は"]}).to_excel(book, sheet_name="表紙", index=False)
        ages = {f"{a}歳": [1] for a in range(100)} | {"100歳以上": [2]}
        table = pd.DataFrame({"町コード": ["1"], "調査日": ["2025/3/31"], **ages})
        table.to_excel(book, sheet_name="人口", index=False)
    text = guess([tmp_path / "p.xlsx"], base=tmp_path, lang="en")
    assert "ages side by side: 0 … 100+, both sexes" in text
    city = load(tmp_path, text)
    assert city.population[0].sheet == "人口"
    assert read_stocks(city)["population"].sum() == 102


def test_kobe(shared_data: Path, tmp_path: Path) -> None:
    kobe = shared_data / "kobe"
    files = [
        *sorted((kobe / "raw").glob("zensi290*")),
        *sorted((kobe / "facilities").glob("*.csv")),
        kobe / "kobe_PROXY_town_to_school_nearest.csv",
        kobe / "kobe_PROXY_school_districts_voronoi.geojson",
    ]
    text = guess(files, base=shared_data)
    city = load(tmp_path, text, shared_data)
    assert city.name == "神戸市"
    assert [table.layout for table in city.population] == ["kobe"]
    assert city.facilities is not None
    assert len(city.facilities.files) == 17
    assert city.areas is not None
    assert city.areas.columns["area"] == "town_code"
    assert city.districts is not None
    assert city.districts.code == "district_id"
    assert read_stocks(city)["population"].isel(time=0).sum() == 1_541_080


def test_takamatsu(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "takamatsu" / "raw").glob("*.xlsx"))
    text = guess(files, base=shared_data, lang="en")
    city = load(tmp_path, text, shared_data)
    assert city.name == "高松市"
    assert [table.layout for table in city.population] == ["region_age"]
    assert len(city.population[0].files) == 3
    assert "future_population_0068.xlsx: not recognised" in text
    assert np.isfinite(read_stocks(city)["population"]).all()


def test_real_district_maps(shared_data: Path) -> None:
    text = guess([shared_data / "geo" / "A27-23_29_GML" / "A27-23_29.shp"], base=shared_data)
    found = tomllib.loads(text)["districts"]
    assert (found["code"], found["name"]) == ("A27_003", "A27_004")

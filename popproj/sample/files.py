"""The sample city written as the files that any city hands over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from popproj.sample import names
from popproj.sample.city import AgeAt, Sample, coded
from popproj.sample.places import MERGER
from popproj.schema import EVENT_KINDS, SEXES, Fault, InputError

_MARK = "# popproj sample"


def write(
    sample: Sample,
    folder: str | os.PathLike[str],
    *,
    age_at: AgeAt = "year_end",
    records: bool = False,
) -> list[Path]:
    """Write the city's register, map, schools and city file.

    The city file comes last: where it stands, the others are complete.

    Parameters
    ----------
    sample
        From :func:`~popproj.sample.simulate`.
    folder
        Where to; made if it is not there.
    age_at
        Age of the counted events: reached at the end of the year, or at the event.
    records
        One row a resident and count date (``residents.csv``) and one row an event, instead of
        counts.

    Returns
    -------
    list of Path
        What was written, the city file first.

    Raises
    ------
    InputError
        Where the folder holds the city file of another city.

    Examples
    --------
    >>> import tempfile
    >>> from popproj.sample import simulate, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(*(path.name for path in write(simulate(districts=6), folder)))
    city.toml README.txt population.csv events.csv areas.csv districts.geojson towns.geojson
    facilities.csv enrolment.csv developments.csv
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    city = folder / "city.toml"
    if city.exists() and not city.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise InputError(
            Fault(
                str(city),
                "the sample city is written to a folder of its own, and this holds another city",
                "Name another folder.",
            )
        )
    written = [city, folder / "README.txt"]

    def table(name: str, frame: pd.DataFrame, encoding: str = "utf-8-sig") -> None:
        frame.to_csv(folder / name, index=False, encoding=encoding, lineterminator="\n")
        written.append(folder / name)

    def large(name: str, frames: Iterator[pd.DataFrame]) -> None:
        _write_large(folder / name, frames)
        written.append(folder / name)

    if records:
        large("residents.csv", _residents(sample))
        large("events.csv", iter([_event_records(sample)]))
    else:
        large("population.csv", iter([_population(sample)]))
        large("events.csv", iter([sample.event_counts(age_at)]))
    table("areas.csv", _areas(sample))
    for level in ("district", "town"):
        path = folder / f"{level}s.geojson"
        sample.places.outlines(level).to_file(path, driver="GeoJSON", COORDINATE_PRECISION=7)
        written.append(path)
    # one file as an older office system writes it
    table("facilities.csv", sample.facilities.drop(columns="district"), encoding="cp932")
    table("enrolment.csv", sample.enrolment)
    table("developments.csv", sample.developments)

    written[1].write_text(_readme(sample), encoding="utf-8-sig", newline="\n")
    written[0].write_text(_city_toml(age_at, records), encoding="utf-8", newline="\n")
    return written


def _write_large(path: Path, frames: Iterator[pd.DataFrame]) -> None:
    """CSV with a byte order mark, by Arrow: a full city has millions of rows."""
    import pyarrow as pa
    from pyarrow import csv

    plain = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        writer = None
        for frame in frames:
            data = pa.Table.from_pandas(frame, preserve_index=False)
            for i, column in enumerate(data.columns):
                if pa.types.is_dictionary(column.type):
                    data = data.set_column(i, data.field(i).name, column.cast(pa.string()))
            data = data.replace_schema_metadata(None)
            if writer is None:
                file.write((",".join(data.column_names) + "\n").encode("utf-8-sig"))
                writer = csv.CSVWriter(file, data.schema, write_options=plain)
            writer.write_table(data)
        if writer is not None:
            writer.close()


def _population(sample: Sample) -> pd.DataFrame:
    """Wide by age: one row a count date, town and sex."""
    stocks = sample.population.transpose("time", "area", "sex", "age")
    open_age = int(stocks["age"][-1])
    wide = pd.DataFrame(
        stocks.to_numpy().reshape(-1, stocks.sizes["age"]),
        columns=[*map(str, range(open_age)), f"{open_age}+"],
    )
    keys = pd.MultiIndex.from_product(
        [
            np.datetime_as_string(sample.count_dates, unit="D"),
            stocks["area"].to_numpy(),
            list(SEXES),
        ],
        names=["date", "area", "sex"],
    ).to_frame(index=False)
    return pd.concat([keys, wide], axis=1)


def _residents(sample: Sample) -> Iterator[pd.DataFrame]:
    """One row a resident, a table a count date; sorted, so that rows cannot be followed in time."""
    areas = sample.places.towns["area"].tolist()
    for day, people in zip(sample.count_dates, sample.history.residents, strict=True):
        ordered = people.sort_values(["town", "birth", "sex"])
        yield pd.DataFrame(
            {
                "date": coded(np.zeros(len(ordered), dtype=np.int64), [str(day)]),
                "area": coded(ordered["town"].to_numpy(), areas),
                "sex": coded(ordered["sex"].to_numpy(), SEXES),
                "birth_date": _dates(ordered["birth"]),
            }
        )


def _event_records(sample: Sample) -> pd.DataFrame:
    """One row an event, in the order of their dates."""
    events = sample.history.events.sort_values(["day", "kind", "town"], kind="stable")
    areas = sample.places.towns["area"].tolist()
    is_birth = events["kind"].to_numpy() == EVENT_KINDS.index("birth")
    own, mother = _dates(events["birth"]), _dates(events["birth"])
    own[is_birth] = _dates(events["day"])[is_birth]
    mother[~is_birth] = None
    return pd.DataFrame(
        {
            "date": _dates(events["day"]),
            "kind": coded(events["kind"].to_numpy(), EVENT_KINDS),
            "area": coded(events["town"].to_numpy(), areas),
            "other_area": coded(events["other"].to_numpy() + 1, ["", *areas]),
            "sex": coded(events["sex"].to_numpy(), SEXES),
            "birth_date": own,
            "mother_birth_date": mother,
        }
    )


def _dates(days: pd.Series) -> Any:
    """Days since 1970 as dates for Arrow."""
    import pyarrow as pa

    return pd.array(
        pa.array(days.to_numpy(np.int32)).cast(pa.date32()), dtype=pd.ArrowDtype(pa.date32())
    )


def _areas(sample: Sample) -> pd.DataFrame:
    """Towns with their ward and district; the towns of the merged schools stand twice."""
    places = sample.places
    towns = places.towns[["area", "name", "name_en", "ward", "district", "former"]]
    before = towns[towns["former"] != ""].copy()
    before["district"] = before["former"]
    before["valid_to"] = str(MERGER - 1)
    after = towns.assign(valid_from=np.where(towns["former"] != "", str(MERGER), ""))
    table = pd.concat([before, after]).fillna("")
    districts = pd.concat([places.districts, places.former])[["district", "name", "name_en"]]
    table = (
        table.merge(districts, on="district", suffixes=("", "_of_district"), validate="m:1")
        .merge(places.wards, on="ward", suffixes=("", "_of_ward"), validate="m:1")
        .rename(
            columns={
                "name_of_district": "district_name",
                "name_en_of_district": "district_name_en",
                "name_of_ward": "ward_name",
                "name_en_of_ward": "ward_name_en",
            }
        )
    )
    columns = (
        "area name name_en ward ward_name ward_name_en"
        " district district_name district_name_en valid_from valid_to"
    )
    return table.sort_values(["area", "valid_from"], ignore_index=True)[columns.split()]


def _city_toml(age_at: AgeAt, records: bool) -> str:
    name, name_en = names.CITY
    if records:
        register = _RECORDS
    else:
        register = Template(_COUNTS).substitute(age_at=age_at)
    return Template(_CITY).substitute(mark=_MARK, name=name, name_en=name_en, register=register)


def _readme(sample: Sample) -> str:
    places, former = sample.places, sample.places.former
    stocks = sample.population.sum(["sex", "age", "area"]).to_numpy()
    heir = places.districts.set_index("district").loc[former["successor"].iloc[0]]
    return Template(_README).substitute(
        name=names.CITY[0],
        name_en=names.CITY[1],
        seed=sample.seed,
        wards=len(places.wards),
        districts=len(places.districts),
        towns=len(places.towns),
        first=f"{stocks[0]:,}",
        last=f"{stocks[-1]:,}",
        start=sample.count_dates[0],
        end=sample.count_dates[-1],
        merger=MERGER,
        old=" + ".join(former["name"]),
        old_en=" + ".join(former["name_en"]),
        heir=heir["name"],
        heir_en=heir["name_en"],
        estate=sample.developments["name"].iloc[0],
        estate_en=sample.developments["name_en"].iloc[0],
        units=sample.developments["units"].iloc[0],
    )


_COUNTS = """\
# 人口: 1行 = 調査日 x 町丁目 x 性別、列 = 年齢
# Residents: one row a count date, town and sex; ages across.
[population]
file = "population.csv"

# 異動: 出生・死亡・転入・転出・転居の件数。出生の年齢は母の年齢
# Events, counted. Births carry the mother's age at the birth.
[events]
file = "events.csv"
age_at = "$age_at"  # 年齢の時点: event = 異動時, year_end = 年度末
year_starts = "04-01"  # 年度は4月1日に始まる / years start on 1 April
"""

_RECORDS = """\
# 住民の個票: 1行 = 調査日 x 1人(氏名・番号なし)
# Anonymised residents: one row a person and count date.
[residents]
file = "residents.csv"

# 異動の個票: 1行 = 1件
# Events: one row each.
[events]
file = "events.csv"
records = true
year_starts = "04-01"  # 年度は4月1日に始まる / years start on 1 April
"""

_CITY = """\
$mark: 架空の港町 / an invented port city
#
# 実在の市でも同じ書き方をします。ファイル名はこのファイルからの相対パスです。
# A real city is described in the same way. File names are relative to this file.

name = "$name"
name_en = "$name_en"
source = "popproj の架空の住民基本台帳 / popproj's invented register"
license = "CC0-1.0"

$register
# 町丁目 -> 区・校区。valid_from, valid_to は校区の統廃合の日
# Towns: their ward and school district, with the days from and to which that holds.
[areas]
file = "areas.csv"

# 校区のポリゴン / polygons of the districts
[districts]
file = "districts.geojson"
code = "district"
name = "name"

# 学校・公共施設 / schools and other facilities
[facilities]
file = "facilities.csv"
encoding = "cp932"  # 古い業務システムの文字コード / as older office systems write

# 5月1日現在の児童数・学級数 / pupils and classes at 1 May
[enrolment]
file = "enrolment.csv"

# 住宅開発 / housing developments
[developments]
file = "developments.csv"

# 率の推定。校区の率は、区と市の率を借りて安定させる(縮約推定)
# Rates: a district borrows from its ward and the city as far as its own events leave it unsure.
[rates]
# years = [2019, 2020, 2021, 2022, 2023]  # 省略するとすべて / default: all
# mortality = "city"                      # 省略すると縮約推定 / default: "shrunk"

# 推計: 基準日は最新の調査日 / from the latest count on
[projection]
horizon = 30

# 将来の仮定。シナリオごとに1節 / what is assumed, one section a scenario
[scenario.baseline]
label = "現状推移"
label_en = "Trend"
source = "直近10年の率が続くと仮定 / the rates of the last ten years go on"
mortality_improvement = 0.0  # この市の死亡率は変化しない / death rates do not change here
"""

_README = """\
$name ($name_en)
================

架空の港町のデータです。実在の市・学校・人とは関係がありません。popproj sample が作りました
(乱数の種 $seed)。地図上は四国の南の海上にあります。

  区 $wards、小学校区 $districts、町丁目 $towns
  人口 $first 人 ($start) -> $last 人 ($end)

  city.toml         設定。ここから始めます
  population.csv    住民基本台帳の人口: 調査日 x 町丁目 x 性別 x 各歳
  events.csv        異動(出生・死亡・転入・転出・転居): 年度 x 町丁目 x 性別 x 年齢
  residents.csv     住民の個票(個票で書き出したときだけ。population.csv の代わり)
  areas.csv         町丁目と区・小学校区の対応。コードは区3桁+町3桁+丁目3桁
  districts.geojson 小学校区(JGD2011 経緯度)。towns.geojson は町丁目
  facilities.csv    学校・保育所・図書館・診療所・介護施設など(この1つだけ cp932)
  enrolment.csv     5月1日現在の児童数と学級数
  developments.csv  住宅開発

小学校の統合: $merger に $old -> $heir
住宅開発: 2018-2020年度に $estate ($units 戸) が入居し、町の人口に表れています。
年齢別の死亡・出生・移動の起こりやすさ(真の率)は popproj.sample.simulate() の true_rates に
あり、推定の良し悪しを確かめられます。

--------------------------------------------------------------------------------

Data of an invented port city, made by `popproj sample` (seed $seed). It has nothing to do with any
real city, school or person, and lies in the open sea south of Shikoku.

  $wards wards, $districts elementary-school districts, $towns towns (町丁目)
  $first residents ($start) -> $last ($end)

  city.toml         what is what: start here
  population.csv    register: count date x town x sex x single year of age
  events.csv        births, deaths, arrivals, departures, moves by year, town, sex and age
  residents.csv     resident records (only when written as records, instead of population.csv)
  areas.csv         towns with ward and school district; codes are ward, town, chome, 3 digits each
  districts.geojson school districts (JGD2011, degrees); towns.geojson: the towns
  facilities.csv    schools, nurseries, libraries, clinics, care (this one file in cp932)
  enrolment.csv     pupils and classes at 1 May
  developments.csv  housing developments

School merger: on $merger, $old_en -> $heir_en.
Housing: $estate_en ($units homes) filled in fiscal 2018-2020, and shows in its town's population.
The true hazards of dying, giving birth and moving are known, so that estimates can be judged:
true_rates of popproj.sample.simulate().
"""

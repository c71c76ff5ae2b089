"""The city, and what is estimated, assumed and written for it."""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from popproj.config.tables import (
    AreasTable,
    ControlsTable,
    DevelopmentsTable,
    DistrictsFile,
    EnrolmentTable,
    EventsTable,
    FacilitiesTable,
    FertilityFile,
    GroupQuartersTable,
    LifeTableFile,
    LineageTable,
    PopulationTable,
    ResidentsTable,
    WardEventsTable,
)
from popproj.config.values import (
    Day,
    GroupAges,
    Ja,
    Language,
    Level,
    Section,
    SharedLevel,
    Text,
    Year,
    Years,
    as_tuple,
    must,
)


class Parameters(Section):
    """What is estimated from the past, and from how much of it."""

    years: Annotated[
        Years | None,
        Field(examples=[(2020, 2021, 2022, 2023, 2024)]),
        Ja("率の計算に使う年(期首の暦年)。省略するとすべて"),
    ] = None
    """Years whose events make the rates, by the calendar year in which each starts. Default: all
    that the register holds: more years steady a small district's rates."""

    exclude_years: Annotated[Years, Ja("除く年(感染症、災害など)")] = ()
    """Years left out: epidemics, disasters, a change of the register. Default: none."""

    year_weights: Annotated[
        Mapping[Year, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
        Ja("年ごとの重み(省略時は1)"),
        Field(examples=[{2020: 0.5}]),
    ] = {}
    """Weight of a year's events and exposure; 1 where not given."""

    mortality: Annotated[
        SharedLevel,
        Ja("死亡率を求める単位: shrunk(縮約推定)、district(校区)、ward(区)、city(市)"),
    ] = "shrunk"
    """Where death rates come from: shrunk (each district's own as far as its events tell it from
    its ward and the city, and theirs for the rest), or the plain sums of the district, ward or
    city. Default shrunk: 80 deaths a year over 200 cells say little alone, and not nothing."""

    fertility: Annotated[SharedLevel, Ja("出生率を求める単位")] = "shrunk"
    """Where fertility comes from; district: the city's schedule at the district's own level.
    Default shrunk."""

    out_migration: Annotated[SharedLevel, Ja("転出率を求める単位")] = "shrunk"
    """Where the risk of leaving the city comes from. Default shrunk."""

    in_migration: Annotated[SharedLevel, Ja("転入数の年齢構成を求める単位")] = "shrunk"
    """Where the ages of arrivals from outside come from; their number is the district's own.
    Default shrunk."""

    moves: Annotated[SharedLevel, Ja("転居率を求める単位")] = "shrunk"
    """Where the risk of moving inside the city comes from. Default shrunk."""

    net_migration: Annotated[Level, Ja("純移動(社会増減)を求める単位")] = "district"
    """Level at which net migration is pooled, where only stocks are known. Default district."""

    move_ages: Annotated[
        GroupAges, Ja("転居先の割合を求める年齢群の下限")
    ] = (0, 5, 15, 20, 25, 30, 40, 65)  # fmt: skip
    """Lowest ages of the groups that share their destinations [years]. Default 0, 5, 15, 20, 25,
    30, 40, 65: families, students, first jobs, retirement; finer groups meet too few moves."""

    @field_validator("exclude_years")
    @classmethod
    def _some_year_left(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        years = info.data.get("years")
        if years is not None and not set(years) - set(value):
            raise must(
                "must leave at least one of rates.years, and leaves none",
                "Add years, or exclude fewer.",
            )
        return value


class ProjectionOptions(Section):
    """From when, how far, and by which reading of a year."""

    base: Annotated[
        Day | None, Field(examples=["2025-03-31"]), Ja("基準日。省略すると最新の調査日")
    ] = None
    """Day of the count to start from. Default: the latest."""

    horizon: Annotated[int, Field(ge=1, le=100), Ja("推計年数")] = 30
    """How far to project [years]. Default 30, the reach of the national institute's regional
    projections."""

    convention: Annotated[
        Literal["popproj", "un_end", "un_even"], Ja("1年の中の死亡と移動の扱い")
    ] = "popproj"
    """How deaths and migration share a year. Default popproj: central rates, arrivals at risk for
    half a year; un_end and un_even follow the United Nations' two migration modes."""


class Scenario(Section):
    """What is assumed about the years to come."""

    label: Annotated[Text, Ja("名称"), Field(examples=["現状推移"])]
    """Name in tables and on pages."""

    label_en: Annotated[Text | None, Ja("名称(英語)"), Field(examples=["Trend"])] = None
    """Name on English pages. Default: label."""

    source: Annotated[Text, Ja("仮定の根拠"), Field(examples=["直近の率が続くと仮定"])]
    """Where the assumptions come from; printed with every result. No default: an assumption
    without a source cannot be argued with."""

    mortality_improvement: Annotated[
        float, Field(ge=-0.1, le=0.1), Ja("死亡率の年間低下率(0.01 = 毎年1%)")
    ] = 0.01
    """Yearly decline of the death rates at every age [1/year]. Default 0.01: a cautious
    continuation; with 0 the oldest come out too few."""

    fertility_multiplier: Annotated[float, Field(ge=0, le=5), Ja("出生率の倍率")] = 1.0
    """Factor on fertility in every future year. Default 1."""

    migration_multiplier: Annotated[float, Field(ge=0, le=5), Ja("市外との移動の倍率")] = 1.0
    """Factor on migration across the city boundary in every future year; 0 closes the city.
    Default 1."""


class ResultOptions(Section):
    """How results are written."""

    compress: Annotated[bool, Ja("結果ファイル(NetCDF)を圧縮する")] = False
    """Whether to compress the NetCDF file. Default no: fractions of people hardly shrink."""

    csv_encoding: Annotated[Literal["utf-8-sig", "cp932"], Ja("CSVの文字コード")] = "utf-8-sig"
    """Encoding of CSV files. Default utf-8-sig, which Excel opens by a double click and which
    holds every character; cp932 for older systems."""


BASELINE = Scenario(
    label="現状推移",
    label_en="Trend",
    source="過去の率が続き、死亡率は毎年1%下がる (past rates go on; death rates fall 1 % a year)",
)


class City(Section):
    """Everything that was chosen for one city.

    In city.toml ``parameters`` is the section [rates], and ``scenarios`` the sections
    [scenario.NAME]; a table of which several may be given is [[population]] or [population].
    """

    name: Annotated[Text, Ja("市の名称"), Field(examples=["みなと市"])]
    """Name of the city."""

    name_en: Annotated[Text | None, Ja("市の名称(英語)"), Field(examples=["Minato City"])] = None
    """Name of the city on English pages. Default: name."""

    lang: Annotated[
        Language | None,
        Field(examples=["ja"]),
        Ja("出力の言語: ja または en。省略するとOSの設定"),
    ] = None
    """Language of what comes out: ja or en. Default: the system's."""

    source: Annotated[Text | None, Ja("出典"), Field(examples=["住民基本台帳(みなと市)"])] = None
    """Citation line printed under tables and maps."""

    license: Annotated[Text | None, Ja("元データの利用条件"), Field(examples=["CC BY 4.0"])] = None
    """Terms of the data, printed beside the source."""

    open_age: Annotated[int, Field(ge=85, le=120), Ja("最高年齢(以上をまとめる)")] = 100
    """Lower bound of the open last age [years]. Default 100, as registers publish."""

    population: Annotated[
        tuple[PopulationTable, ...], BeforeValidator(as_tuple), Ja("人口: 地域×性別×年齢")
    ] = ()
    """Residents by area, sex and age."""

    ward_population: Annotated[
        tuple[PopulationTable, ...], BeforeValidator(as_tuple), Ja("区別の男女別年齢別人口")
    ] = ()
    """Residents of the wards by sex and age: splits areas whose sexes came together."""

    residents: Annotated[
        tuple[ResidentsTable, ...],
        BeforeValidator(as_tuple),
        Field(validate_default=True),
        Ja("住民の個票(1行1人、氏名・番号なし)"),
    ] = ()
    """Anonymised resident records, instead of or beside [population]."""

    events: Annotated[tuple[EventsTable, ...], BeforeValidator(as_tuple), Ja("異動")] = ()
    """Births, deaths, arrivals, departures and moves."""

    ward_events: Annotated[
        tuple[WardEventsTable, ...], BeforeValidator(as_tuple), Ja("区別の年間出生数・死亡数")
    ] = ()
    """Yearly births and deaths of the wards: they bound the sums of the wards' districts."""

    areas: Annotated[AreasTable | None, Ja("地域(町丁目)と校区の対応")] = None
    """Which district each area (town) belongs to. Without it the areas are the districts."""

    lineage: Annotated[LineageTable | None, Ja("町丁目の改廃(新旧対応)")] = None
    """Towns that were renamed, split or merged."""

    districts: Annotated[DistrictsFile | None, Ja("校区のポリゴン")] = None
    """Polygons of the districts."""

    facilities: Annotated[FacilitiesTable | None, Ja("学校・公共施設")] = None
    """Schools and other facilities."""

    life_table: Annotated[LifeTableFile | None, Ja("死亡率(死亡数が無いとき)")] = None
    """Death rates from outside, where the register has no deaths by age."""

    fertility: Annotated[FertilityFile | None, Ja("出生率(母の年齢別出生数が無いとき)")] = None
    """Fertility rates from outside, where the register has no births by the mother's age."""

    enrolment: Annotated[EnrolmentTable | None, Ja("児童生徒数・学級数(5月1日)")] = None
    """Pupils and classes at 1 May."""

    developments: Annotated[DevelopmentsTable | None, Ja("住宅開発の計画")] = None
    """Planned housing."""

    controls: Annotated[ControlsTable | None, Ja("合計値の指定(区または市)")] = None
    """Totals decided elsewhere, which the districts must add up to."""

    group_quarters: Annotated[GroupQuartersTable | None, Ja("寮・施設の入所者")] = None
    """People in dormitories and care homes: held constant."""

    parameters: Annotated[Parameters, Field(alias="rates"), Ja("過去から推定する率")] = Parameters()
    """What is estimated from the past, and from how much of it."""

    projection: Annotated[ProjectionOptions, Ja("推計")] = ProjectionOptions()
    """From when, how far, and by which reading of a year."""

    scenarios: Annotated[
        Mapping[Text, Scenario], Field(alias="scenario", min_length=1), Ja("将来の仮定")
    ] = {"baseline": BASELINE}
    """What is assumed about the years to come; one section for each scenario."""

    result: Annotated[ResultOptions, Ja("結果ファイル")] = ResultOptions()
    """How results are written."""

    folder: Annotated[Path, Field(exclude=True)] = Path(".")
    """What relative file names are relative to. Not a key, and not part of the record: a result
    does not depend on where its inputs lay."""

    text: str = ""
    """The file as it was read. Not a key."""

    @field_validator("residents")
    @classmethod
    def _someone_lives_here(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if not value and info.data.get("population") == ():
            raise must(
                "population or residents must be given, and neither is",
                'Add [population] with file = "…", or [residents].',
            )
        return value


def language(city: City | None = None) -> Language:
    """Language of what is written: the city's, or else the system's.

    Examples
    --------
    >>> language(City(name="Minato", lang="ja", population=({"files": ("x.csv",)},)))
    'ja'
    """
    if city is not None and city.lang is not None:
        return city.lang
    set_by = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next(filter(None, set_by), None) or locale.getlocale()[0] or ""
    # Windows says "Japanese_Japan", everyone else "ja_JP".
    return "ja" if name.lower().startswith("ja") else "en"

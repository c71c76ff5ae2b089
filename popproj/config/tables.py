"""Tables of the input contract: which files hold them, and how those are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from popproj.config.values import (
    Day,
    Days,
    Encoding,
    Ja,
    Kind,
    MonthDay,
    Section,
    Sheet,
    Text,
    Year,
    as_tuple,
    matching_files,
    must,
    nearest,
    no_match,
    shown,
)
from popproj.schema import Fault, InputError


class Table(Section):
    """One table of the input contract: the files that hold it, and how they are written.

    In city.toml ``files`` is written ``file``.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """The contract's columns: what `columns` may name."""

    files: Annotated[
        tuple[Text, ...],
        BeforeValidator(as_tuple),
        Field(min_length=1, alias="file"),
        Ja('ファイル名。複数なら一覧またはワイルドカード(["r1.xlsx", "r2/*.xls"])'),
    ]
    """File or files, relative to city.toml: a name, a pattern ("zensi*.xls"), or a list of them."""

    columns: Annotated[
        Mapping[str, Text],
        Field(examples=[{"count": "人口"}]),
        Ja("列名が自動で分からないとき: 契約の列名 = ファイルの列名"),
    ] = {}
    """What the file calls a column of the contract, where its name is not recognised."""

    sheet: Annotated[Sheet, Field(examples=["Sheet1"]), Ja("シート名または番号(0から)")] = None
    """Sheet of a workbook, by name or number from 0. Default: the first, or the layout's own."""

    skip_rows: Annotated[int, Field(ge=0), Ja("見出しの上の読み飛ばす行数")] = 0
    """Rows above the header [rows]. Default 0."""

    encoding: Annotated[
        Encoding | None, Field(examples=["cp932"]), Ja("文字コード。省略すると自動判別")
    ] = None
    """Encoding of a text file. Default: detected among UTF-8, UTF-16 and cp932."""

    delimiter: Annotated[
        str | None,
        Field(min_length=1, max_length=1, examples=[","]),
        Ja("区切り文字。省略すると自動判別"),
    ] = None
    """What separates the cells of a text file. Default: detected (comma, tab or semicolon)."""

    @field_validator("files")
    @classmethod
    def _files_exist(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        folder = (info.context or {}).get("folder")
        if folder is not None:
            for pattern in value:
                if not matching_files(pattern, folder):
                    raise must(*no_match(pattern, folder))
        return value

    @field_validator("columns")
    @classmethod
    def _columns_known(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, column in value.items():
            if cls.names and name not in cls.names:
                turned = f' The contract\'s name comes first: {column} = "{name}".'
                raise must(
                    f"must name columns of the contract, and names {shown(name)}",
                    (turned.strip() if column in cls.names else "")
                    or f"{nearest(name, cls.names)}The columns are {', '.join(cls.names)}.",
                )
        return value

    @field_validator("*")
    @classmethod
    def _fixed_or_column(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name
        if value is not None and name in cls.names and name in info.data.get("columns", {}):
            raise must(
                f"must be one value for all rows or a column, and {name} is both",
                f"Take out {name} = {shown(value)}, or {name} from columns.",
            )
        return value

    def paths(self, folder: Path) -> list[Path]:
        """Files of the table: in the order written, those of one pattern sorted, each once.

        Parameters
        ----------
        folder
            What relative names are relative to: ``City.folder``.

        Raises
        ------
        InputError
            Where a name or pattern matches no file, with the nearest names there.
        """
        faults, found = [], []
        for pattern in self.files:
            matches = matching_files(pattern, folder)
            found += matches
            if not matches:
                faults.append(Fault("city.toml", *no_match(pattern, folder)))
        if faults:
            raise InputError(faults)
        return list(dict.fromkeys(found))

    def fixed(self) -> dict[str, Any]:
        """Values that hold for every row, by the contract's column name."""
        values = ((name, getattr(self, name, None)) for name in self.names)
        return {name: value for name, value in values if value is not None}


class PopulationTable(Table):
    """Residents by area, sex and age: tidy, wide by age, or one of the open-data layouts."""

    names: ClassVar[tuple[str, ...]] = (
        "date", "area", "area_name", "ward", "ward_name", "branch", "sex", "age", "count",
        "nationality",
    )  # fmt: skip

    layout: Annotated[
        Literal["tidy", "kobe", "region_age"] | None,
        Field(examples=["tidy"]),
        Ja("表の形。tidy(縦または年齢が横)、kobe(町丁目別1歳階級)、region_age(地域・年齢別人口)"),
    ] = None
    """Form of the file: tidy (long, or wide by age), kobe (町丁目別 1歳階級 workbooks), region_age
    (自治体標準オープンデータ 地域・年齢別人口). Default: tidy."""

    date: Annotated[Day | None, Ja("調査日(列がないとき)"), Field(examples=["2025-03-31"])] = None
    """Day of the count, at its close, where no column holds it."""

    dates: Annotated[
        Days | None,
        Field(examples=[("2024-03-31", "2025-03-31")]),
        Ja("使う調査日。省略するとすべて"),
    ] = None
    """Days of the count to keep. Default: all."""

    area: Annotated[Text | None, Field(examples=["101001"]), Ja("地域コード(列がないとき)")] = None
    """Area, where no column holds it."""

    ward: Annotated[Text | None, Field(examples=["101"]), Ja("区コード(列がないとき)")] = None
    """Ward, where no column holds it."""

    sex: Annotated[
        Literal["female", "male", "total"] | None,
        Field(examples=["total"]),
        Ja("性別(列がないとき)。total は男女計"),
    ] = None
    """Sex, where no column holds it; total: both together."""

    age: Annotated[Text | None, Field(examples=["100+"]), Ja("年齢(列がないとき)")] = None
    """Age, where no column holds it: "0", "0-4", "100+"."""

    nationality: Annotated[
        Text | None, Field(examples=["日本人"]), Ja("国籍区分(列がないとき)")
    ] = None
    """Nationality group, where no column holds it."""


class ResidentsTable(Table):
    """Anonymised resident records: one row a resident, no names, no numbers."""

    names: ClassVar[tuple[str, ...]] = (
        "date", "area", "sex", "birth_date", "birth_month", "age", "nationality",
    )  # fmt: skip

    date: Annotated[Day | None, Field(examples=["2025-03-31"]), Ja("基準日(列がないとき)")] = None
    """Day of the count, at its close, where no column holds it."""

    sex: Annotated[
        Literal["female", "male"] | None, Field(examples=["female"]), Ja("性別(列がないとき)")
    ] = None
    """Sex, where no column holds it."""


class EventsTable(Table):
    """Births, deaths, arrivals, departures and moves: counts, or one record an event."""

    names: ClassVar[tuple[str, ...]] = (
        "year", "date", "kind", "area", "other_area", "sex", "age", "count", "birth_date",
        "mother_birth_date", "nationality",
    )  # fmt: skip

    year_starts: Annotated[
        MonthDay, Ja("年の始まり(月-日)。年度なら 04-01"), Field(examples=["04-01"])
    ]
    """First day of the year in which events are counted, month-day. No default: a calendar year
    taken for a fiscal one shifts a quarter of the events."""

    records: Annotated[bool, Ja("true: 1行が1件の異動記録、false: 集計表")] = False
    """Whether one row is one event, with its date and the birth date. Default: counts."""

    age_at: Annotated[
        Literal["event", "year_end"] | None,
        Field(validate_default=True, examples=["event"]),
        Ja("年齢の時点。event は異動時、year_end は年末時。集計表では必須"),
    ] = None
    """When the age of a count was taken: at the event, or at the end of the year. Counts need it;
    no default, because the two differ by half a year of age."""

    kinds: Annotated[
        Mapping[str, Kind],
        Ja("異動事由コードの対応"),
        Field(examples=[{"01": "birth", "11": "death"}]),
    ] = {}
    """What the file's own codes of the kinds mean. 出生, 死亡, 転入, 転出, 転居, その他 and
    the English words are known."""

    kind: Annotated[Kind | None, Field(examples=["birth"]), Ja("異動の種類(列がないとき)")] = None
    """Kind of event, where no column holds it."""

    year: Annotated[Year | None, Field(examples=[2024]), Ja("年(列がないとき)")] = None
    """Calendar year in which the year of the events starts, where no column holds it."""

    sex: Annotated[
        Literal["female", "male"] | None, Field(examples=["female"]), Ja("性別(列がないとき)")
    ] = None
    """Sex, where no column holds it."""

    @field_validator("age_at")
    @classmethod
    def _age_at_said(cls, value: str | None, info: ValidationInfo) -> str | None:
        records = info.data.get("records")
        if records is False and value is None:
            raise must(
                "must be given for counts of events",
                'Write age_at = "event" (age at the event) or "year_end" (age at the end of the'
                " year), or records = true where one row is one event.",
            )
        if records and value is not None:
            raise must(
                "must not be given for records: they carry dates",
                "Take the line out, or write records = false.",
            )
        return value


class WardEventsTable(Table):
    """Yearly births and deaths of whole wards: they bound the sums of the wards' districts."""

    names: ClassVar[tuple[str, ...]] = ("ward", "year", "births", "deaths")

    year_starts: Annotated[
        MonthDay, Ja("年の始まり(月-日)。暦年なら 01-01"), Field(examples=["01-01"])
    ]
    """First day of the year in which events are counted, month-day. No default."""

    year: Annotated[Year | None, Field(examples=[2024]), Ja("年(列がないとき)")] = None
    """Calendar year in which the year of the events starts, where no column holds it."""


class AreasTable(Table):
    """Which district each area (town) belongs to, with shares and dates where it changes."""

    names: ClassVar[tuple[str, ...]] = (
        "area", "name", "ward", "ward_name", "district", "district_name", "share", "valid_from",
        "valid_to",
    )  # fmt: skip

    ward: Annotated[Text | None, Field(examples=["101"]), Ja("区コード(列がないとき)")] = None
    """Ward, where no column holds it."""


class LineageTable(Table):
    """Towns that were renamed, split or merged."""

    names: ClassVar[tuple[str, ...]] = ("old_area", "new_area", "share", "date", "reason")


class FacilitiesTable(Table):
    """Schools and other facilities, with coordinates."""

    names: ClassVar[tuple[str, ...]] = (
        "id", "name", "category", "lat", "lon", "capacity", "opened", "closed",
    )  # fmt: skip

    category: Annotated[Text | None, Field(examples=["図書館"]), Ja("施設の種類(列がないとき)")] = (
        None
    )
    """Category, where no column holds it."""


class EnrolmentTable(Table):
    """Pupils and classes by school and grade at 1 May."""

    names: ClassVar[tuple[str, ...]] = ("year", "school", "grade", "pupils", "classes")


class DevelopmentsTable(Table):
    """Planned housing."""

    names: ClassVar[tuple[str, ...]] = (
        "id", "area", "lat", "lon", "units", "unit_type", "first_year", "fill_years", "status",
    )  # fmt: skip


class ControlsTable(Table):
    """Totals decided elsewhere, which the districts must add up to."""

    names: ClassVar[tuple[str, ...]] = ("year", "area", "sex", "age", "count", "source")


class GroupQuartersTable(Table):
    """People in dormitories and care homes: held constant."""

    names: ClassVar[tuple[str, ...]] = ("area", "kind", "sex", "age", "count")


class LifeTableFile(Table):
    """Death rates from outside, where the register has no deaths by age."""

    names: ClassVar[tuple[str, ...]] = ("year", "sex", "age", "mx")

    year: Annotated[Year | None, Field(examples=[2024]), Ja("年(列がないとき)")] = None
    """Year of the rates, where no column holds it."""

    sex: Annotated[
        Literal["female", "male", "total"] | None,
        Field(examples=["total"]),
        Ja("性別(列がないとき)。total は男女計"),
    ] = None
    """Sex, where no column holds it; total: both together."""


class FertilityFile(Table):
    """Fertility rates from outside, where the register has no births by the mother's age."""

    names: ClassVar[tuple[str, ...]] = ("year", "age", "asfr")

    year: Annotated[Year | None, Field(examples=[2024]), Ja("年(列がないとき)")] = None
    """Year of the rates, where no column holds it."""


class DistrictsFile(Section):
    """Polygons of the districts: any file that geopandas reads."""

    file: Annotated[Text, Ja("校区ポリゴン(GeoJSON, GPKG, Shapefile など)")]
    """File with the polygons, relative to city.toml."""

    code: Annotated[Text, Ja("校区コードの属性名"), Field(examples=["A27_003"])]
    """Attribute that holds the code, as in the areas table."""

    name: Annotated[Text | None, Ja("校区名の属性名"), Field(examples=["A27_004"])] = None
    """Attribute that holds the name. Default: the names of the areas table."""

    layer: Annotated[Text | None, Field(examples=["districts"]), Ja("レイヤ名(GPKG など)")] = None
    """Layer, where the file has several. Default: the only one."""

    encoding: Annotated[
        Encoding | None, Field(examples=["cp932"]), Ja("Shapefile の属性の文字コード")
    ] = None
    """Encoding of a Shapefile's attributes. Default: what the file says."""

    crs: Annotated[
        Text | None, Field(examples=["EPSG:6668"]), Ja("座標系(ファイルに情報がないとき)")
    ] = None
    """Coordinate system, where the file does not say: "EPSG:6668" (JGD2011)."""

    @field_validator("file")
    @classmethod
    def _file_exists(cls, value: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder")
        if folder is not None and not (folder / value.replace("\\", "/")).exists():
            raise must(*no_match(value, folder))
        return value

    def path(self, folder: Path) -> Path:
        """File of the polygons.

        Raises
        ------
        InputError
            Where there is none, with the nearest names there.
        """
        path = folder / self.file.replace("\\", "/")
        if not path.exists():
            raise InputError(Fault("city.toml", *no_match(self.file, folder)))
        return path

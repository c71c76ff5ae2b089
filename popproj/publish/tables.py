"""Tables and maps that colleagues open: tidy CSV for Excel and Tableau, GeoPackage for a GIS.

Numbers of people are sums of fractions and stay so: tables are written to 6 decimals, so that
adding any 10,000 of them up is right to 0.005 people. Whole people are made where a figure is
shown, not where it is passed on.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from popproj.geo.districts import Districts, match
from popproj.indicators import CONVENTIONAL, TOTAL, AgeGroup, age_groups, five_year
from popproj.publish.result import replacing, replacing_all, write_result
from popproj.schema import SEXES, Fault, InputError, Note, years_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

Language = Literal["ja", "en"]
CsvEncoding = Literal["utf-8-sig", "cp932"]
Format = Literal["netcdf", "geopackage", "csv"]

COMPONENTS = (
    "births",
    "deaths",
    "in_migrants",
    "out_migrants",
    "moves_in",
    "moves_out",
    "net_migrants",
    "adjustment",
)
"""Flows of the balance, in the order of the table of components."""

DECIMALS = 6
"""Decimals of people in CSV files."""


@dataclass(frozen=True)
class Written:
    """A file that was written: what it holds, in one line, and what had to be changed for it."""

    path: Path
    what: str
    notes: tuple[Note, ...] = ()


# ---- tidy tables ------------------------------------------------------------------------------


def age_group_table(
    projection: xr.Dataset, groups: Iterable[AgeGroup | str] | None = None
) -> pd.DataFrame:
    """Long table of people by age group: one row a place, date, sex and group.

    Places are the districts (``level`` "district", ``unassigned`` among them), the wards and the
    city. A ward is the sum of its districts; people without a district belong to no ward, so the
    wards and ``unassigned`` together are the city. Groups overlap (65+ holds 75+): filter by
    group before adding up.

    Parameters
    ----------
    projection
        With ``population`` (time, sex, age, district) [people]; dims before ``time`` (scenario,
        draw, quantile) become columns of their own.
    groups
        Default: all ages, five-year groups up to the open age, and 0-5, 6-11, 12-14, 15-64, 65+,
        75+, 85+.

    Returns
    -------
    DataFrame
        ``level, code, name, ward, ward_name, date, year, status, sex, age_group, age_from,
        age_to, population``. ``date`` is the day at whose close people are counted, ``year`` its
        calendar year, ``status`` observed or projected; sex is female, male and total; ``age_to``
        is missing for open groups. ``age_group``
        reads "age 6-11", since Excel takes a bare 6-11 for the eleventh of June.

    Raises
    ------
    InputError
        If a group does not fit the ages.

    Examples
    --------
    >>> people = xr.Dataset(
    ...     {"population": (("time", "sex", "age", "district"), np.ones((1, 2, 101, 2)))},
    ...     coords={"time": [np.datetime64("2020-04-01", "ns")], "sex": ["female", "male"],
    ...             "age": range(101), "district": ["001", "002"],
    ...             "count_date": ("time", [np.datetime64("2020-03-31", "ns")])},
    ... )
    >>> table = age_group_table(people, ["6-11"])
    >>> print(table.query("level == 'city'")[["date", "sex", "age_group", "population"]])
             date     sex age_group  population
    0  2020-03-31  female  age 6-11        12.0
    1  2020-03-31    male  age 6-11        12.0
    2  2020-03-31   total  age 6-11        24.0
    """
    population = projection["population"]
    if groups is None:
        # Registers of small cities may close at 85 or 90.
        groups = (TOTAL, *five_year(int(population["age"][-1])), *CONVENTIONAL)
    counts = _with_total_sex(age_groups(population, groups))
    dates = _count_dates(projection)
    chosen = [AgeGroup.parse(str(g)) for g in counts["age_group"].to_numpy()]
    return _long(
        counts,
        _places(projection),
        {
            "time": {
                "date": _labels(_iso(dates)),
                "year": dates.year.to_numpy(),
                "status": _status(np.arange(len(dates)) <= base_position(projection)),
            },
            "sex": {"sex": _labels(counts["sex"].to_numpy())},
            "age_group": {
                "age_group": _labels([_age_label(g) for g in chosen]),
                "age_from": np.array([g.first for g in chosen]),
                "age_to": pd.array([g.last for g in chosen], dtype="Int64"),
            },
        },
    ).rename(columns={"value": "population"})


def component_table(projection: xr.Dataset) -> pd.DataFrame:
    """Table of what changed each place each year: one row a place and year, all ages and sexes.

    ``population_end = population_start + births − deaths + in_migrants − out_migrants + moves_in
    − moves_out + net_migrants + adjustment``, with what the projection does not have left out.

    Parameters
    ----------
    projection
        With ``population`` on ``time`` and flows on ``year`` [people].

    Returns
    -------
    DataFrame
        ``level, code, name, ward, ward_name, year, status, date_start, date_end,
        population_start``, the flows of `COMPONENTS` that there are, ``population_end``.
        ``status`` is observed or projected, ``year`` the calendar year in
        which the interval starts. Moves of wards and of the city are the sums of their districts,
        moves inside the ward included.
    """
    dates = _count_dates(projection)
    years = years_between(projection["time"])
    step = projection.indexes["year"].get_indexer(pd.Index(years))
    if (step < 0).any():
        raise InputError(
            Fault(
                "projection",
                "each interval between stocks must have its year among the flows",
                "Give stocks and flows of the same run.",
                broken=int((step < 0).sum()),
                total=len(years),
                first=str(years[step < 0][0]),
                unit="intervals",
            )
        )
    places = _places(projection)
    stocks = _all_ages(projection["population"]).rename(time="year")
    columns = {"population_start": stocks.isel(year=slice(None, -1))}
    columns |= {
        name: _all_ages(projection[name]).isel(year=step)
        for name in COMPONENTS
        if name in projection
    }
    columns["population_end"] = stocks.isel(year=slice(1, None))
    labels: dict[str, Mapping[str, Any]] = {
        "year": {
            "year": years,
            "status": _status(np.arange(len(years)) < base_position(projection)),
            "date_start": _labels(_iso(dates[:-1])),
            "date_end": _labels(_iso(dates[1:])),
        }
    }
    tables = {name: _long(array, places, labels) for name, array in columns.items()}
    table = tables["population_start"].drop(columns="value")
    return table.assign(**{name: t["value"] for name, t in tables.items()})


@dataclass(frozen=True)
class _Places:
    """Districts, wards and the city: how they are called and which districts they hold."""

    labels: Mapping[str, Any]
    members: tuple[NDArray[np.intp], ...]


def _places(projection: xr.Dataset) -> _Places:
    codes = _text(projection["district"])
    names = _text(projection["district_name"]) if "district_name" in projection else codes
    blank = np.full(len(codes), "", dtype=object)
    wards = _text(projection["ward"]) if "ward" in projection else blank
    ward_names = _text(projection["ward_name"]) if "ward_name" in projection else wards
    of_ward = {str(w): np.flatnonzero(wards == w) for w in dict.fromkeys(wards[wards != ""])}
    city = projection.attrs.get("city")
    names_of_wards = [ward_names[m[0]] for m in of_ward.values()]
    columns = {
        "level": ["city", *["ward"] * len(of_ward), *["district"] * len(codes)],
        "code": ["", *of_ward, *codes],
        "name": [city if isinstance(city, str) else "", *names_of_wards, *names],
        "ward": ["", *of_ward, *wards],
        "ward_name": ["", *names_of_wards, *ward_names],
    }
    everyone = np.arange(len(codes))
    return _Places(
        {name: _labels(values) for name, values in columns.items()},
        (everyone, *of_ward.values(), *everyone.reshape(-1, 1)),
    )


def _long(
    array: xr.DataArray, places: _Places, labels: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row a cell, places outermost; a dim without labels becomes a column of its own."""
    inner = [str(d) for d in array.dims if d != "district"]
    values = array.transpose("district", *inner).to_numpy()
    summed = np.stack([values[m].sum(axis=0) for m in places.members])
    named: dict[str, Mapping[str, Any]] = {"district": places.labels, **labels}
    named |= {d: {d: _labels(array[d].to_numpy())} for d in inner if d not in labels}
    columns: dict[str, object] = {}
    position = np.indices(summed.shape, dtype=np.int32).reshape(summed.ndim, -1)
    for dim, row in zip(("district", *inner), position, strict=True):
        for name, label in named[dim].items():
            columns[name] = label.take(row)
    return pd.DataFrame(columns | {"value": summed.ravel()})


def _labels(values: Iterable[object]) -> pd.Categorical:
    """Text that repeats over many rows; numbers and dates as they come."""
    values = list(values)
    return pd.Categorical(values, categories=list(dict.fromkeys(values)), ordered=False)


def _text(array: xr.DataArray) -> NDArray[np.object_]:
    return np.array(["" if v is None or v != v else str(v) for v in array.to_numpy()], dtype=object)


def _age_label(group: AgeGroup) -> str:
    return "all ages" if group == TOTAL else f"age {group}"


def base_position(projection: xr.Dataset) -> int:
    """Position on ``time`` of the stock the projection starts from; before it lies the past."""
    base = projection.attrs.get("base_date")
    dates = _count_dates(projection)
    return int(np.flatnonzero(dates == pd.Timestamp(base))[0]) if base is not None else 0


def _status(observed: NDArray[np.bool_]) -> Any:
    return _labels(np.where(observed, "observed", "projected"))


def _count_dates(projection: xr.Dataset) -> pd.DatetimeIndex:
    if "count_date" in projection.coords:
        return pd.DatetimeIndex(projection["count_date"].to_numpy())
    return pd.DatetimeIndex(projection["time"].to_numpy()) - pd.Timedelta(days=1)


def _iso(dates: pd.DatetimeIndex) -> list[str]:
    return [f"{d:%Y-%m-%d}" for d in dates]


def _with_total_sex(counts: xr.DataArray) -> xr.DataArray:
    """Female, male and both together; data without sexes has the total alone."""
    if tuple(counts["sex"].to_numpy()) != SEXES:
        return counts
    total = counts.sum("sex", skipna=False).expand_dims(sex=["total"])
    both = xr.concat([counts, total], "sex", coords="minimal", compat="override", join="override")
    return both.transpose(*counts.dims)


def _all_ages(array: xr.DataArray) -> xr.DataArray:
    dims = [d for d in ("sex", "age") if d in array.dims]
    return array.sum(dims, skipna=False)


# ---- CSV --------------------------------------------------------------------------------------

# Excel runs a cell that begins with one of these; the full-width ones too, in Japanese editions.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_EXCEL_ROWS = 1_048_576

# Same sign, other code point: Unicode has two for what Shift JIS has once.
_CP932_TWINS = str.maketrans("〜−—‖¢£¬", "～－―∥￠￡￢")


def write_csv(
    table: pd.DataFrame, path: str | Path, *, encoding: CsvEncoding = "utf-8-sig"
) -> tuple[Note, ...]:
    """Write a table as CSV that Excel opens by a double click and never runs.

    People are written to 6 decimals (`DECIMALS`). A text cell that would start a formula
    (``= + - @``, tab, carriage return) gets an apostrophe before it; numbers are left alone. In
    cp932 characters outside the encoding become 〓 (geta), the sign Japanese printers set for a
    missing type. The old file stays whole until the new one is.

    Parameters
    ----------
    table
        The table; its index is not written.
    path
        The file; missing folders are made.
    encoding
        ``"utf-8-sig"`` holds every character; ``"cp932"`` is for older systems.

    Returns
    -------
    tuple of Note
        What was changed on the way.

    Raises
    ------
    InputError
        If the file cannot be written, for example while Excel holds it open.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    where = Path(path).name
    guarded: list[str] = []
    lost: list[str] = []
    columns = {}
    signs: set[str] = set()
    for name in table.columns:
        column = table[name]
        title = _safe(name, encoding, guarded, lost)
        signs |= set(title)
        if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind not in "biufM":
            coded = column.astype("category")
            texts = [_safe(v, encoding, guarded, lost) for v in coded.cat.categories]
            signs.update(*texts)
            codes = coded.cat.codes.to_numpy()
            columns[title] = pa.array(texts, type=pa.string()).take(pa.array(codes, mask=codes < 0))
        else:
            if column.dtype.kind == "f" and isinstance(column.dtype, np.dtype):
                # Adding zero turns −0 into 0.
                column = column.round(DECIMALS) + 0.0
            columns[title] = pa.array(column, from_pandas=True)
    # Quotes only where some text needs them: they make a long table half as large again.
    options = pa_csv.WriteOptions(quoting_style="needed" if signs & set(',"\r\n') else "none")
    buffer = io.BytesIO()
    pa_csv.write_csv(pa.table(columns), buffer, write_options=options)
    content = buffer.getvalue()
    if encoding == "utf-8-sig":
        content = b"\xef\xbb\xbf" + content
    else:
        content = content.decode("utf-8").encode(encoding)
    with replacing(path) as beside:
        beside.write_bytes(content)
    notes = []
    if len(table) >= _EXCEL_ROWS:
        notes.append(Note(where, f"Excel shows the first {_EXCEL_ROWS:,} rows only", len(table)))
    if guarded:
        notes.append(
            Note(
                where,
                "texts that a spreadsheet would take for a formula have an apostrophe before them",
                len(guarded),
                guarded[0],
            )
        )
    if lost:
        notes.append(
            Note(where, f"characters outside {encoding} are written 〓", len(lost), lost[0])
        )
    return tuple(notes)


def _safe(value: object, encoding: str, guarded: list[str], lost: list[str]) -> str:
    """Text of a cell, without formulas and within the encoding; what changed is appended."""
    text = str(value)
    if encoding != "utf-8-sig":
        text = text.translate(_CP932_TWINS)
        for sign in dict.fromkeys(text):
            try:
                sign.encode(encoding)
            except UnicodeEncodeError:
                lost.append(f"{sign} in {text}")
                text = text.replace(sign, "〓")
    if text.startswith(_FORMULA):
        guarded.append(text)
        text = f"'{text}"
    return text


# ---- GeoPackage -------------------------------------------------------------------------------

_FIELDS: Mapping[str, Mapping[str, str]] = {
    "ja": {
        "code": "コード",
        "name": "名称",
        "ward": "区コード",
        "ward_name": "区名",
        "area_km2": "面積_km2",
    },
    "en": {n: n for n in ("code", "name", "ward", "ward_name", "area_km2")},
}


def map_table(
    projection: xr.Dataset, districts: Districts, *, lang: Language = "ja", step: int = 5
) -> pd.DataFrame:
    """Attributes of the map: one row a polygon, totals and conventional groups by year.

    Parameters
    ----------
    projection
        With ``population`` (time, sex, age, district) [people], one scenario, no draws.
    districts
        The polygons; those in which nobody is registered have no numbers.
    lang
        Of the column names: ``総人口_2030``, ``人口65歳以上_2030`` or ``population_2030``,
        ``population_65plus_2030``. Years are those of the count dates.
    step
        Years between the columns, from the base on; the last year is always there.

    Returns
    -------
    DataFrame
        Index ``district`` in the order of the polygons.

    Raises
    ------
    InputError
        If a district has no polygon, or the projection has several scenarios or draws.
    """
    several = [
        str(d) for d in projection["population"].dims if d in ("scenario", "draw", "quantile")
    ]
    if several:
        raise InputError(
            Fault(
                "map",
                f"a map shows one projection, and this one has several by {several[0]}",
                f"Choose one with .sel({several[0]}=…).",
            )
        )
    match(districts, projection["district"].to_numpy())
    years = _count_dates(projection).year.to_numpy()
    chosen = sorted({*range(base_position(projection), len(years), step), len(years) - 1})
    counts = age_groups(projection["population"], (TOTAL, *CONVENTIONAL))
    counts = counts.sum("sex", skipna=False).isel(time=chosen).transpose("time", "age_group", ...)
    columns = {
        f"{_map_field(AgeGroup.parse(str(group)), lang)}_{year}": counts.to_numpy()[i, j]
        for i, year in enumerate(years[chosen])
        for j, group in enumerate(counts["age_group"].to_numpy())
    }
    codes = _text(projection["district"])
    numbers = pd.DataFrame(columns, index=codes).reindex(districts.codes)
    field = _FIELDS[lang]
    about_from = (("name", "district_name"), ("ward", "ward"), ("ward_name", "ward_name"))
    about = pd.DataFrame(
        {
            field[key]: pd.Series(_text(projection[coord]), index=codes).reindex(districts.codes)
            for key, coord in about_from
            if coord in projection
        },
        index=pd.Index(districts.codes, dtype=object),
    )
    names = districts.table["name"]
    known = about.get(field["name"], pd.Series("", index=names.index, dtype=object)).fillna("")
    about[field["name"]] = known.where(known != "", names)
    about = about.fillna("")
    about.insert(0, field["code"], districts.codes)
    about[field["area_km2"]] = districts.area_km2
    order = [f for f in field.values() if f in about]
    return pd.concat([about[order], numbers], axis=1).rename_axis("district")


def _map_field(group: AgeGroup, lang: Language) -> str:
    if group == TOTAL:
        return "総人口" if lang == "ja" else "population"
    ages = str(group).replace("-", "_")
    if lang == "ja":
        return f"人口{group.first}歳以上" if group.last is None else f"人口{ages}歳"
    return f"population_{ages.replace('+', 'plus')}"


def write_geopackage(
    projection: xr.Dataset,
    districts: Districts,
    path: str | Path,
    *,
    lang: Language = "ja",
) -> Path:
    """Write the map: GeoPackage with one layer ``districts``, in the polygons' own CRS.

    Columns as `map_table` gives them. People without a district are not on the map. The old file
    stays whole until the new one is.

    Parameters
    ----------
    projection, districts, lang
        As for `map_table`.
    path
        The file; missing folders are made.

    Raises
    ------
    InputError
        As `map_table`, or if the file cannot be written, for example while a GIS holds it open.
    """
    import geopandas as gpd

    table = map_table(projection, districts, lang=lang)
    layer = gpd.GeoDataFrame(
        table.reset_index(drop=True),
        geometry=districts.table.geometry.to_numpy(),
        crs=districts.crs,
    )
    with replacing(path) as beside:
        layer.to_file(
            beside, layer="districts", driver="GPKG", engine="pyogrio", promote_to_multi=True
        )
    return Path(path)


# ---- everything -------------------------------------------------------------------------------

_WHAT: Mapping[str, Mapping[str, str]] = {
    "ja": {
        "result.nc": "推計結果のすべて(校区×性×各歳×年、人口動態、境界) NetCDF",
        "districts.gpkg": "校区の地図(総人口と年齢区分、5年ごと) GIS用",
        "age_groups.csv": "年齢区分別人口(市・区・校区、男女、毎年) Excel・Tableau用",
        "components.csv": "人口動態(出生・死亡・転入・転出・転居、毎年) Excel・Tableau用",
    },
    "en": {
        "result.nc": "everything: district, sex, single age, year, flows and outlines (NetCDF)",
        "districts.gpkg": "map of the districts: totals and age groups every 5 years (GIS)",
        "age_groups.csv": "people by age group, sex and year: city, wards, districts (Excel)",
        "components.csv": "births, deaths, migration and moves by year (Excel)",
    },
}


def publish(
    projection: xr.Dataset,
    districts: Districts | None,
    out: str | Path,
    *,
    formats: Collection[Format] | None = None,
    compress: bool = False,
    csv_encoding: CsvEncoding = "utf-8-sig",
    lang: Language = "ja",
) -> list[Written]:
    """Write the files of a run into a folder.

    ``result.nc`` (everything), ``districts.gpkg`` (the map), ``age_groups.csv`` and
    ``components.csv``. Each is written beside and renamed when all of them are complete, so an
    error leaves the files of the run before as they were.

    Parameters
    ----------
    projection
        Stocks and flows of one scenario [people].
    districts
        Polygons; None: no map, no outlines in the result.
    out
        The folder; made if missing.
    formats
        Some of ``"netcdf"``, ``"geopackage"``, ``"csv"``. Default: all.
    compress
        As for `popproj.publish.result.write_result`.
    csv_encoding
        As for `write_csv`.
    lang
        Of the map's column names and the descriptions.

    Returns
    -------
    list of Written
        Path, one-line description and notes of each file.

    Raises
    ------
    InputError
        If a format is unknown, a district has no polygon, or a file cannot be written.
    """
    unknown = sorted(set(formats or ()) - set(get_args(Format)))
    if unknown:
        raise InputError(
            Fault(
                "publish",
                f"formats are {', '.join(get_args(Format))}",
                "Correct the name.",
                first=repr(unknown[0]),
            )
        )
    wanted = set(get_args(Format) if formats is None else formats)
    out = Path(out)
    written: dict[str, tuple[Note, ...]] = {}
    with replacing_all(out) as beside:
        if "netcdf" in wanted:
            write_result(projection, districts, beside / "result.nc", compress=compress)
            written["result.nc"] = ()
        if "geopackage" in wanted and districts is not None:
            write_geopackage(projection, districts, beside / "districts.gpkg", lang=lang)
            written["districts.gpkg"] = match(districts, projection["district"].to_numpy())
        if "csv" in wanted:
            for name, make in (
                ("age_groups.csv", age_group_table),
                ("components.csv", component_table),
            ):
                written[name] = write_csv(make(projection), beside / name, encoding=csv_encoding)
    return [Written(out / name, _WHAT[lang][name], notes) for name, notes in written.items()]

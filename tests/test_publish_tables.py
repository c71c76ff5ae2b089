"""Files that leave the engine: whole or not there, true to the projection, safe to open."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import netCDF4
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from popproj import schema
from popproj.geo.cube import crs_of
from popproj.geo.districts import Districts
from popproj.indicators import CONVENTIONAL, FIVE_YEAR
from popproj.publish import result as result_module
from popproj.publish.result import read_result, replacing, replacing_all, write_result
from popproj.publish.tables import (
    age_group_table,
    component_table,
    map_table,
    publish,
    write_csv,
    write_geopackage,
)
from popproj.schema import UNASSIGNED, InputError, Note

CHECK_BOOKS = Path(__file__).with_name("check_books.py")


def projected(n=4, years=6, seed=0, net=False, base="2017-03-31"):
    """A small city whose books balance, made without the engine."""
    rng = np.random.default_rng(seed)
    codes = [*(f"{i:03d}" for i in range(1, n)), UNASSIGNED]
    shape = (2, 101, n)
    population = np.empty((years + 1, *shape))
    population[0] = rng.poisson(40, shape)
    births = rng.uniform(20, 40, (years, 2, n))
    names = ["deaths", "in_migrants", "out_migrants", "moves_in", "moves_out", "adjustment"]
    flows = {name: np.zeros((years, *shape)) for name in [*names, *["net_migrants"] * net]}
    for t in range(years):
        start = np.zeros(shape)
        start[:, 1:] = population[t, :, :-1]
        start[:, -1] += population[t, :, -1]
        start[:, 0] = births[t]
        flows["deaths"][t] = 0.02 * start
        flows["out_migrants"][t] = rng.uniform(0, 0.05, shape) * start
        flows["in_migrants"][t] = rng.uniform(0, 3, shape)
        flows["moves_out"][t] = rng.uniform(0, 0.05, shape) * start
        flows["moves_in"][t] = np.roll(flows["moves_out"][t], 1, axis=-1)
        flows["adjustment"][t] = rng.normal(0, 0.1, shape)
        if net:
            flows["net_migrants"][t] = rng.normal(0, 1, shape)
        population[t + 1] = start + sum(
            (-1 if name in ("deaths", "out_migrants", "moves_out") else 1) * f[t]
            for name, f in flows.items()
        )
    assert (population >= 0).all()
    first = pd.Timestamp(base)
    dates = [first + pd.DateOffset(years=t) for t in range(years + 1)]
    cell = ("sex", "age", "district")
    wards = ["A"] * (n // 2) + ["B"] * (n - 1 - n // 2) + [""]
    return xr.Dataset(
        {
            "population": (("time", *cell), population),
            "births": (("year", "sex", "district"), births),
            **{name: (("year", *cell), f) for name, f in flows.items()},
        },
        coords={
            **schema.time_coordinate(dates),
            "year": first.year + np.arange(years),
            "sex": list(schema.SEXES),
            "age": np.arange(101),
            "district": codes,
            "district_name": ("district", np.array([f"第{c}小学校" for c in codes], object)),
            "ward": ("district", wards),
            "ward_name": ("district", [{"A": "東区", "B": "西区", "": ""}[w] for w in wards]),
        },
        attrs={
            "city": "みなと市",
            "scenario": "baseline",
            "tier": {"mortality": "A"},
            "exclude_years": (2020, 2021),
            "seed": None,
            "open_ended": True,
            "city_toml": json.dumps({"name": "みなと市"}, ensure_ascii=False),
            "notes": (Note("a.csv", "read as cp932", 3, "row 2"), Note("b.csv", "x: y")),
        },
    )


def mapped(n=4):
    codes = [f"{i:03d}" for i in range(n, 0, -1)]  # not in the order of the projection
    table = gpd.GeoDataFrame(
        {"name": [f"地図{c}" for c in codes]},
        geometry=[box(135 + i / 100, 34.6, 135.01 + i / 100, 34.61) for i in range(n)],
        index=pd.Index(codes, name="district", dtype=object),
        crs="EPSG:6668",
    )
    return Districts(table, "map.gpkg")


# ---- the result file --------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_written_is_read(tmp_path, compress):
    projection = projected()
    before = projection.copy(deep=True)
    path = write_result(projection, mapped(), tmp_path / "new" / "result.nc", compress=compress)
    again = read_result(path)
    for name in projection.variables:
        np.testing.assert_array_equal(again[name], projection[name], err_msg=str(name))
        assert again[name].dims == projection[name].dims
    assert again["time"].dtype == projection["time"].dtype
    for key in ("city", "scenario", "tier", "seed", "open_ended", "city_toml"):
        assert again.attrs[key] == projection.attrs[key]
    assert again.attrs["exclude_years"] == [2020, 2021]
    assert [str(n) for n in again.attrs["notes"]] == [str(n) for n in projection.attrs["notes"]]
    outlines = mapped().table.geometry
    for code, shape in zip(again["district"].values, again["geometry"].values, strict=True):
        assert shape.is_empty if code == UNASSIGNED else shape.equals_exact(outlines[code], 0)
    assert crs_of(again).to_epsg() == 6668
    assert again["population"].attrs["units"] == "people"
    assert again["deaths"].attrs["lexis"] == "period-cohort"
    xr.testing.assert_identical(projection, before)
    schema.check(again.drop_vars(["geometry", "spatial_ref"]))
    # and written again it is the same
    write_result(again, None, tmp_path / "again.nc")
    xr.testing.assert_equal(
        read_result(tmp_path / "again.nc").drop_vars("geometry"), again.drop_vars("geometry")
    )


def test_strings_of_pandas_are_written_as_text(tmp_path):
    names = pd.array(["東小学校", None, "西", "北"], dtype="str")
    projection = projected().assign_coords(district_name=("district", names))
    again = read_result(write_result(projection, None, tmp_path / "result.nc"))
    assert list(again["district_name"].values) == ["東小学校", "", "西", "北"]


def test_the_file_is_plain_cf(tmp_path):
    path = write_result(projected(), mapped(), tmp_path / "result.nc")
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF4"
        assert file.Conventions == "CF-1.11"
        assert file.title == "Population projection of みなと市 by district"
        assert "popproj" in file.source
        assert file.references
        assert re.match(r"\d{4}-\d\d-\d\dT.* written by popproj", file.history)
        assert json.loads(file.notes) == ["a.csv: read as cp932 [3] (first: row 2)", "b.csv: x: y"]
        for name, variable in file.variables.items():
            described = {"long_name", "standard_name"} & set(variable.ncattrs())
            assert described, name
            if name in schema.VARIABLES:
                assert variable.units == "count"  # as UDUNITS knows it
                assert variable.units_in_words == schema.VARIABLES[name].units
                assert variable.lexis == schema.VARIABLES[name].lexis
                assert variable.geometry == "geometry_container"
                assert variable.grid_mapping == "spatial_ref"
            if variable.dtype is not str and variable.dtype.kind == "f":
                assert variable.units
        assert file["time"].units == "days since 1970-01-01"
        assert file["time"].calendar == "standard"
        assert file["time"].standard_name == "time"
        assert file["time"].dtype == np.int32
        assert "_FillValue" not in file["time"].ncattrs()
        assert file["population"].chunking() == "contiguous"
        assert file["district"].dtype is str
    with xr.open_dataset(path) as plain:
        assert plain["population"].sel(district="002", time="2017-04-01").shape == (2, 101)
        assert plain["count_date"].values[0] == np.datetime64("2017-03-31")


def test_a_result_without_a_map(tmp_path):
    again = read_result(write_result(projected(), None, tmp_path / "result.nc"))
    assert "geometry" not in again.coords


def test_each_district_needs_a_polygon(tmp_path):
    with pytest.raises(InputError, match="each district with people must have a polygon"):
        write_result(projected(6), mapped(4), tmp_path / "result.nc")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / "x.nc").write_text("no", encoding="utf-8")
    for name in ("x.nc", "nowhere.nc"):
        with pytest.raises(InputError, match=r"must be a NetCDF file.*Give the result.nc of a run"):
            read_result(tmp_path / name)


def test_a_run_that_dies_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = write_result(projected(seed=1), None, tmp_path / "result.nc")
    old = path.read_bytes()

    def dies(self, beside, **options):
        Path(beside).write_bytes(b"half of it")
        raise RuntimeError("no space left on the device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", dies)
    with pytest.raises(RuntimeError, match="no space left"):
        write_result(projected(seed=2), None, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_run_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old", encoding="utf-8")
    code = (
        "import os, sys\nfrom popproj.publish.result import replacing\n"
        "with replacing(sys.argv[1]) as beside:\n"
        "    beside.write_text('half', encoding='utf-8')\n    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert path.read_text(encoding="utf-8") == "old"


def test_a_file_that_another_program_holds(tmp_path, monkeypatch):
    def locked(*paths):
        raise PermissionError(13, "used by another process")

    path = tmp_path / "out.csv"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(result_module.os, "replace", locked)
    with pytest.raises(
        InputError, match=r"must be writable.*Close the file if it is open in Excel"
    ):
        write_csv(pd.DataFrame({"a": [1]}), path)
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="must be writable"), replacing(path / "below.csv"):
        pass


def test_files_of_a_run_change_together(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old", encoding="utf-8")

    def dies():
        with replacing_all(tmp_path) as beside:
            (beside / "a").write_text("new", encoding="utf-8")
            raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        dies()
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == dict.fromkeys(
        "ab", "old"
    )
    with replacing_all(tmp_path) as beside:
        for name in ("a", "b"):
            (beside / name).write_text("new", encoding="utf-8")
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == dict.fromkeys(
        "ab", "new"
    )


# ---- tidy tables ------------------------------------------------------------------------------


def test_people_by_age_group():
    projection = projected()
    table = age_group_table(projection)
    assert list(table.columns) == [
        "level", "code", "name", "ward", "ward_name", "date", "year", "status",
        "sex", "age_group", "age_from", "age_to", "population",
    ]  # fmt: skip
    assert len(table) == (1 + 2 + 4) * 7 * 3 * (1 + len(FIVE_YEAR) + len(CONVENTIONAL))
    row = table.query(
        "level == 'district' and code == '002' and date == '2020-03-31' and sex == 'total'"
        " and age_group == 'age 6-11'"
    )
    expected = projection["population"].sel(district="002", age=slice(6, 11)).isel(time=3).sum()
    assert row["population"].item() == pytest.approx(float(expected), rel=1e-12)
    assert (row["year"].item(), row["age_from"].item(), row["age_to"].item()) == (2020, 6, 11)
    assert (row["name"].item(), row["ward"].item(), row["ward_name"].item()) == (
        "第002小学校", "A", "東区",
    )  # fmt: skip
    everyone = table.query("level == 'city' and sex == 'total' and age_group == 'all ages'")
    assert set(everyone["name"]) == {"みなと市"}
    assert everyone["age_to"].isna().all()
    np.testing.assert_allclose(
        everyone["population"], projection["population"].sum(["sex", "age", "district"])
    )


@settings(max_examples=20)
@given(st.integers(0, 50), st.integers(3, 9))
def test_tables_add_up(seed, n):
    table = age_group_table(projected(n, years=1, seed=seed))
    by = ["date", "sex", "age_group"]
    level = dict(list(table.groupby("level", observed=True)))
    city = level["city"].set_index(by)["population"].sort_index()
    districts = level["district"].groupby(by, observed=True)["population"].sum()
    np.testing.assert_allclose(districts.sort_index(), city, rtol=1e-12)
    outside = level["district"].query("ward == ''").set_index(by)["population"].sort_index()
    wards = level["ward"].groupby(by, observed=True)["population"].sum().sort_index()
    np.testing.assert_allclose(wards + outside, city, rtol=1e-12)
    wide = table.pivot_table("population", ["level", "code", "date", "age_group"], "sex",
                             observed=True)  # fmt: skip
    np.testing.assert_allclose(wide["female"] + wide["male"], wide["total"], rtol=1e-12)
    five = [f"age {g}" for g in FIVE_YEAR]
    some = table[table["age_group"].isin(five)].groupby(["code", "date", "sex"], observed=True)
    whole = table.query("age_group == 'all ages'").set_index(["code", "date", "sex"])["population"]
    np.testing.assert_allclose(
        some["population"].sum().sort_index(), whole.sort_index(), rtol=1e-12
    )


def test_other_dims_become_columns_and_sexes_may_be_missing():
    projection = projected(years=1)
    two = xr.concat([projection[["population"]]] * 2, pd.Index(["base", "high"], name="scenario"))
    table = age_group_table(two.assign_attrs(projection.attrs), ["total"])
    assert set(table["scenario"]) == {"base", "high"}
    assert len(table) == 7 * 2 * 2 * 3
    both = projection[["population"]].sum("sex", keep_attrs=True).expand_dims(sex=["total"], axis=1)
    assert set(age_group_table(both, ["total"])["sex"]) == {"total"}


def test_components_balance_in_every_row():
    projection = projected(net=True)
    table = component_table(projection)
    assert len(table) == (1 + 2 + 4) * 6
    plus = table[["births", "in_migrants", "moves_in", "net_migrants", "adjustment"]].sum(axis=1)
    minus = table[["deaths", "out_migrants", "moves_out"]].sum(axis=1)
    np.testing.assert_allclose(
        table["population_start"] + plus - minus, table["population_end"], rtol=1e-12
    )
    first = table.iloc[0]
    assert (first["level"], first["year"]) == ("city", 2017)
    assert (first["date_start"], first["date_end"]) == ("2017-03-31", "2018-03-31")
    city = table.query("level == 'city'")
    np.testing.assert_allclose(city["moves_in"], city["moves_out"])
    assert "net_migrants" not in component_table(projected())
    with pytest.raises(InputError, match="each interval between stocks must have its year"):
        component_table(projection.assign_coords(year=projection["year"] + 1))


# ---- CSV --------------------------------------------------------------------------------------


def test_csv_keeps_sums_and_text(tmp_path):
    table = age_group_table(projected())
    path = tmp_path / "a.csv"
    assert write_csv(table, path) == ()
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    again = pd.read_csv(path, encoding="utf-8-sig", dtype={"code": str}, keep_default_na=False)
    np.testing.assert_allclose(again["population"], table["population"], atol=5.1e-7)
    assert set(again["code"]) == {"", "A", "B", "001", "002", "003", UNASSIGNED}
    assert list(again["name"].unique()) == list(table["name"].unique())
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].replace('"', "") == ",".join(table.columns)
    # whole people at the base, no decimal point
    assert all(re.search(r",\d+$", line) for line in lines if "2017-03-31" in line)
    assert not any(re.search(r"\d[eE][-+]?\d", line) for line in lines)


def test_text_with_commas_quotes_and_lines(tmp_path):
    names = ["a,b", 'c "d"', "e\nf", ""]
    write_csv(pd.DataFrame({"name, ja": names, "n": range(4)}), tmp_path / "a.csv")
    again = pd.read_csv(tmp_path / "a.csv", encoding="utf-8-sig", keep_default_na=False)
    assert list(again["name, ja"]) == names


def test_a_table_too_long_for_excel_says_so(tmp_path):
    table = pd.DataFrame({"n": np.zeros(1_048_576, dtype=np.int8)})
    (note,) = write_csv(table, tmp_path / "a.csv")
    assert "Excel shows the first 1,048,576 rows only" in str(note)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"])
def test_no_cell_starts_a_formula(tmp_path, sign):
    text = f"{sign}HYPERLINK(1)"
    table = pd.DataFrame({"name": [text, "ok", None], "people": [-1.5, 2.0, np.nan]})
    (note,) = write_csv(table, tmp_path / "a.csv")
    assert note.count == 1
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", "people"], [f"'{text}", "-1.5"], ["ok", "2"], ["", ""]]


def test_signs_outside_cp932_become_geta_and_are_told(tmp_path):
    table = pd.DataFrame({"name": ["𠮷野小学校", "髙島〜−", "普通"], "people": [1.0, 2.0, -0.0]})
    (note,) = write_csv(table, tmp_path / "a.csv", encoding="cp932")
    assert (
        str(note) == "a.csv: characters outside cp932 are written 〓 [1] (first: 𠮷 in 𠮷野小学校)"
    )
    again = pd.read_csv(tmp_path / "a.csv", encoding="cp932", dtype=str)
    assert list(again["name"]) == ["〓野小学校", "髙島～－", "普通"]
    assert list(again["people"]) == ["1", "2", "0"]


# ---- the map ----------------------------------------------------------------------------------


def test_the_map_holds_every_polygon_and_only_them(tmp_path):
    projection, districts = projected(4, years=12), mapped(4)
    path = write_geopackage(projection, districts, tmp_path / "districts.gpkg")
    layer = gpd.read_file(path)
    assert gpd.list_layers(path)["name"].tolist() == ["districts"]
    assert layer.crs.to_epsg() == 6668
    assert list(layer["コード"]) == ["004", "003", "002", "001"]
    assert list(layer["名称"]) == ["地図004", "第003小学校", "第002小学校", "第001小学校"]
    assert list(layer["区名"]) == ["", "西区", "東区", "東区"]
    # Nobody is registered in 004: it is drawn, without numbers.
    assert layer["総人口_2017"].isna().tolist() == [True, False, False, False]
    years = {c.rpartition("_")[2] for c in layer.columns if c.startswith("総人口")}
    assert years == {"2017", "2022", "2027", "2029"}
    old = projection["population"].sel(district="002", age=slice(65, None)).sum(["sex", "age"])
    np.testing.assert_allclose(layer.loc[2, "人口65歳以上_2027"], old[10])
    assert "人口0_5歳_2017" in layer
    for shape, own in zip(layer.geometry, districts.table.geometry, strict=True):
        assert shapely.equals_exact(shapely.get_parts(shape)[0], own, 0)
    np.testing.assert_allclose(layer["面積_km2"], districts.area_km2)
    assert "population_65plus_2027" in map_table(projection, districts, lang="en")


def test_a_map_shows_one_projection():
    projection = projected(years=1)
    two = xr.concat([projection[["population"]]] * 2, pd.Index(["a", "b"], name="scenario"))
    with pytest.raises(InputError, match=r"several by scenario.*\.sel\(scenario=…\)"):
        map_table(two, mapped())


# ---- everything -------------------------------------------------------------------------------


def test_publish_writes_the_files_and_says_what_they_are(tmp_path):
    out = tmp_path / "out"
    written = publish(projected(), mapped(), out)
    names = ["result.nc", "districts.gpkg", "age_groups.csv", "components.csv"]
    assert [w.path.name for w in written] == names
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    assert all(w.what and w.path.stat().st_size for w in written)
    assert "nobody is registered" in str(written[1].notes[0])
    english = publish(projected(), None, out, lang="en", csv_encoding="cp932")
    assert [w.path.name for w in english] == ["result.nc", "age_groups.csv", "components.csv"]
    (only,) = publish(projected(), mapped(), out, formats=["geopackage"])
    assert only.path == out / "districts.gpkg"
    with pytest.raises(InputError, match=r"formats are netcdf, geopackage, csv.*first 'xlsx'"):
        publish(projected(), mapped(), out, formats=["xlsx"])


def test_an_error_in_the_last_file_leaves_all_old_ones(tmp_path, monkeypatch):
    publish(projected(seed=1), mapped(), tmp_path)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    broken = projected(seed=2)
    broken = broken.assign_coords(year=broken["year"] + 1)
    with pytest.raises(InputError, match="each interval between stocks"):
        publish(broken, mapped(), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


# ---- the books --------------------------------------------------------------------------------


def books():
    spec = importlib.util.spec_from_file_location("check_books", CHECK_BOOKS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_imports_nothing_of_popproj():
    assert "import popproj" not in CHECK_BOOKS.read_text(encoding="utf-8")
    assert "from popproj" not in CHECK_BOOKS.read_text(encoding="utf-8")


def test_the_books_of_a_written_file(tmp_path):
    path = write_result(projected(net=True), mapped(), tmp_path / "result.nc")
    done = subprocess.run(
        [sys.executable, str(CHECK_BOOKS), str(path)],
        capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the books balance" in done.stdout


@given(st.integers(0, 30), st.booleans())
def test_books_that_balance(seed, net):
    _, wrong = books().check(projected(3, years=2, seed=seed, net=net))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("population", "balance: .* worst year 2017, sex male, age 6, district 002"),
        ("deaths", "balance: 1 of .* worst year 2019, sex male, age 6, district 002"),
        ("moves_in", "arrivals ≠ departures"),
    ],
)
def test_books_that_do_not_balance(name, told):
    projection = projected()
    array = projection[name].copy()
    array[{"time" if name == "population" else "year": 1 if name == "population" else 2,
           "sex": 1, "age": 6, "district": 1}] += 1e-4  # fmt: skip
    _, wrong = books().check(projection.assign({name: array}))
    assert re.search(told, "\n".join(wrong))


def test_negative_and_blank_counts_are_false():
    projection = projected()
    deaths = projection["deaths"].copy()
    deaths[0, 0, 5, 0] = np.nan
    births = projection["births"].copy()
    births[0, 0, 0] = -1
    _, wrong = books().check(projection.assign(deaths=deaths, births=births))
    assert "deaths: 0 negative and 1 blank cells" in wrong
    assert "births: 1 negative and 0 blank cells" in wrong
    assert any(w.startswith("balance: 2 of") for w in wrong)

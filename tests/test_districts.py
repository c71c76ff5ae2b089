"""Polygons: what is read, repaired and refused; outlines in datasets and back; zones."""

import zipfile
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
import xvec  # noqa: F401  registers the accessor
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod
from shapely.geometry import MultiPolygon, Point, Polygon, box

from popproj.geo.cube import attach, crs_of, from_cf, to_cf, vector_cube
from popproj.geo.districts import Districts, match, read_districts, read_polygons
from popproj.geo.zones import _TOWNS, metric_crs, plane_zone
from popproj.schema import UNASSIGNED, InputError

KOBE = (135.19, 34.69)


def squares(n=3, crs="EPSG:6668"):
    """Squares of 0.01° side by side near Kobe, codes 001, 002, …"""
    x, y = KOBE
    return gpd.GeoDataFrame(
        {
            "code": [f"{i:03d}" for i in range(1, n + 1)],
            "name": [f"第{i}小学校" for i in range(1, n + 1)],
        },
        geometry=[box(x + i / 100, y, x + (i + 1) / 100, y + 0.01) for i in range(n)],
        crs=crs,
    )


def written(frame, path, **options):
    frame.to_file(path, engine="pyogrio", **options)
    return path


def test_codes_keep_their_zeros_and_names_their_characters(tmp_path):
    for name in ("map.geojson", "map.gpkg"):
        districts = read_polygons(written(squares(), tmp_path / name), code="code", name="name")
        assert districts.codes == ["001", "002", "003"]
        assert list(districts.table["name"]) == ["第1小学校", "第2小学校", "第3小学校"]
        assert districts.table.index.name == "district"
        assert districts.notes == ()
        assert len(districts) == 3
    squares().to_parquet(tmp_path / "map.parquet")
    assert read_polygons(tmp_path / "map.parquet", code="code").codes == ["001", "002", "003"]


@pytest.mark.parametrize("encoding", ["cp932", "utf-8"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_shapefile_without_cpg_is_read_in_the_encoding_of_its_bytes(tmp_path, encoding, packed):
    path = written(squares(), tmp_path / "map.shp", encoding=encoding)
    path.with_suffix(".cpg").unlink()
    if packed:
        with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
            for part in tmp_path.glob("map.*"):
                archive.write(part, part.name)
        path = tmp_path / "packed.zip"
    districts = read_polygons(path, code="code", name="name")
    assert list(districts.table["name"]) == ["第1小学校", "第2小学校", "第3小学校"]
    assert [str(n) for n in districts.notes] == [
        f"{path.name}: no .cpg file says the encoding; read as {encoding}"
    ]


def test_a_shapefile_in_the_wrong_encoding_says_what_to_write(tmp_path):
    path = written(squares(), tmp_path / "map.shp", encoding="cp932")
    path.with_suffix(".cpg").write_text("UTF-8", encoding="ascii")
    with pytest.raises(InputError, match=r'encoding that the file says.*Say encoding = "cp932"'):
        read_polygons(path, code="code", name="name")
    districts = read_polygons(path, code="code", name="name", encoding="cp932")
    assert districts.table.at["001", "name"] == "第1小学校"


def test_the_city_file_names_the_polygons(tmp_path):
    path = written(squares(), tmp_path / "map.gpkg", layer="校区")
    spec = SimpleNamespace(
        path=lambda folder: folder / path.name,
        code="code",
        name="name",
        layer="校区",
        encoding=None,
        crs=None,
    )
    city = SimpleNamespace(districts=spec, folder=tmp_path)
    assert read_districts(city).codes == ["001", "002", "003"]
    with pytest.raises(InputError, match=r"\[districts\] must name the file"):
        read_districts(SimpleNamespace(districts=None))


def test_all_faults_come_at_once(tmp_path):
    frame = squares(6)
    frame["code"] = ["001", "001", "", None, UNASSIGNED, "006"]
    frame.loc[5, "geometry"] = Point(135, 34)
    frame = frame.astype({"geometry": object}).set_geometry("geometry", crs=6668)
    frame.loc[1, "geometry"] = None
    with pytest.raises(InputError) as caught:
        read_polygons(written(frame, tmp_path / "map.geojson"), code="code", name="nam")
    told = str(caught.value)
    assert len(caught.value.faults) == 6
    assert "map.geojson: the column 'nam' must be there, and is not. Correct name" in told
    assert "Nearest: name." in told
    assert "each polygon must have a code; 2 of 6 rows do not, first row 3" in told
    assert "each code must stand once; 2 of 6 rows do not, first row 1 (001)" in told
    assert "no district may be called 'unassigned'" in told
    assert "each district must have a polygon; 1 of 6 rows does not, first row 2" in told
    assert "must be a polygon, not a point or a line; 1 of 6 rows does not, first row 6" in told


def test_a_missing_column_names_the_nearest(tmp_path):
    path = written(squares().rename(columns={"code": "A27_003"}), tmp_path / "map.geojson")
    with pytest.raises(InputError, match=r"'A27_03' must be there.*Correct code.*A27_003"):
        read_polygons(path, code="A27_03")


def test_a_file_without_coordinate_system_must_be_told_it(tmp_path):
    path = written(squares(), tmp_path / "map.shp")
    path.with_suffix(".prj").unlink()
    told = r'must say its coordinate system.*crs = "EPSG:6668"'
    with pytest.raises(InputError, match=told):
        read_polygons(path, code="code")
    assert read_polygons(path, code="code", crs="EPSG:6668").crs == CRS.from_epsg(6668)
    with pytest.raises(InputError, match="crs must name a coordinate system, and 'metres'"):
        read_polygons(path, code="code", crs="metres")


def test_the_file_s_own_coordinate_system_wins_and_says_so(tmp_path):
    path = written(squares(), tmp_path / "map.gpkg")
    districts = read_polygons(path, code="code", crs="EPSG:6673")
    assert districts.crs == CRS.from_epsg(6668)
    assert "crs in city.toml is EPSG:6673, the file says JGD2011" in str(districts.notes[0])


def test_metres_in_a_file_that_says_degrees_are_refused(tmp_path):
    frame = squares().to_crs(6673).set_crs(4326, allow_override=True)
    with pytest.raises(InputError, match=r"must lie on the globe.*3 of 3 polygons do not"):
        read_polygons(written(frame, tmp_path / "map.geojson"), code="code")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.geojson").write_text('{"type": "Feature', encoding="utf-8")
    (tmp_path / "table.csv").write_text("code,name\n001,a\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken.geojson: the file must be readable as polygons"):
        read_polygons(tmp_path / "broken.geojson", code="code")
    with pytest.raises(InputError, match="holds a table without geometry"):
        read_polygons(tmp_path / "table.csv", code="code")
    with pytest.raises(InputError, match=r"must be in .*, and is not.*Nearest: broken.geojson"):
        read_polygons(tmp_path / "brokn.geojson", code="code")
    path = written(squares(), tmp_path / "map.shp")
    path.with_suffix(".shx").unlink()
    with pytest.raises(InputError, match=r"needs its \.shp, \.shx, \.dbf"):
        read_polygons(path, code="code")


def test_the_layer_must_be_clear(tmp_path):
    path = written(squares(), tmp_path / "map.gpkg", layer="小学校")
    written(squares(2), path, layer="中学校")
    with pytest.raises(InputError, match=r"one layer must be meant.*小学校, 中学校"):
        read_polygons(path, code="code")
    with pytest.raises(InputError, match=r"'小学校区' must be there.*Nearest: 小学校"):
        read_polygons(path, code="code", layer="小学校区")
    assert len(read_polygons(path, code="code", layer="中学校")) == 2


def test_codes_that_are_numbers_or_padded_are_noted(tmp_path):
    frame = squares().assign(number=[1, 2, 3], wide=["001 ", " 002", "003"], part=[1.0, 2.5, 3.0])
    path = written(frame, tmp_path / "map.gpkg")
    numbers = read_polygons(path, code="number")
    assert numbers.codes == ["1", "2", "3"]
    assert "numbers: no leading zeros" in str(numbers.notes[0])
    wide = read_polygons(path, code="wide")
    assert wide.codes == ["001", "002", "003"]
    assert "blanks around codes in 'wide' are left out [2]" in str(wide.notes[0])
    assert read_polygons(path, code="part").codes == ["1", "2.5", "3"]


def test_a_missing_name_is_the_code(tmp_path):
    path = written(squares().assign(name=["a", None, ""]), tmp_path / "map.gpkg")
    districts = read_polygons(path, code="code", name="name")
    assert list(districts.table["name"]) == ["a", "002", "003"]
    assert "called by their code [2] (first: 002)" in str(districts.notes[0])


# ---- repair -----------------------------------------------------------------------------------


def test_repairs_are_seen(tmp_path):
    frame = squares(4)
    x, y = KOBE
    bow_tie = Polygon([(x, y), (x + 0.01, y + 0.01), (x + 0.01, y), (x, y + 0.01)])
    doubled = MultiPolygon([box(x, y, x + 0.01, y + 0.01), box(x, y, x + 0.01, y + 0.005)])
    frame.loc[0, "geometry"] = bow_tie
    frame.loc[1, "geometry"] = doubled
    frame.loc[2, "geometry"] = shapely.force_3d(frame.geometry[2], 7.0)
    districts = read_polygons(written(frame, tmp_path / "map.gpkg"), code="code", name="name")
    assert districts.table.is_valid.all()
    assert not districts.table.has_z.any()
    heights, tie, twice = map(str, districts.notes)
    assert "heights of the outlines are left out [1]" in heights
    assert "row 1 (001 第1小学校)" in tie
    assert "Self-intersection" in tie
    # What is drawn twice is counted once, not cut out.
    assert districts.area_km2["002"] == pytest.approx(districts.area_km2["004"], rel=1e-3)
    assert "row 2 (002 第2小学校)" in twice
    assert "area 1.5" in twice


def test_polygons_without_area_are_refused(tmp_path):
    frame = squares(2)
    x, y = KOBE
    frame.loc[0, "geometry"] = Polygon([(x, y), (x + 0.01, y), (x + 0.02, y)])
    with pytest.raises(InputError, match=r"each polygon must have an area; 1 of 2 rows"):
        read_polygons(written(frame, tmp_path / "map.gpkg"), code="code")


def test_outer_rings_turn_anticlockwise_and_single_parts_are_polygons(tmp_path):
    path = written(squares(), tmp_path / "map.shp")  # Shapefiles turn clockwise
    shapes = read_polygons(path, code="code").table.geometry
    assert shapely.is_ccw(shapes.exterior.to_numpy()).all()
    path = written(squares(), tmp_path / "map.gpkg", promote_to_multi=True)
    assert (read_polygons(path, code="code").table.geom_type == "Polygon").all()


# ---- matching ---------------------------------------------------------------------------------


def districts_of(frame):
    return Districts(frame.set_index(frame["code"].rename("district"))[["name", "geometry"]], "map")


def test_each_code_with_people_needs_a_polygon():
    districts = districts_of(squares())
    assert match(districts, ["003", "001", "002", UNASSIGNED]) == ()
    (note,) = match(districts, ["001", "003"])
    assert str(note) == "map: polygons in which nobody is registered [1] (first: 002 第2小学校)"
    with pytest.raises(InputError, match=r"2 of 3 districts do not, first '004'.*Nearest: 00"):
        match(districts, ["001", "004", "005"])
    for code in ("1", "００１", "001.0", " 001"):
        with pytest.raises(InputError, match="The map writes '001': write codes alike"):
            match(districts, [code])


# ---- zones and areas --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lon", "lat", "zone", "place"),
    [
        (129.87, 32.75, 1, "Nagasaki"),
        (129.49, 28.38, 1, "Amami"),
        (128.43, 27.04, 1, "Yoron"),
        (130.40, 33.59, 2, "Fukuoka"),
        (130.52, 30.35, 2, "Yakushima"),
        (132.46, 34.39, 3, "Hiroshima"),
        (134.05, 34.34, 4, "Takamatsu"),
        (135.36, 34.80, 5, "Takarazuka"),
        (135.47, 34.78, 6, "Toyonaka"),
        (136.91, 35.18, 7, "Nagoya"),
        (138.57, 35.66, 8, "Kofu"),
        (139.69, 35.69, 9, "Tokyo"),
        (139.79, 33.11, 9, "Hachijo"),
        (140.87, 38.27, 10, "Sendai"),
        (140.99, 43.19, 11, "Otaru"),
        (141.35, 43.06, 12, "Sapporo"),
        (144.38, 42.98, 13, "Kushiro"),
        (142.19, 27.09, 14, "Chichijima"),
        (127.68, 26.21, 15, "Naha"),
        (124.16, 24.34, 16, "Ishigaki"),
        (131.23, 25.83, 17, "Minamidaito"),
        (136.08, 20.42, 18, "Okinotorishima"),
        (153.98, 24.29, 19, "Minamitorishima"),
        (129.04, 35.12, 0, "Busan"),
        (126.53, 33.50, 0, "Jeju"),
        (131.89, 43.12, 0, "Vladivostok"),
        (121.50, 25.05, 0, "Taipei"),
        (142.73, 46.96, 0, "Yuzhno-Sakhalinsk"),
        (-0.10, 51.50, 0, "London"),
    ],
)
def test_zones(lon, lat, zone, place):
    assert plane_zone(lon, lat) == zone, place


def test_towns_lie_where_epsg_uses_their_zone():
    for zone, towns in _TOWNS.items():
        use = CRS.from_epsg(6668 + zone).area_of_use
        lon, lat = np.array(towns.split(), dtype=float).reshape(-1, 2).T
        near = box(*use.bounds).buffer(0.2)
        assert shapely.contains_xy(near, lon, lat).all()
        np.testing.assert_array_equal(plane_zone(lon, lat), zone)


def test_utm_outside_japan():
    zurich = gpd.GeoSeries([box(8.5, 47.3, 8.6, 47.4)], crs=4326)
    assert metric_crs(zurich) == CRS.from_epsg(32632)


def test_areas_agree_with_the_ellipsoid():
    districts = districts_of(squares())
    geod = Geod(ellps="GRS80")
    exact = [abs(geod.geometry_area_perimeter(s)[0]) / 1e6 for s in districts.table.geometry]
    assert districts.metric_crs == CRS.from_epsg(6673)
    np.testing.assert_allclose(districts.area_km2, exact, rtol=2e-4)


# ---- datasets with outlines -------------------------------------------------------------------


def people(codes):
    return xr.Dataset(
        {"population": (("age", "district"), np.arange(2.0 * len(codes)).reshape(2, -1))},
        coords={"age": [0, 1], "district": np.array(codes, dtype=object)},
    )


def through_file(dataset, path):
    to_cf(dataset).to_netcdf(path, engine="netcdf4")
    with xr.open_dataset(path, engine="netcdf4") as file:
        return from_cf(file.load())


def same_outlines(a, b):
    a, b = np.atleast_1d(a["geometry"].to_numpy()), np.atleast_1d(b["geometry"].to_numpy())
    assert (shapely.get_type_id(a) == shapely.get_type_id(b)).all()
    assert shapely.equals_exact(a, b, tolerance=0).all()


@st.composite
def outlines(draw):
    """Polygons on a grid with holes and parts, in any number; sometimes empty."""
    shapes = []
    for i in range(draw(st.integers(1, 6))):
        parts = []
        for j in range(draw(st.integers(0, 3))):
            x, y = 10.0 * i + draw(st.floats(0, 1)), 10.0 * j
            holes = [
                box(x + 1 + 2 * k, y + 1, x + 2 + 2 * k, y + 2).exterior
                for k in range(draw(st.integers(0, 2)))
            ]
            parts.append(Polygon(box(x, y, x + 8, y + 8).exterior, holes))
        shapes.append(
            Polygon() if not parts else parts[0] if len(parts) == 1 else MultiPolygon(parts)
        )
    return shapes


@given(outlines())
def test_any_outline_survives_the_container(shapes):
    codes = [f"{i:02d}" for i in range(len(shapes))]
    drawn = [i for i, s in enumerate(shapes) if not s.is_empty]
    if not drawn:
        return
    table = gpd.GeoDataFrame(
        {"name": codes}, geometry=shapes, index=pd_index(codes), crs="EPSG:6673"
    )
    dataset = attach(people(codes), Districts(table))
    again = from_cf(to_cf(dataset))
    same_outlines(again, dataset)
    xr.testing.assert_identical(again.drop_vars("geometry"), dataset.drop_vars("geometry"))


def pd_index(codes):
    return gpd.pd.Index(codes, dtype=object, name="district")


@pytest.mark.parametrize("crs", [6668, 6673, 4326, 3857])
def test_outlines_and_crs_through_a_file(tmp_path, crs):
    districts = districts_of(squares().to_crs(crs))
    dataset = attach(people(["003", "001", UNASSIGNED]), districts)
    before = dataset.copy(deep=True)
    again = through_file(dataset, tmp_path / "cube.nc")
    same_outlines(again, dataset)
    assert crs_of(again) == CRS.from_epsg(crs)
    assert again["population"].attrs == dataset["population"].attrs
    xr.testing.assert_identical(before, dataset)
    # One district alone, and none with an outline
    same_outlines(
        through_file(dataset.isel(district=0), tmp_path / "one.nc"), dataset.isel(district=0)
    )
    nobody = dataset.isel(district=[2])
    same_outlines(through_file(nobody, tmp_path / "none.nc"), nobody)


def test_the_container_is_cf_and_others_read_it(tmp_path):
    import cf_xarray

    districts = districts_of(squares())
    dataset = attach(people(["001", "003", UNASSIGNED]), districts)
    encoded = to_cf(dataset)
    container = encoded["geometry_container"].attrs
    assert container["geometry_type"] == "polygon"
    for key in ("node_count", "part_node_count", "interior_ring", "grid_mapping"):
        assert container[key] in encoded
    assert encoded["geometry_node_count"].dims == ("district",)
    assert list(encoded["geometry_node_count"].values) == [5, 5, 0]
    assert encoded["population"].attrs["geometry"] == "geometry_container"
    assert encoded["population"].attrs["grid_mapping"] == "spatial_ref"
    assert encoded["geometry_x"].attrs["units"] == "degrees_east"
    assert encoded["spatial_ref"].attrs["grid_mapping_name"] == "latitude_longitude"
    encoded.to_netcdf(tmp_path / "cube.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "cube.nc") as file:
        mapped = file.load().isel(district=slice(None, -1))
    theirs = cf_xarray.geometry.decode_geometries(mapped)["geometry"].to_numpy()
    assert shapely.equals_exact(theirs, dataset["geometry"].to_numpy()[:-1], 0).all()


def test_datasets_without_outlines_pass_through():
    plain = people(["001"])
    assert to_cf(plain) is plain
    assert from_cf(plain) is plain


def test_the_cube_selects_by_code_and_in_space(tmp_path):
    dataset = attach(people(["001", "002", "003", UNASSIGNED]), districts_of(squares()))
    cube = vector_cube(dataset)
    assert dict(cube.sizes) == {"age": 2, "geometry": 3}
    np.testing.assert_array_equal(cube.sel(district="002")["population"], [1.0, 5.0])
    inside = Point(KOBE[0] + 0.025, KOBE[1] + 0.005)
    assert cube.xvec.query("geometry", inside)["district"].item() == "003"
    assert cube.sel(geometry=[inside], method="nearest")["district"].item() == "003"
    assert cube.xvec.geom_coords_indexed.xindexes["geometry"].crs == CRS.from_epsg(6668)
    cube.xvec.encode_cf().to_netcdf(tmp_path / "xvec.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "xvec.nc") as file:
        again = file.load().xvec.decode_cf()
    same_outlines(again, cube)
    np.testing.assert_array_equal(again["population"], cube["population"])


def test_an_outline_is_matched_by_code_not_by_position():
    dataset = attach(people(["003", UNASSIGNED, "001"]), districts_of(squares()))
    assert [round(s.bounds[0] - KOBE[0], 6) if not s.is_empty else None
            for s in dataset["geometry"].values] == [0.02, None, 0.0]  # fmt: skip
    with pytest.raises(InputError, match="each district with people must have a polygon"):
        attach(people(["001", "009"]), districts_of(squares()))


# ---- real maps --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "code", "name", "n", "epsg", "repaired"),
    [
        ("geo/A27-23_29_GML/A27-23_29.shp", "A27_003", "A27_004", 166, 6674, 1),
        ("geo/A32-23_29_GML/A32-23_29.shp", "A32_003", "A32_004", 88, 6674, 2),
        ("geo/sapporo_A27_elementary.geojson", "address", "name", 202, 6680, 0),
        ("geo/hyogo_N03-21_municipality_s0010.geojson", "N03_007", "N03_004", 49, 6673, 0),
        ("kobe/kobe_PROXY_school_districts_voronoi.geojson", "district_id", "school", 166, 6673, 0),
    ],
)
def test_real_maps(shared_data, tmp_path, file, code, name, n, epsg, repaired):
    districts = read_polygons(shared_data / file, code=code, name=name)
    assert len(districts) == n
    assert districts.table.is_valid.all()
    assert districts.metric_crs == CRS.from_epsg(epsg)
    assert sum("was repaired" in n.what for n in districts.notes) == repaired
    points = districts.table.representative_point().to_crs(4326)
    assert set(plane_zone(points.x, points.y)) == {epsg - 6668}
    dataset = attach(people([*districts.codes, UNASSIGNED]), districts)
    same_outlines(through_file(dataset, tmp_path / "cube.nc"), dataset)


def test_kobe_areas_are_those_of_the_map(shared_data):
    path = shared_data / "kobe/kobe_PROXY_school_districts_voronoi.geojson"
    area = gpd.read_file(path).set_index("district_id")["area_km2"]
    districts = read_polygons(path, code="district_id", name="school")
    np.testing.assert_allclose(districts.area_km2, area.loc[districts.codes], rtol=1e-9)


def test_a_part_drawn_twice_is_joined_not_cut_out(shared_data):
    path = shared_data / "geo/A32-23_29_GML/A32-23_29.shp"
    districts = read_polygons(path, code="A32_003", name="A32_004")
    assert districts.area_km2["C129210000657"] == pytest.approx(9.9958, abs=1e-3)
    (note,) = (str(n) for n in districts.notes if "C129210000657" in n.what)
    assert "式下中学校" in note
    assert "area 14.058759 → 9.995802 km² (-4,062,957.1 m²)" in note


def test_districts_drawn_in_pieces_are_refused(shared_data):
    path = shared_data / "geo/chiba_elementary.geojson"
    with pytest.raises(InputError, match=r"each code must stand once; 30 of 137 rows do not"):
        read_polygons(path, code="A27_007", name="A27_007")


def test_points_are_no_districts(shared_data):
    path = shared_data / "geo/P29-21_29_GML/P29-21_29.shp"
    with pytest.raises(InputError, match="not a point or a line; 699 of 699"):
        read_polygons(path, code="P29_002", name="P29_004")

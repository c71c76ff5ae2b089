"""The sample city: its books, its hazards, its map, its files."""

import dataclasses
import itertools
import time

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import shapely.ops

from popproj import config
from popproj.sample import simulate, write
from popproj.schema import EVENT_KINDS, InputError

OPEN = 100


@pytest.fixture(scope="module")
def city():
    return simulate(districts=14, seed=3)


@pytest.fixture(scope="module")
def folder(city, tmp_path_factory):
    out = tmp_path_factory.mktemp("sample")
    write(city, out)
    return out


def completed_years(birth, day):
    before = (day.dt.month * 100 + day.dt.day) < (birth.dt.month * 100 + birth.dt.day)
    return day.dt.year - birth.dt.year - before


# ---- books --------------------------------------------------------------------------------------


def gap_in_books(population, events):
    """Closing stock less what opening stock and events say, by (year, town, sex, age reached)."""
    towns = population["area"].to_numpy()
    stock = population.transpose("time", "area", "sex", "age").to_numpy().astype(np.int64)
    expected = np.zeros_like(stock[1:])
    expected[..., 1:] = stock[:-1, ..., :-1]
    expected[..., OPEN] += stock[:-1, ..., OPEN]
    year = events["year"].to_numpy() - 2014
    sex = (events["sex"] == "male").to_numpy().astype(int)
    age = np.where(events["kind"] == "birth", 0, events["age"])
    count = events["count"].to_numpy()
    sign = events["kind"].astype(str).map({"birth": 1, "in": 1, "death": -1, "out": -1, "move": -1})
    area = pd.Index(towns).get_indexer(events["area"].astype(str))
    np.add.at(expected, (year, area, sex, age), sign.to_numpy() * count)
    moves = (events["kind"] == "move").to_numpy()
    other = pd.Index(towns).get_indexer(events["other_area"].astype(str)[moves])
    assert (other >= 0).all()
    assert (other != area[moves]).all()
    np.add.at(expected, (year[moves], other, sex[moves], age[moves]), count[moves])
    return stock[1:] - expected


def test_books_balance_to_the_person(city):
    assert not gap_in_books(city.population, city.event_counts()).any()


@pytest.mark.size
def test_the_full_city_is_as_large_as_promised_and_balances(tmp_path):
    start = time.perf_counter()
    full = simulate(full=True)
    write(full, tmp_path)
    assert time.perf_counter() - start < 60
    assert len(full.places.wards) == 9
    assert len(full.places.districts) == 160
    first = int(full.population.isel(time=0).sum())
    assert first == pytest.approx(1_500_000, rel=1e-3)
    assert not gap_in_books(full.population, full.event_counts()).any()


def test_ages_at_the_event_and_at_the_end_of_the_year_tell_the_same_events(city):
    at_end, at_event = city.event_counts("year_end"), city.event_counts("event")
    by = ["year", "kind", "area", "sex"]
    pd.testing.assert_series_equal(
        at_end.groupby(by, observed=True)["count"].sum(),
        at_event.groupby(by, observed=True)["count"].sum(),
    )
    events = city.history.events
    behind = events["age_end"] - events["age"]
    assert set(behind) == {0, 1}
    births = events["kind"] == EVENT_KINDS.index("birth")
    assert (behind[births] == 0).all()  # births carry the mother's age at the birth either way
    assert 0.45 < behind[~births & (events["age"] < OPEN)].mean() < 0.55
    # everybody's ages follow from the dates alone
    born, day = (pd.to_datetime(events[c], unit="D") for c in ("birth", "day"))
    assert (np.minimum(completed_years(born, day), OPEN) == events["age"]).all()


def test_the_same_seed_gives_the_same_city_and_another_seed_another_history_of_it():
    one, same, other = (simulate(districts=6, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one.history.events, same.history.events)
    assert one.population.identical(same.population)
    pd.testing.assert_frame_equal(one.enrolment, same.enrolment)
    assert not one.population.equals(other.population)
    assert one.true_rates.identical(other.true_rates)
    for table in ("wards", "districts", "towns", "former"):
        pd.testing.assert_frame_equal(getattr(one.places, table), getattr(other.places, table))
    pd.testing.assert_frame_equal(one.facilities, other.facilities)


@pytest.mark.parametrize("number", [5, 161])
def test_a_city_of_impossible_size_is_refused(number):
    with pytest.raises(ValueError, match=f"districts must be 6 to 160, and is {number}"):
        simulate(districts=number)


# ---- hazards ------------------------------------------------------------------------------------


def person_years(city, year):
    """Person-years by (town, sex, exact age) in one year, from dates alone, at day resolution.

    Whoever is there at the start is counted for the whole year; who leaves gives back what is left
    of it, and who arrives brings it. So nobody need be followed.
    """
    start = np.datetime64(f"{year}-04-01")
    days = (np.datetime64(f"{year + 1}-04-01") - start).astype(int)
    shape = (len(city.places.towns), 2, OPEN + 1)
    total = np.zeros(shape)

    def add(town, sex, birth, since, sign):
        born = pd.to_datetime(np.asarray(birth), unit="D")
        calendar_year = np.where(born.month >= 4, year, year + 1)
        shift = pd.to_datetime(
            {"year": calendar_year, "month": born.month, "day": 1}
        ) + pd.to_timedelta(born.day.to_numpy() - 1, unit="D")
        birthday = (shift.to_numpy().astype("datetime64[D]") - start).astype(int) / days
        age = calendar_year - born.year
        before = np.clip(birthday - since, 0, None)
        after = 1 - np.maximum(birthday, since)
        for cell, lived in ((np.maximum(age - 1, 0), before), (age, after)):
            np.add.at(total, (town, sex, np.minimum(cell, OPEN)), sign * lived)

    people = city.history.residents[year - 2014]
    add(people["town"].to_numpy(), people["sex"].to_numpy(), people["birth"], 0.0, 1)
    events = city.history.events
    events = events[events["year"] == year]
    at = (events["day"].to_numpy() - start.astype(int) + 0.5) / days
    kind = events["kind"].map(dict(enumerate(EVENT_KINDS))).to_numpy()
    birth = np.where(kind == "birth", events["day"], events["birth"])
    town, sex = events["town"].to_numpy(), events["sex"].to_numpy()
    for chosen, where, sign in (
        (np.isin(kind, ["birth", "in"]), town, 1),
        (np.isin(kind, ["death", "out", "move"]), town, -1),
        (kind == "move", events["other"].to_numpy(), 1),
    ):
        add(where[chosen], sex[chosen], birth[chosen], at[chosen], sign)
    return total


@pytest.fixture(scope="module")
def lived(city):
    """Exposure and events by (district, sex, exact age), all years together."""
    code = pd.Index(city.true_rates["district"].to_numpy())
    home = code.get_indexer(city.places.towns["district"])

    def by_district(table):
        out = np.zeros((code.size, *table.shape[1:]))
        np.add.at(out, home, table)
        return out

    exposure = by_district(sum(person_years(city, year) for year in range(2014, 2024)))
    events = city.history.events
    kind = events["kind"].map(dict(enumerate(EVENT_KINDS))).to_numpy()
    is_far = home[events["town"]] != home[events["other"]]
    counts = {}
    for name, chosen in (
        ("asfr", kind == "birth"),
        ("mx", kind == "death"),
        ("out_rate", kind == "out"),
        ("move_rate", (kind == "move") & is_far),
        ("local_rate", (kind == "move") & ~is_far),
        ("in_count", kind == "in"),
    ):
        rows = events[chosen]
        table = np.zeros_like(exposure)
        np.add.at(table, (home[rows["town"]], rows["sex"], rows["age"]), 1)
        counts[name] = table
    return exposure, counts


@pytest.mark.parametrize("name", ["mx", "out_rate", "move_rate", "local_rate", "asfr", "in_count"])
def test_what_happens_agrees_with_the_true_hazards(city, lived, name):
    exposure, counts = lived
    rates, happened = city.true_rates, counts[name]
    if name == "asfr":
        expected = exposure[:, 0] * rates["asfr"].transpose("district", "age").to_numpy()
        happened = happened.sum(axis=1)
    else:
        rate = rates[name].transpose("district", "sex", "age").to_numpy()
        expected = rate * (exposure if name != "in_count" else 10)
    if name == "in_count":
        new = rates["development_count"].sum("year").transpose("district", "sex", "age")
        expected = expected + new.to_numpy()
    # all ages, single years of age, and districts each scatter as a Poisson count does
    assert abs(happened.sum() - expected.sum()) < 3.5 * np.sqrt(expected.sum())
    for axes in (tuple(range(happened.ndim - 1)), tuple(range(1, happened.ndim))):
        seen, mean = happened.sum(axis=axes), expected.sum(axis=axes)
        assert (seen[mean == 0] == 0).all()
        seen, mean = seen[mean > 5], mean[mean > 5]
        z = (seen - mean) / np.sqrt(mean)
        assert abs(z).max() < 4.5
        assert abs((z**2).mean() - 1) < 4.5 * np.sqrt(2 / z.size)


def test_arrivals_come_evenly_through_the_year_and_through_the_year_of_age(city):
    events = city.history.events
    events = events[events["kind"] == EVENT_KINDS.index("in")]
    estate = city.places.towns.index[city.places.towns["area"].isin(city.developments["area"])]
    events = events[~events["town"].isin(estate)]
    start = pd.to_datetime(events["year"].astype(str) + "-04-01").to_numpy()
    since = (events["day"].to_numpy() - start.astype("datetime64[D]").astype(int)) / 365.25
    age = (events["day"] - events["birth"]).to_numpy() / 365.25
    for part in (since, age % 1):
        seen = np.histogram(part, bins=12, range=(0, 1))[0]
        mean = seen.sum() / 12
        assert ((seen - mean) ** 2 / mean).sum() < 35  # chi-squared, 11 degrees: 1 in 4,000


def test_destinations_agree_with_the_true_shares(city):
    events = city.history.events
    events = events[events["kind"] == EVENT_KINDS.index("move")]
    district = city.places.towns["district"].to_numpy()
    table = pd.DataFrame(
        {
            "group": np.array([0, 18, 30, 45, 65])[
                np.searchsorted([18, 30, 45, 65], events["age"], side="right")
            ],
            "origin": district[events["town"]],
            "destination": district[events["other"]],
        }
    )
    far = table[table["origin"] != table["destination"]]
    seen = far.groupby(["group", "origin", "destination"]).size()
    share = city.true_rates["destination_share"].to_series()
    np.testing.assert_allclose(share.groupby(level=[0, 1]).sum(), 1)
    share = share[share > 0]
    share.index.names = seen.index.names
    departures = far.groupby(["group", "origin"]).size()
    mean = share.to_numpy() * departures.reindex(share.index.droplevel(2)).to_numpy()
    z = (seen.reindex(share.index, fill_value=0).to_numpy() - mean) / np.sqrt(mean)
    z = z[mean > 5]
    assert abs(z).max() < 5
    assert abs((z**2).mean() - 1) < 0.15


def test_newborns_are_boys_and_girls_at_the_true_ratio(city):
    births = city.history.events.query(f"kind == {EVENT_KINDS.index('birth')}")
    share = 1.05 / 2.05
    assert abs(births["sex"].sum() - share * len(births)) < 4 * np.sqrt(len(births)) / 2


def test_true_levels_are_those_of_a_japanese_city():
    city = simulate(districts=40)
    rates = city.true_rates
    people = city.population.isel(time=0).groupby("district").sum()
    mx = rates["mx"].weighted(people.transpose(*rates["mx"].dims)).mean("district").to_numpy()
    for death_rates, life in zip(mx, (87.1, 81.0), strict=True):
        alive = np.exp(-np.concatenate([[0], np.cumsum(death_rates)]))
        years = (alive[:-1] - alive[1:]) / death_rates
        years[-1] = alive[-2] / death_rates[-1]
        assert years.sum() == pytest.approx(life, abs=0.5)
    women = people.sel(sex="female")
    fertility = (rates["asfr"] * women).sum("district") / women.sum("district")
    assert 1.15 < float(fertility.sum()) < 1.35
    total = city.population.sum(["sex", "age", "area"]).to_numpy()
    assert 350_000 < total.min() < total.max() < 400_000
    old = city.population.sel(age=slice(65, None)).sum(["sex", "age", "area"]) / total
    assert 0.22 < old[0] < old[-1] < 0.33


def test_districts_age_as_their_kind_does(city):
    kind = city.places.districts.set_index("district")["kind"]
    people = city.population.sum("sex").groupby("district").sum().isel(time=0)
    share = (
        people.sel(age=slice(18, 24)).sum("age") / people.sum("age"),
        people.sel(age=slice(65, None)).sum("age") / people.sum("age"),
    )
    young, old = (s.to_series().groupby(kind).mean() for s in share)
    assert young.idxmax() == "student"
    assert old.idxmax() in ("new_town", "harbour")
    assert old["new_town"] > old["suburb"] > 0.15


# ---- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["ward", "district", "town"])
def test_polygons_share_their_edges_to_the_last_bit(city, folder, level):
    if level == "ward":
        shapes = city.places.outlines("ward")
    else:
        shapes = geopandas.read_file(folder / f"{level}s.geojson")
        np.testing.assert_array_equal(
            shapely.get_coordinates(shapely.normalize(shapes.geometry.to_numpy())),
            shapely.get_coordinates(city.places.outlines(level).geometry.to_numpy()),
        )
    assert shapes.crs == "EPSG:6668"
    assert shapes.is_valid.all()
    key = {"town": "area"}.get(level, level)
    table = {"ward": "wards", "district": "districts", "town": "towns"}[level]
    assert shapes[key].tolist() == getattr(city.places, table)[key].tolist()
    # every side belongs to two polygons, in opposite directions, or to the shore or the mountains
    rings = [
        ring.coords
        for polygon in shapes.geometry.explode(index_parts=False)
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    sides = [side for ring in rings for side in itertools.pairwise(ring)]
    known = set(sides)
    assert len(known) == len(sides)
    outer = [side for side in sides if side[::-1] not in known]
    assert 0 < len(outer) < len(sides)
    # the sides without a neighbour enclose the mainland and the island, and nothing else
    pieces = list(shapely.ops.polygonize(outer))
    assert len(pieces) == 2
    assert not any(len(piece.interiors) for piece in pieces)
    area = sum(piece.area for piece in pieces)
    assert shapely.area(shapes.geometry.to_numpy()).sum() == pytest.approx(area, rel=1e-12)


def test_towns_lie_in_their_districts_and_districts_in_their_wards(city):
    towns = city.places.outlines("town")
    for level in ("district", "ward"):
        joined = towns.dissolve(level).geometry
        outlines = city.places.outlines(level).set_index(level).geometry
        assert outlines.geom_equals(joined.loc[outlines.index].normalize()).all()
    towns = city.places.towns
    assert towns["area"].str.fullmatch(r"\d{9}").all()
    assert towns["area"].is_unique
    assert (towns["area"].str[:3] == towns["ward"]).all()
    assert towns.groupby("district").size().between(8, 12).all()
    np.testing.assert_allclose(towns.groupby("district")["weight"].sum(), 1)
    for table in (towns, city.places.districts, city.places.wards):
        assert table["name"].is_unique
        assert table["name_en"].is_unique
        assert table["name_en"].str.isascii().all()
        table["name"].str.encode("cp932")


@pytest.mark.parametrize("number", [6, 40, 160])
def test_every_size_has_all_its_names_and_kinds(number):
    from popproj.sample.places import KINDS, make_places

    places = make_places(number, {6: 2, 40: 4, 160: 9}[number])
    assert len(places.districts) == number
    assert places.districts["district"].is_unique
    assert places.districts["ward"].nunique() == len(places.wards)
    assert set(places.districts["kind"]) == set(KINDS)
    names = [*places.districts["name_en"], *places.former["name_en"]]
    assert len(set(names)) == number + 2


# ---- files --------------------------------------------------------------------------------------


def test_plain_pandas_reads_the_register_back(city, folder):
    codes = {"area": str, "other_area": str}
    wide = pd.read_csv(folder / "population.csv", dtype=codes)
    assert wide.columns.tolist() == ["date", "area", "sex", *map(str, range(100)), "100+"]
    assert wide["date"].unique().tolist() == [f"{y}-03-31" for y in range(2014, 2025)]
    stock = wide.set_index(["date", "area", "sex"]).to_numpy()
    stock = stock.reshape(11, -1, 2, 101)
    expected = city.population.transpose("time", "area", "sex", "age").to_numpy()
    np.testing.assert_array_equal(stock, expected)
    events = pd.read_csv(folder / "events.csv", dtype=codes)
    assert events.columns.tolist() == ["year", "kind", "area", "other_area", "sex", "age", "count"]
    assert not events.duplicated(["year", "kind", "area", "other_area", "sex", "age"]).any()
    assert not gap_in_books(city.population, events).any()


def test_the_city_file_is_valid_and_names_every_file(folder):
    city = config.load_city(folder)
    assert city.name_en == "Aonagi City"
    assert city.events[0].age_at == "year_end"
    assert city.events[0].year_starts == "04-01"
    named = {
        path.name
        for table in (city.population[0], city.events[0], city.areas, city.facilities)
        for path in table.paths(city.folder)
    }
    assert named == {"population.csv", "events.csv", "areas.csv", "facilities.csv"}
    assert city.districts.path(city.folder).exists()
    assert city.enrolment is not None
    assert city.developments is not None


def test_records_tell_the_same_as_counts(city, tmp_path):
    written = write(city, tmp_path, records=True)
    assert [p.name for p in written][2:4] == ["residents.csv", "events.csv"]
    settings = config.load_city(tmp_path)
    assert settings.events[0].records
    assert not settings.population
    dates = ["date", "birth_date"]
    people = pd.read_csv(tmp_path / "residents.csv", dtype={"area": str}, parse_dates=dates)
    assert people.columns.tolist() == ["date", "area", "sex", "birth_date"]
    age = np.minimum(completed_years(people["birth_date"], people["date"]), OPEN)
    counts = people.groupby(["date", "area", "sex", age]).size()
    stock = city.population.to_series()
    stock = stock[stock > 0].reset_index(drop=False)
    stock["date"] = stock["time"] - pd.Timedelta(days=1)
    expected = stock.set_index(["date", "area", "sex", "age"])["population"].sort_index()
    assert counts.index.tolist() == expected.index.tolist()
    np.testing.assert_array_equal(counts.to_numpy(), expected.to_numpy())

    events = pd.read_csv(
        tmp_path / "events.csv",
        dtype={"area": str, "other_area": str},
        parse_dates=["date", "birth_date", "mother_birth_date"],
    )
    is_birth = events["kind"] == "birth"
    assert (events["birth_date"] == events["date"])[is_birth].all()
    assert (events["birth_date"] <= events["date"]).all()
    assert (events["mother_birth_date"].notna() == is_birth).all()
    assert events["date"].is_monotonic_increasing
    events["birth_date"] = events["mother_birth_date"].fillna(events["birth_date"])
    events["age"] = np.minimum(completed_years(events["birth_date"], events["date"]), OPEN)
    events["year"] = events["date"].dt.year.astype("int64") - (events["date"].dt.month < 4)
    by = ["year", "kind", "area", "other_area", "sex", "age"]
    seen = events.fillna({"other_area": ""}).groupby(by).size()
    counted = city.event_counts("event").astype(dict.fromkeys(by[1:5], str))
    expected = counted.set_index(by)["count"].sort_index()
    assert seen.index.tolist() == expected.index.tolist()
    np.testing.assert_array_equal(seen.to_numpy(), expected.to_numpy())


def test_facilities_stand_in_their_districts(city, folder):
    table = pd.read_csv(folder / "facilities.csv", encoding="cp932", dtype={"id": str})
    assert table.columns.tolist() == (
        ["id", "name", "name_en", "category", "lat", "lon", "capacity", "opened", "closed"]
    )
    assert table["id"].is_unique
    points = geopandas.points_from_xy(table["lon"], table["lat"], crs="EPSG:6668")
    shapes = geopandas.read_file(folder / "districts.geojson").set_index("district").geometry
    home = shapes.loc[city.facilities["district"]].reset_index(drop=True)
    assert home.contains(geopandas.GeoSeries(points)).all()
    schools = table[table["category"] == "elementary_school"]
    open_schools = schools[schools["closed"].isna()]
    assert set(open_schools["id"].str[1:]) == set(shapes.index)
    assert (schools["capacity"] > 0).all()


def test_two_schools_become_one(city, folder):
    areas = pd.read_csv(folder / "areas.csv", dtype=str, keep_default_na=False)
    former, heir = city.places.former["district"], city.places.former["successor"].iloc[0]
    before = areas[areas["district"].isin(former)]
    after = areas[areas["district"] == heir]
    assert before["district"].nunique() == 2
    assert sorted(before["area"]) == sorted(after["area"])
    assert set(before["valid_to"]) == {"2021-03-31"}
    assert set(after["valid_from"]) == {"2021-04-01"}
    others = areas[~areas["area"].isin(after["area"])]
    assert others["area"].is_unique
    assert set(others["valid_from"] + others["valid_to"]) == {""}
    assert set(areas["area"]) == set(city.population["area"].to_numpy())

    schools = pd.read_csv(folder / "facilities.csv", encoding="cp932").set_index("id")
    assert set(schools.loc["E" + former, "closed"]) == {"2021-03-31"}
    assert schools.loc[f"E{heir}", "opened"] == "2021-04-01"
    pupils = pd.read_csv(folder / "enrolment.csv")
    years = pupils.groupby("school")["year"].agg(["min", "max"])
    assert years.loc["E" + former].to_numpy().tolist() == [[2014, 2020]] * 2
    assert years.loc[f"E{heir}"].tolist() == [2021, 2024]


def test_pupils_are_the_children_of_their_district(city, folder):
    pupils = pd.read_csv(folder / "enrolment.csv")
    last = pupils[pupils["year"] == 2024].pivot_table("pupils", "school", "grade")
    children = city.population.isel(time=-1).sel(age=slice(6, 11)).sum("sex")
    children = children.groupby("district").sum().to_pandas().T
    assert (last.index == "E" + children.index).all()
    assert (last.to_numpy() <= children.to_numpy()).all()
    share = last.to_numpy().sum() / children.to_numpy().sum()
    assert share == pytest.approx(0.96, abs=0.01)
    limit = np.where(pupils["grade"] <= np.clip(pupils["year"] - 2019, 1, 6), 35, 40)
    assert (pupils["classes"] * limit >= pupils["pupils"]).all()
    assert ((pupils["classes"] - 1) * limit < pupils["pupils"]).all()


def test_the_finished_estate_shows_in_its_town(city):
    home = city.developments.set_index("status").loc["completed"]
    town = city.population.sel(area=home["area"]).sum(["sex", "age"]).to_numpy()
    grown = town[6:8].mean() - town[3:5].mean()
    assert grown > 0.5 * 2.5 * home["units"]
    shapes = city.places.outlines("town").set_index("area").geometry
    points = geopandas.points_from_xy(city.developments["lon"], city.developments["lat"])
    at = shapes.loc[city.developments["area"]].reset_index(drop=True)
    assert at.contains(geopandas.GeoSeries(points, crs=shapes.crs)).all()


def test_another_citys_folder_is_left_alone(city, tmp_path):
    (tmp_path / "city.toml").write_text('name = "Minato"\n', encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a folder of its own, and this holds another city\. Name"
    ):
        write(city, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["city.toml"]
    # one's own folder is written anew
    own = tmp_path / "own"
    first = write(city, own)
    assert write(dataclasses.replace(city, seed=4), own) == first

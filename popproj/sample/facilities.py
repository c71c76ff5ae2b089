"""Schools and other facilities of the invented city, its housing developments, its pupils."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from popproj.sample.places import KINDS, MERGER, Places

_CHILDREN = dict(zip(KINDS, (0.048, 0.050, 0.032, 0.038, 0.068), strict=True))  # aged 6-11
_OPENED = dict(zip(KINDS, (1974, 1951, 1949, 1947, 1966), strict=True))

# category: letter of the id, Japanese, English, people for one, least and most capacity, for whom
_COMMON = {
    "nursery": ("N", "保育所", "Nursery", 3_000, 60, 150, "young"),
    "kindergarten": ("K", "幼稚園", "Kindergarten", 9_000, 90, 240, "young"),
    "clinic": ("C", "診療所", "Clinic", 3_500, 0, 0, "all"),
    "day_care": ("D", "デイサービスセンター", "Day Care Centre", 4_500, 20, 40, "old"),
    "care_home": ("H", "特別養護老人ホーム", "Nursing Home", 9_000, 50, 110, "old"),
    "community_centre": ("M", "地域センター", "Community Centre", 12_000, 80, 200, "all"),
}
_NEED = {
    "all": dict.fromkeys(KINDS, 1.0),
    "young": dict(zip(KINDS, (0.8, 1.2, 0.6, 0.8, 1.2), strict=True)),
    "old": dict(zip(KINDS, (1.3, 0.8, 0.7, 1.3, 0.9), strict=True)),
}
_COLUMNS = ["id", "name", "name_en", "category", "lat", "lon", "capacity", "opened", "closed"]


def make_facilities(places: Places) -> pd.DataFrame:
    """Schools, nurseries, libraries, clinics and care, each at a point inside its district.

    Parameters
    ----------
    places
        The city.

    Returns
    -------
    pandas.DataFrame
        ``id, name, name_en, category, lat, lon, capacity, opened, closed, district``. Capacity is
        pupils, children, beds or seats, missing where it means nothing; ``closed`` is the last day,
        empty while open; ``district`` is the one of today in which the point lies.

    Examples
    --------
    >>> from popproj.sample.places import make_places
    >>> table = make_facilities(make_places(6, 2))
    >>> int((table["category"] == "elementary_school").sum())  # six, and the two that were merged
    8
    """
    rng = np.random.default_rng([1872, len(places.districts)])
    blocks = places.blocks()
    blocks["district"] = places.towns["district"].to_numpy()[blocks["town"]]
    middle = places.districts.set_index("district").loc[blocks["district"]]
    blocks["away"] = np.hypot(
        blocks["x"] - middle["x"].to_numpy(), blocks["y"] - middle["y"].to_numpy()
    )
    blocks = blocks.sort_values(["district", "away"], ignore_index=True)
    parts = [
        _elementary(places, blocks),
        _junior_high(places, blocks, rng),
        *(_common(places, blocks, name, rng) for name in _COMMON),
        _libraries(places, blocks, rng),
    ]
    table = pd.concat(parts, ignore_index=True)
    table["capacity"] = table["capacity"].astype("Int64")
    return table[[*_COLUMNS, "district"]]


def make_developments(places: Places) -> pd.DataFrame:
    """One estate finished in 2018-2020 on the old harbour, one tower planned by a station.

    Parameters
    ----------
    places
        The city.

    Returns
    -------
    pandas.DataFrame
        ``id, name, name_en, area, lat, lon, units, unit_type, first_year, fill_years, status``.
    """
    table = pd.DataFrame(
        {
            "id": ["P001", "P002"],
            "name": ["ハーバーテラス", "駅前タワー"],
            "name_en": ["Harbour Terrace", "Station Tower"],
            "kind": ["harbour", "tower"],
            "units": [640, 520],
            "unit_type": "family",
            "first_year": [2018, 2026],
            "fill_years": [3, 2],
            "status": ["completed", "planned"],
        }
    )
    last = places.districts.drop_duplicates("kind", keep="last").set_index("kind")["district"]
    home = table["kind"].map(last)
    town = places.towns.reset_index().drop_duplicates("district").set_index("district").loc[home]
    block = places.blocks().drop_duplicates("town").set_index("town").loc[town["index"]]
    table["area"] = town["area"].to_numpy()
    table["lat"], table["lon"] = (block[c].round(6).to_numpy() for c in ("lat", "lon"))
    columns = "id name name_en area lat lon units unit_type first_year fill_years status"
    return table[columns.split()]


def enrolment(places: Places, population: xr.DataArray, seed: int) -> pd.DataFrame:
    """Pupils and classes of each municipal elementary school by grade, at 1 May.

    Residents aged 6-11 on 31 March are in grades 1-6 a month later; 96 % of them go to the
    municipal school of their district. A class has at most 35 pupils in grade 1, 40 in the others
    until the change of law that brought 35 to grade 2 in 2021 and to one grade more each year.

    Parameters
    ----------
    places
        The city.
    population
        (time, sex, age, area) [people], with the coordinate ``count_date``.
    seed
        Of the people: which children go elsewhere is part of their history.

    Returns
    -------
    pandas.DataFrame
        ``year, school, grade, pupils, classes``.
    """
    rng = np.random.default_rng([seed, 501])
    years = population["count_date"].dt.year.to_numpy()
    children = population.sel(age=slice(6, 11)).sum("sex").transpose("time", "area", "age")
    merged = int(MERGER.astype("datetime64[Y]").astype(int)) + 1970
    tables = []
    for year, stock in zip(years, children.to_numpy(), strict=True):
        before = (places.towns["former"] != "") & (year < merged)
        school = places.towns["former"].where(before, places.towns["district"])
        residents = pd.DataFrame(stock, columns=range(1, 7)).groupby(school.to_numpy()).sum()
        pupils = rng.binomial(residents.to_numpy(), 0.96)
        limit = np.where(np.arange(1, 7) <= np.clip(year - 2019, 1, 6), 35, 40)
        table = pd.DataFrame(
            {
                "year": year,
                "school": np.repeat("E" + residents.index.to_numpy(dtype=object), 6),
                "grade": np.tile(np.arange(1, 7), len(residents)),
                "pupils": pupils.ravel(),
                "classes": (-(-pupils // limit)).ravel(),
            }
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _elementary(places: Places, blocks: pd.DataFrame) -> pd.DataFrame:
    """One a district, and the two that were closed; their heir stands where the first stood."""
    today = places.districts.assign(home=places.districts["district"], closed="")
    today["opened"] = today["kind"].map(_OPENED).astype(str) + "-04-01"
    heir = today["district"].isin(places.former["successor"])
    old = places.former.rename(columns={"successor": "home"}).merge(
        today[["home", "kind", "people", "opened"]], on="home", validate="m:1"
    )
    old = old.assign(people=old["people"] / 2, closed=str(MERGER - 1))
    today.loc[heir, "opened"] = str(MERGER)
    today.loc[heir, ["x", "y"]] = places.former[["x", "y"]].iloc[0].to_numpy()
    table = pd.concat([today, old], ignore_index=True).sort_values("district", ignore_index=True)
    rooms = np.ceil(table["people"] * table["kind"].map(_CHILDREN) * 1.25 / 70 + 0.5)
    table["capacity"] = 70 * rooms
    table["id"] = "E" + table["district"]
    return _named(table, "elementary_school", "小学校", "Elementary School").assign(
        district=table["home"], **_near(blocks, table["home"], table["x"], table["y"])
    )


def _junior_high(places: Places, blocks: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One for two elementary schools of a ward."""
    table = places.districts[places.districts.groupby("ward").cumcount() % 2 == 0]
    table = table.reset_index(drop=True).assign(
        capacity=420 + 35 * rng.integers(0, 9, len(table)), opened="1963-04-01", closed=""
    )
    table["id"] = [f"J{n:03d}" for n in range(1, len(table) + 1)]
    return _named(table, "junior_high_school", "中学校", "Junior High School").assign(
        **_anywhere(blocks, table["district"], rng)
    )


def _common(
    places: Places, blocks: pd.DataFrame, category: str, rng: np.random.Generator
) -> pd.DataFrame:
    """As many in a district as its people ask for, at least one of each category in the city."""
    letter, japanese, english, people, least, most, whom = _COMMON[category]
    need = places.districts["people"] * places.districts["kind"].map(_NEED[whom]) / people
    number = np.floor(need + rng.random(len(need))).astype(int)
    number[need.argmax()] = max(number[need.argmax()], 1)
    table = places.districts.loc[places.districts.index.repeat(number)].copy()
    rank = table.groupby("district").cumcount().to_numpy() + 1
    table = table.reset_index(drop=True)
    full_width = np.array(list("０１２３４５６７８９"), dtype=object)
    again = rank > 1
    table["name"] += np.where(again, "第" + full_width[rank % 10], "")
    table["name_en"] += np.where(again, " No. " + rank.astype(str).astype(object), "")
    table["id"] = [f"{letter}{n:04d}" for n in range(1, len(table) + 1)]
    table["capacity"] = (
        10 * rng.integers(least // 10, most // 10 + 1, len(table)) if most else pd.NA
    )
    opened = rng.integers(1968, 2013, len(table))
    table["opened"] = pd.Series(opened).astype(str) + "-04-01"
    return _named(table.assign(closed=""), category, japanese, english).assign(
        **_anywhere(blocks, table["district"], rng)
    )


def _libraries(places: Places, blocks: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One a ward, in its most crowded district."""
    crowded = places.districts.sort_values("people", ascending=False).drop_duplicates("ward")
    table = crowded.sort_values("ward").merge(
        places.wards, on="ward", suffixes=("_district", ""), validate="1:1"
    )
    table["name"], table["name_en"] = table["name"].str[:-1], table["name_en"].str[:-3]
    table = table.assign(
        id=[f"L{n:03d}" for n in range(1, len(table) + 1)],
        capacity=160,
        opened="1985-07-01",
        closed="",
    )
    return _named(table, "library", "図書館", "Library").assign(
        **_anywhere(blocks, table["district"], rng)
    )


def _named(table: pd.DataFrame, category: str, japanese: str, english: str) -> pd.DataFrame:
    return table.assign(
        category=category, name=table["name"] + japanese, name_en=table["name_en"] + " " + english
    )[["id", "name", "name_en", "category", "capacity", "opened", "closed", "district"]]


def _anywhere(
    blocks: pd.DataFrame, district: pd.Series, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """A point in some block of each district, rather in its middle than at its edge."""
    codes = blocks["district"].to_numpy()
    first, last = (codes.searchsorted(district.to_numpy(), s) for s in ("left", "right"))
    nearness = rng.random(len(district)) ** 2
    at = blocks.iloc[first + (nearness * (last - first)).astype(int)]
    shift = rng.uniform(-0.0002, 0.0002, (2, len(at)))
    return {
        "lat": np.round(at["lat"].to_numpy() + shift[0], 6),
        "lon": np.round(at["lon"].to_numpy() + shift[1], 6),
    }


def _near(
    blocks: pd.DataFrame, district: pd.Series, x: pd.Series, y: pd.Series
) -> dict[str, np.ndarray]:
    """Middle of the block of the district that is nearest to the point [m]."""
    away = np.hypot(
        blocks["x"].to_numpy() - x.to_numpy()[:, None],
        blocks["y"].to_numpy() - y.to_numpy()[:, None],
    )
    away[blocks["district"].to_numpy() != district.to_numpy()[:, None]] = np.inf
    at = blocks.iloc[away.argmin(axis=1)]
    return {"lat": np.round(at["lat"].to_numpy(), 6), "lon": np.round(at["lon"].to_numpy(), 6)}

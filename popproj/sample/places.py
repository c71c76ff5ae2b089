"""The places of the invented city: wards, districts, towns, with codes, names and polygons.

Towns are sets of blocks of the ground, districts sets of towns and wards sets of districts, so
there are no gaps or overlaps. The city stands in the open sea south of Shikoku, where no map can
mistake it for a real place. Nothing here depends on the seed of the people: another seed is another
history of the same city.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from popproj.sample import names
from popproj.sample.ground import Ground, centres, regions, subdivide

if TYPE_CHECKING:
    import geopandas

KINDS = ("new_town", "tower", "student", "harbour", "suburb")
"""Hillside new town, station tower blocks, student quarter, old harbour, suburb."""

PLANE, GEOGRAPHIC = "EPSG:6673", "EPSG:6668"
MERGER = np.datetime64("2021-04-01")
"""Day on which two schools of the hillside became one."""

_GROUND_SEED = 2014
_ORIGIN = (0.0, -390_000.0)  # metres in the plane system: 134°20'E, about 32.5°N
_PEOPLE_PER_DISTRICT = 9_375.0

# share of the districts, people in an average one (relative)
_SHARE = {"harbour": 0.15, "tower": 0.17, "student": 0.10, "new_town": 0.27}
_SIZE = {"new_town": 0.90, "tower": 1.12, "student": 1.0, "harbour": 0.80, "suburb": 1.12}

# where wards lie: name, place along the coast and up the slope, both as a share of the city
_WARDS = {
    2: {"西浜区": (-0.25, 0.5), "東浜区": (0.25, 0.5)},
    4: {
        "西浜区": (-0.36, 0.5),
        "中央区": (-0.03, 0.3),
        "山手区": (0.02, 0.9),
        "東浜区": (0.36, 0.5),
    },
    9: {
        "西野区": (-0.44, 0.5),
        "汐見区": (-0.31, 0.5),
        "西浜区": (-0.19, 0.25),
        "緑丘区": (-0.17, 0.9),
        "中央区": (-0.02, 0.25),
        "山手区": (0.03, 0.9),
        "東浜区": (0.17, 0.5),
        "学園区": (0.31, 0.5),
        "東野区": (0.44, 0.5),
    },
}


@dataclass(frozen=True)
class Places:
    """What stands where. Codes are text; tables are in the order of their codes.

    Attributes
    ----------
    wards
        ``ward, name, name_en``.
    districts
        One row a district of today: ``district, name, name_en, ward, kind, people`` (about how many
        live there), ``x, y`` (centre) [m].
    towns
        One row a town (町丁目): ``area, name, name_en, ward, district, former`` (the district
        before the merger, if another), ``weight`` (share of its district's people), ``x, y`` [m].
    former
        The two districts that were merged: ``district, name, name_en, successor, x, y``.
    """

    wards: pd.DataFrame
    districts: pd.DataFrame
    towns: pd.DataFrame
    former: pd.DataFrame
    _corners: np.ndarray  # (block, 6, 2) metres
    _town_of_block: np.ndarray  # (block,) row of `towns`

    def blocks(self) -> pd.DataFrame:
        """The blocks: ``x, y`` [m] and ``lon, lat`` [degrees] of the middle, row of ``towns``."""
        middle = self._corners.mean(axis=1)
        lon, lat = _degrees(middle).T
        x, y = middle.T
        return pd.DataFrame({"x": x, "y": y, "lon": lon, "lat": lat, "town": self._town_of_block})

    def outlines(
        self, level: Literal["ward", "district", "town"] = "district"
    ) -> geopandas.GeoDataFrame:
        """Polygons (EPSG:6668, degrees) whose common borders are equal to the last bit.

        Parameters
        ----------
        level
            ``ward``, ``district`` or ``town``.

        Returns
        -------
        geopandas.GeoDataFrame
            Code, ``name`` and ``name_en``; districts and towns with the codes above them.

        Examples
        --------
        >>> make_places(6, 2).outlines("ward")["name"].tolist()
        ['西浜区', '東浜区']
        """
        import geopandas
        import shapely

        table = {"ward": self.wards, "district": self.districts, "town": self.towns}[level]
        key = {"town": "area"}.get(level, level)
        codes = self.towns[key].to_numpy()[self._town_of_block]
        order = np.argsort(codes, kind="stable")
        blocks = np.asarray(shapely.polygons(_degrees(self._corners[order])))
        cuts = np.flatnonzero(codes[order][1:] != codes[order][:-1]) + 1
        shapes = [shapely.coverage_union_all(part) for part in np.split(blocks, cuts)]
        keep = [c for c in (key, "name", "name_en", "district", "ward") if c in table]
        return geopandas.GeoDataFrame(
            table[list(dict.fromkeys(keep))].reset_index(drop=True),
            geometry=shapely.normalize(np.array(shapes)),
            crs=GEOGRAPHIC,
        )


def make_places(districts: int, wards: int) -> Places:
    """Lay out a city of so many districts and wards (2, 4 or 9): always the same one."""
    rng = np.random.default_rng([_GROUND_SEED, districts])
    ground = Ground(districts, rng)
    part = regions(ground, districts + 1, rng)  # one more than today: two are merged
    then = _districts_then(ground, part, rng)
    heir = _heir(then)
    then["ward"] = _wards(ground, then, heir, wards)
    then, heir = _with_codes(then, heir, rng)
    town = subdivide(ground, part, then["towns"].to_numpy(), rng)
    towns, row = _town_table(ground, town, then, rng)
    own = ["district", "name", "name_en", "ward", "kind", "people", "x", "y"]
    ward_names = list(_WARDS[wards])
    return Places(
        wards=pd.DataFrame(
            {
                "ward": [f"{101 + n}" for n in range(wards)],
                "name": ward_names,
                "name_en": [names.WARDS[n] for n in ward_names],
            }
        ),
        districts=pd.concat([then[~then["merged"]], heir])[own].sort_values(
            "district", ignore_index=True
        ),
        towns=towns,
        former=then.loc[
            then["merged"], ["district", "name", "name_en", "successor", "x", "y"]
        ].sort_values("district", ignore_index=True),
        _corners=ground.corners,
        _town_of_block=row[town],
    )


def _districts_then(ground: Ground, part: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Districts before the merger, as numbered on the ground."""
    parts = int(part.max()) + 1
    kind = _kinds(ground, part, parts)
    merged = np.isin(np.arange(parts), _merging(ground, part, kind))
    kind[merged] = "new_town"
    size = np.where(merged, 0.55, rng.lognormal(0, 0.2, parts)) * [_SIZE[k] for k in kind]
    x, y = centres(ground, part, parts)
    return pd.DataFrame(
        {
            "kind": kind,
            "people": size / size.sum() * _PEOPLE_PER_DISTRICT * (parts - 1),
            "merged": merged,
            "towns": np.where(merged, 6, rng.integers(8, 13, parts)),
            "x": x,
            "y": y,
        }
    )


def _heir(then: pd.DataFrame) -> pd.DataFrame:
    """The district that came of the merger, one row."""
    old = then[then["merged"]]
    people = old["people"]
    middle = {c: np.average(old[c], weights=people) for c in ("x", "y")}
    return pd.DataFrame([{"kind": "new_town", "people": people.sum(), **middle}])


def _with_codes(
    then: pd.DataFrame, heir: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give codes, from west to east through the wards and the merged one last, and names."""
    code = pd.Series([f"{n:03d}" for n in range(1, len(then) + 2)])
    order = np.lexsort([then["x"], then["ward"]])
    kinds = np.append(then["kind"].to_numpy(), heir["kind"].to_numpy())
    both = pd.DataFrame(names.district_names(kinds, rng), columns=["name", "name_en"])
    then = then.join(both)
    then.loc[order, "district"] = code[:-1].to_numpy()
    then["successor"] = then["district"].mask(then["merged"], code.iloc[-1])
    ward = then.loc[then["merged"], "ward"].iloc[0]
    heir = heir.assign(district=code.iloc[-1], ward=ward)
    return then, heir.join(both.tail(1).reset_index(drop=True))


def _kinds(ground: Ground, part: np.ndarray, parts: int) -> np.ndarray:
    """Kind of each district by where it lies: best places first."""
    x, y = centres(ground, part, parts)
    height = np.bincount(part, ground.height, parts) / np.bincount(part, minlength=parts)
    shore = y - ground.coast(x)
    stations = ground.stations()
    away = np.hypot(x[:, None] - stations[:, 0], y[:, None] - stations[:, 1])
    step = ground.length / (2 + parts // 40)
    campus = np.abs(np.mod(x + 0.3 * step, step) - step / 2) + ground.depth * np.abs(height - 0.62)
    kind = np.full(parts, "suburb", dtype=object)
    scores = {
        "harbour": shore + 0.25 * np.abs(x),
        "tower": np.minimum(0.45 * away[:, 0], away[:, 1:].min(axis=1, initial=np.inf) + 350),
        "student": campus,
        "new_town": -height,
    }
    for name, score in scores.items():
        free = np.flatnonzero(kind == "suburb")
        best = free[np.argsort(score[free])[: round(_SHARE[name] * parts)]]
        kind[best] = name
    return kind


def _merging(ground: Ground, part: np.ndarray, kind: np.ndarray) -> tuple[int, int]:
    """Two small neighbours on the hillside."""
    other = ground.neighbours
    a, b = np.repeat(part, 6), np.where(other < 0, -1, part[other]).ravel()
    pairs = np.unique(np.stack([a, b], axis=1)[(b > a)], axis=0)
    people = np.bincount(part, ground.crowding)
    hilly = (kind[pairs] == "new_town").all(axis=1)
    if not hilly.any():
        hilly = (kind[pairs] == "suburb").all(axis=1)
    best = pairs[np.argmin(np.where(hilly, people[pairs].sum(axis=1), np.inf))]
    return int(best[0]), int(best[1])


def _wards(ground: Ground, then: pd.DataFrame, heir: pd.DataFrame, wards: int) -> np.ndarray:
    """Ward of each district: the nearest centre, while the centres move to their people."""
    people = then["people"].to_numpy()
    # what was merged later lies in one ward
    x, y = (then[c].mask(then["merged"], heir[c].iloc[0]).to_numpy() for c in ("x", "y"))
    start = np.array(list(_WARDS[wards].values()))
    cx = start[:, 0] * ground.length
    cy = ground.coast(cx) + start[:, 1] * ground.depth
    for _ in range(4):
        away = np.hypot(x[:, None] - cx, 1.2 * (y[:, None] - cy))
        ward = away.argmin(axis=1)
        mass = np.bincount(ward, people, wards)
        settled = mass > 0
        cx[settled] = np.bincount(ward, people * x, wards)[settled] / mass[settled]
        cy[settled] = np.bincount(ward, people * y, wards)[settled] / mass[settled]
    return np.array([f"{101 + w}" for w in ward], dtype=object)


def _town_table(
    ground: Ground, town: np.ndarray, then: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """Towns in the order of their codes, and the row of each as numbered on the ground."""
    table = then.loc[then.index.repeat(then["towns"])].reset_index(names="home")
    rank = table.groupby("home").cumcount().to_numpy()
    table["side"], table["chome"] = rank // 4, rank % 4 + 1  # four 丁目 to a 町
    for column, side, ending in (("name", 0, "{}丁目"), ("name_en", 1, " {}-chome")):
        sides = np.array(list(names.SIDES.items()), dtype=object)[:, side]
        digits = "１２３４" if column == "name" else "1234"
        endings = np.array([ending.format(d) for d in digits], dtype=object)
        table[column] = sides[rank // 4] + table[column] + endings[rank % 4]
    table["x"], table["y"] = centres(ground, town, len(table))
    mass = np.bincount(town, ground.crowding) * rng.gamma(6, 1 / 6, len(table))
    share = mass / np.bincount(table["home"], mass)[table["home"]]
    table["weight"] = np.where(table["merged"], share / 2, share)
    table["former"] = table["district"].where(table["merged"], "")

    table = table.sort_values(["ward", "district", "side", "chome"])
    row = np.empty(len(table), dtype=np.int64)
    row[table.index] = np.arange(len(table))
    place = table.groupby(["district", "side"], sort=False).ngroup()
    place -= place.groupby(table["ward"]).transform("min") - 1
    table["area"] = [
        f"{ward}{p:03d}{c:03d}"
        for ward, p, c in zip(table["ward"], place, table["chome"], strict=True)
    ]
    table["district"] = table["successor"]
    columns = ["area", "name", "name_en", "ward", "district", "former", "weight", "x", "y"]
    return table[columns].reset_index(drop=True), row


def _degrees(metres: np.ndarray) -> np.ndarray:
    """Longitude and latitude, rounded to a centimetre so that a file gives them back exactly."""
    from pyproj import Transformer

    plane = Transformer.from_crs(PLANE, GEOGRAPHIC, always_xy=True)
    lon, lat = plane.transform(metres[..., 0] + _ORIGIN[0], metres[..., 1] + _ORIGIN[1])
    return np.round(np.stack([lon, lat], axis=-1), 7)

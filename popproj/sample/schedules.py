"""The true rates of the invented city: what a person's hazards are, by kind of district.

Hazards are per person-year and constant between birthdays, so the exact age in completed years,
the sex and the district say everything; from 100 on they stay as at 100. Levels are those of a
Japanese city of the 2010s (expectation of life 81 and 87 years, total fertility rate about 1.3).
They do not change with time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from popproj.sample.places import KINDS, Places
from popproj.schema import SEXES

AGES = np.arange(101)
YEARS = np.arange(2014, 2024)
"""Years of the history, each from 1 April to 31 March."""

MOVE_GROUPS = np.array([0, 18, 30, 45, 65])
"""Lower bounds of the ages that choose their destinations alike."""

MALES_PER_FEMALE = 1.05

# by kind, in the order of KINDS: new_town, tower, student, harbour, suburb
_MORTALITY = (0.93, 0.93, 0.98, 1.17, 0.98)
_FERTILITY = ((1.32, 31.4), (1.20, 32.6), (0.72, 31.8), (1.12, 29.9), (1.56, 31.2))  # TFR, mean age
_OUT = (0.75, 1.15, 1.20, 1.05, 0.88)
_MOVE = (0.80, 1.20, 1.35, 1.10, 0.90)
_ARRIVALS = (0.0150, 0.047, 0.076, 0.029, 0.0270)  # a year, per person at the start
_SPREAD = {"mx": 0.04, "asfr": 0.06, "out_rate": 0.08, "move_rate": 0.08, "in_count": 0.10}
_LOCAL = 0.35  # moves between towns of one district, per move to another district
_REACH = 4_000.0  # metres over which the pull of a district falls to 1/e

# pull of each kind on movers, by age group
_PULL = np.array(
    [
        (0.95, 1.15, 0.50, 0.70, 1.20),
        (0.50, 1.60, 1.60, 0.95, 0.80),
        (0.90, 1.30, 0.55, 0.75, 1.15),
        (0.90, 1.20, 0.80, 1.00, 1.00),
        (0.70, 1.30, 0.80, 1.10, 0.95),
    ]
)

# births of the cohorts alive at the start, thousands: two booms, and 1966, year of the fire horse
_COHORTS = (
    (1900, 1450), (1913, 1750), (1920, 2030), (1930, 2090), (1937, 2180), (1939, 1900),
    (1941, 2280), (1944, 2150), (1945, 1750), (1946, 1600), (1947, 2680), (1949, 2700),
    (1951, 2140), (1957, 1570), (1963, 1660), (1965, 1820), (1966, 1360), (1967, 1940),
    (1970, 1930), (1973, 2090), (1975, 1900), (1980, 1580), (1985, 1430), (1990, 1220),
    (2000, 1190), (2005, 1060), (2013, 1030),
)  # fmt: skip

# how the kinds differ from a country's ages: age, factor
_AGE_SHAPE = {
    "new_town": ((0, 0.8), (12, 1.0), (20, 1.0), (28, 0.65), (38, 0.75), (48, 0.95), (60, 1.05),
                 (70, 1.45), (78, 1.35), (88, 0.95), (100, 0.9)),
    "tower": ((0, 1.15), (8, 0.8), (17, 0.75), (24, 1.4), (36, 1.5), (46, 1.15), (60, 0.8),
              (70, 0.75), (100, 0.75)),
    "student": ((0, 0.6), (10, 0.6), (17, 0.8), (19, 2.6), (22, 3.3), (25, 1.9), (30, 1.1),
                (45, 0.8), (65, 0.75), (85, 0.85), (100, 0.9)),
    "harbour": ((0, 0.7), (15, 0.75), (25, 0.95), (40, 0.95), (60, 1.1), (75, 1.3), (88, 1.25),
                (100, 1.1)),
    "suburb": ((0, 1.2), (12, 1.25), (18, 1.1), (27, 0.85), (38, 1.15), (50, 1.05), (65, 0.9),
               (75, 0.8), (100, 0.8)),
}  # fmt: skip


def true_rates(places: Places, developments: pd.DataFrame) -> xr.Dataset:
    """Hazards and arrivals of every district.

    A district has the schedule of its kind times a level of its own (log-normal, standard deviation
    4 % for deaths to 10 % for arrivals), so that districts differ in truth as well as by chance.

    Parameters
    ----------
    places
        The city.
    developments
        Housing built in the past adds its first residents to the arrivals.

    Returns
    -------
    xarray.Dataset
        ``mx, out_rate, move_rate, local_rate`` (sex, age, district) [1/person-year]: dying, leaving
        the city, moving to another district, moving to another town of the same district;
        ``asfr`` (age, district) [births/person-year of women], ``srb`` () [males per female],
        ``in_count`` (sex, age, district) [people/year] arriving from outside,
        ``development_count`` (year, sex, age, district) [people/year] arriving besides in new
        housing, ``destination_share`` (move_group, origin, district) [1]. ``age`` is the exact age
        in completed years at the event (Lexis shape age-period), the last one open.

    Notes
    -----
    Deaths: Gompertz terms with an infant and a young adult component [1]_. Migration: the model
    schedule of Rogers and Castro [2]_. Destinations: people times pull times exp(-distance/4 km).

    References
    ----------
    .. [1] Heligman, L., Pollard, J. H. (1980). The age pattern of mortality. Journal of the
       Institute of Actuaries 107, 49-80.
    .. [2] Rogers, A., Castro, L. J. (1981). Model Migration Schedules. IIASA RR-81-30.

    Examples
    --------
    >>> from popproj.sample.facilities import make_developments
    >>> from popproj.sample.places import make_places
    >>> places = make_places(6, 2)
    >>> rates = true_rates(places, make_developments(places))
    >>> rates["mx"].dims
    ('sex', 'age', 'district')
    """
    districts = places.districts
    kind = districts["kind"].map(KINDS.index).to_numpy()
    rng = np.random.default_rng([1947, len(districts)])  # part of the place, not of its history
    own = {name: rng.lognormal(0, sd, kind.size) for name, sd in _SPREAD.items()}
    people = districts["people"].to_numpy()

    def by_kind(levels: tuple[float, ...], name: str) -> np.ndarray:
        return np.asarray(np.array(levels)[kind] * own[name])

    out_age, move_age = _migration_age()
    move_rate = move_age[None, :, None] * by_kind(_MOVE, "move_rate")
    arrivals = by_kind(_ARRIVALS, "in_count") * people
    cell = ("sex", "age", "district")
    dataset = xr.Dataset(
        {
            "mx": (cell, mortality()[:, :, None] * by_kind(_MORTALITY, "mx")),
            "out_rate": (cell, _out_by_kind(out_age)[..., kind] * own["out_rate"]),
            "move_rate": (cell, np.repeat(move_rate, 2, axis=0)),
            "local_rate": (cell, np.repeat(move_rate * _LOCAL, 2, axis=0)),
            "asfr": (("age", "district"), _fertility()[:, kind] * own["asfr"]),
            "srb": MALES_PER_FEMALE,
            "in_count": (cell, _arrival_profile()[..., kind] * arrivals),
            "development_count": (("year", *cell), _newcomers(places, developments)),
            "destination_share": (
                ("move_group", "origin", "district"),
                _destinations(districts, kind),
            ),
        },
        coords={
            "year": YEARS,
            "sex": list(SEXES),
            "age": AGES,
            "move_group": MOVE_GROUPS,
            "origin": districts["district"].to_numpy(object),
            "district": districts["district"].to_numpy(object),
            "kind": ("district", districts["kind"].to_numpy(object)),
        },
        attrs={"open_age": 100},
    )
    for name in ("mx", "out_rate", "move_rate", "local_rate", "asfr"):
        dataset[name].attrs |= {"units": "1/person-year", "lexis": "age-period"}
    for name in ("in_count", "development_count"):
        dataset[name].attrs |= {"units": "people/year", "lexis": "age-period"}
    return dataset


def mortality() -> np.ndarray:
    """Death rates (sex, age 0..100) of the whole city before districts differ."""
    x = AGES + 0.5
    accident = np.exp(-(((np.log(x) - np.log(23)) / 0.33) ** 2))
    child = np.exp(-0.55 * x)
    female = np.exp(-13.20 + 0.1185 * x) + np.exp(-9.82 + 0.045 * x)
    female += 0.00025 * child + 0.00003 * accident
    male = np.exp(-10.92 + 0.0985 * x) + 0.00030 * child + 0.00020 * accident
    rates = np.stack([female, male])
    rates[:, 0] = 0.0018, 0.0020
    return np.asarray(rates)


def initial_ages(kinds: np.ndarray) -> np.ndarray:
    """Share of a district's people at the start by (district, sex, age 0..109)."""
    ages = np.arange(110)
    born = YEARS[0] - 1 - ages
    years, births = np.array(_COHORTS).T
    cohort = np.interp(born, years, births)
    rates = np.pad(mortality(), ((0, 0), (0, 9)), mode="edge")
    # those born long ago lived through harder times than today's life table tells
    hardship = 1 + 0.006 * np.clip(ages - 20, 0, 65)
    alive = np.exp(-np.cumsum(rates, axis=1) * hardship) * [[1.0], [MALES_PER_FEMALE]]
    shape = np.stack([np.interp(ages, *np.array(_AGE_SHAPE[k]).T) for k in KINDS])
    table = (cohort * alive)[None] * shape[:, None, :]
    table /= table.sum(axis=(1, 2), keepdims=True)
    return np.asarray(table[[KINDS.index(k) for k in kinds]])


def _fertility() -> np.ndarray:
    """Rates by (age, kind): skewed to the right, none below 15 or from 50."""
    total, centre = np.array(_FERTILITY).T
    x = AGES[:, None] + 0.5
    spread = np.where(x < centre, 4.7, 5.4)
    curve = np.exp(-(((x - centre) / spread) ** 2) / 2) * ((x > 15) & (x < 50))
    return np.asarray(curve / curve.sum(axis=0) * total)


def _rogers_castro(
    child: float, labour: float, rise: float, peak: float, fall: float, floor: float
) -> np.ndarray:
    x = AGES + 0.5
    return np.asarray(
        child * np.exp(-0.13 * x)
        + labour * np.exp(-fall * (x - peak) - np.exp(-rise * (x - peak)))
        + floor
    )


def _migration_age() -> tuple[np.ndarray, np.ndarray]:
    """Yearly hazards of leaving the city and of moving inside it, by age."""
    late = np.exp(0.11 * (np.minimum(AGES, 95) - 95))  # into the care of children and of homes
    leave = _rogers_castro(0.040, 0.215, 0.55, 20.5, 0.115, 0.0065) + 0.010 * late
    move = _rogers_castro(0.042, 0.110, 0.35, 23.5, 0.085, 0.0080) + 0.020 * late
    return leave, move


def _out_by_kind(age: np.ndarray) -> np.ndarray:
    """Hazard of leaving by (sex, age, kind): graduates leave the student quarter at 22 and 23."""
    rate = np.repeat(age[None, :, None] * np.array(_OUT), 2, axis=0)
    graduation = np.exp(-(((AGES - 22.6) / 1.3) ** 2))
    rate[:, :, KINDS.index("student")] += 0.20 * graduation
    rate[1, 18:40] *= 1.10
    return np.asarray(rate)


def _arrival_profile() -> np.ndarray:
    """Share of a district's arrivals by (sex, age, kind); those over 99 do not come."""
    base = _rogers_castro(0.016, 0.118, 0.75, 20.0, 0.105, 0.0012)
    profile = np.repeat(base[:, None], len(KINDS), axis=1)
    young = np.exp(-(((AGES - 18.7) / 0.9) ** 2))
    family = np.exp(-(((AGES - 33) / 6.5) ** 2)) + 0.8 * np.exp(-AGES / 3.2)
    profile[:, KINDS.index("student")] += 0.55 * young
    profile[:, KINDS.index("suburb")] += 0.030 * family
    profile[:, KINDS.index("new_town")] += 0.035 * family
    profile[:, KINDS.index("tower")] += 0.016 * family
    profile[100] = 0
    both = np.stack([0.94 * profile, 1.06 * profile])
    return np.asarray(both / both.sum(axis=(0, 1)))


def _newcomers(places: Places, developments: pd.DataFrame) -> np.ndarray:
    """First residents of finished housing, by (year, sex, age, district): young families."""
    age = np.exp(-(((AGES - 35) / 6.0) ** 2)) + 0.75 * np.exp(-AGES / 4.0)
    profile = np.stack([age, age]) / (2 * age.sum())
    counts = np.zeros((YEARS.size, 2, AGES.size, len(places.districts)))
    built = developments[developments["status"] == "completed"]
    home = places.towns.set_index("area")["district"].loc[built["area"]]
    rows = pd.Index(places.districts["district"]).get_indexer(pd.Index(home))
    columns = (built[c].to_numpy(np.int64) for c in ("units", "first_year", "fill_years"))
    for at, units, first, fill in zip(rows, *columns, strict=True):
        share = np.arange(fill, 0, -1) / (fill * (fill + 1) / 2)  # most move in at once
        of_year = first - YEARS[0] + np.arange(fill)
        counts[of_year, :, :, at] += units * 2.5 * share[:, None, None] * profile
    return counts


def _destinations(districts: pd.DataFrame, kind: np.ndarray) -> np.ndarray:
    """Where movers go, by (age group, origin, destination); rows sum to 1, none stays."""
    x, y = districts["x"].to_numpy(), districts["y"].to_numpy()
    away = np.hypot(x[:, None] - x, y[:, None] - y)
    pull = districts["people"].to_numpy() * np.exp(-away / _REACH)
    np.fill_diagonal(pull, 0)
    share = _PULL[:, kind][:, None, :] * pull
    return np.asarray(share / share.sum(axis=2, keepdims=True))

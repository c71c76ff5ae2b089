"""People of the invented city, one by one, in continuous time.

A year runs from 1 April to 31 March and has length 1; everybody's age changes at midnight before
the anniversary of their birth. Between these instants hazards are constant, so each person's next
event is found exactly: a unit exponential is spent at the old age's total hazard up to the
birthday and at the new age's after it. Nothing is rounded to steps, several events in a year are
possible, and a newborn is exposed from the instant of birth. Nobody has a household: each person
moves alone, infants too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import xarray as xr

from popproj.sample.places import Places
from popproj.sample.schedules import AGES, MALES_PER_FEMALE, YEARS, initial_ages
from popproj.schema import EVENT_KINDS

_OPEN = int(AGES[-1])
_RISKS = ("asfr", "mx", "out_rate", "move_rate", "local_rate")
_LEAP_DAY = 334  # 29 February, counted from 1 April
_APRILS = np.arange("1890-04", "2100-04", 12, dtype="datetime64[M]")
_FIRST_DAYS = _APRILS.astype("datetime64[D]").astype(np.int64)  # 1 April, days since 1970


@dataclass
class _People:
    """Columns of those who are present; a birth date is the year (1 April) and the day in it."""

    town: np.ndarray  # int16, row of Places.towns
    sex: np.ndarray  # int8, 0 female
    year: np.ndarray  # int16
    day: np.ndarray  # int16, 0..365, 334 is 29 February in every year

    def __getitem__(self, rows: np.ndarray) -> _People:
        return _People(*(getattr(self, f.name)[rows] for f in fields(self)))

    def birth_date(self) -> np.ndarray:
        """Days since 1970."""
        return np.asarray(_first_day(self.year) + _day_in(self.day, self.year))

    def birthday(self, year: int) -> np.ndarray:
        """Instant in the year, 0..1, at which the age changes."""
        return np.asarray(_day_in(self.day, year) / _length(year))


def _together(*groups: _People) -> _People:
    return _People(*(np.concatenate([getattr(g, f.name) for g in groups]) for f in fields(_People)))


@dataclass(frozen=True)
class History:
    """What the register saw.

    Attributes
    ----------
    residents
        For each count date, everybody registered: ``town`` (row of the towns), ``sex`` (0 female,
        1 male), ``birth`` (days since 1970).
    events
        ``year, kind, day, town, other, sex, age, age_end, birth``: ``kind`` a row of
        ``EVENT_KINDS``, ``day`` and ``birth`` days since 1970, ``other`` the town moved to,
        else -1, ``age`` at the event and ``age_end`` reached at the end of the year. Of a birth,
        sex and town are the child's, ages and ``birth`` the mother's; her ``age_end`` is her age
        at the birth too.
    """

    residents: tuple[pd.DataFrame, ...]
    events: pd.DataFrame


def live(places: Places, rates: xr.Dataset, developments: pd.DataFrame, seed: int) -> History:
    """Let people live in the city through the years of the rates.

    Parameters
    ----------
    places
        Where they live.
    rates
        Their true hazards, from :func:`~popproj.sample.schedules.true_rates`.
    developments
        The town in which new housing receives its first residents.
    seed
        Of everything that happens by chance.
    """
    rng = np.random.default_rng(seed)
    hazards = _Hazards(places, rates, developments)
    people = _first_people(places, hazards, rng)
    residents, events = [_register(people)], []
    for year in YEARS.tolist():
        people, happened = _one_year(people, year, hazards, rng)
        residents.append(_register(people))
        events.append(happened)
    return History(tuple(residents), pd.concat(events, ignore_index=True))


class _Hazards:
    """The rates as flat tables by cell = (district, sex, age), for many people at once."""

    def __init__(self, places: Places, rates: xr.Dataset, developments: pd.DataFrame) -> None:
        self.ages = AGES.size
        codes = {code: row for row, code in enumerate(rates["district"].to_numpy())}
        self.district = places.towns["district"].map(codes).to_numpy()

        order = ("district", "sex", "age")
        bears = rates["asfr"].expand_dims(sex=rates["sex"]).where(rates["sex"] == "female", 0.0)
        risks = (bears if name == "asfr" else rates[name] for name in _RISKS)
        by_risk = np.stack([r.transpose(*order).to_numpy().ravel() for r in risks], axis=1)
        self.total = by_risk.sum(axis=1)
        self._upto = np.cumsum(by_risk, axis=1)[:, :-1]

        # choices by inverse: shares are cumulated, and row r runs from r to r + 1 on one line
        self.districts = len(codes)
        group = np.searchsorted(rates["move_group"].to_numpy(), AGES, side="right") - 1
        self._group_row = group * self.districts
        share = np.cumsum(rates["destination_share"].to_numpy().reshape(-1, self.districts), axis=1)
        self._destinations = (share + np.arange(len(share))[:, None]).ravel()
        self._towns = np.argsort(self.district, kind="stable")
        home = self.district[self._towns]
        upto = np.cumsum(places.towns["weight"].to_numpy()[self._towns])
        self._last = np.cumsum(np.bincount(home)) - 1
        self._weights = upto - np.append(0.0, upto[self._last])[home] + home

        # arrivals from outside: anywhere in the district, or in its new housing
        self.arriving = rates["in_count"].transpose(*order).to_numpy()
        self.moving_in = rates["development_count"].transpose("year", *order).to_numpy()
        estate = places.towns.index[places.towns["area"].isin(developments["area"])].to_numpy()
        self.estate = np.full(self.districts, -1)
        self.estate[self.district[estate]] = estate

    def expected_arrivals(self, year: int) -> np.ndarray:
        """By (anywhere or new housing, district, sex, age)."""
        return np.stack([self.arriving, self.moving_in[year - YEARS[0]]])

    def cells(self, people: _People, age: np.ndarray) -> np.ndarray:
        base = (self.district[people.town] * 2 + people.sex) * self.ages
        return np.asarray(base + np.minimum(age, _OPEN))

    def which(self, cell: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which of the risks has struck, as a row of ``_RISKS``."""
        mark = rng.random(cell.size) * self.total[cell]
        return np.asarray((mark[:, None] >= self._upto[cell]).sum(axis=1))

    def town_in(self, district: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A town of the district, by the towns' weights."""
        at = np.searchsorted(self._weights, district + rng.random(district.size), side="right")
        return np.asarray(self._towns[np.minimum(at, self._last[district])])

    def other_town(self, town: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another town of the same district."""
        new = self.town_in(self.district[town], rng)
        while (same := np.flatnonzero(new == town)).size:
            new[same] = self.town_in(self.district[town[same]], rng)
        return new

    def destination(
        self, town: np.ndarray, age: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """A town of another district."""
        row = self._group_row[np.minimum(age, _OPEN)] + self.district[town]
        at = np.searchsorted(self._destinations, row + rng.random(row.size), side="right")
        last = (row + 1) * self.districts - 1
        return self.town_in(np.minimum(at, last) % self.districts, rng)


def _first_people(places: Places, hazards: _Hazards, rng: np.random.Generator) -> _People:
    """Residents on the eve of the first year, by the age pyramid of their district."""
    districts = places.districts
    expected = initial_ages(districts["kind"].to_numpy())
    size = np.round(districts["people"].to_numpy()).astype(int)
    counts = rng.multinomial(size, expected.reshape(len(districts), -1))
    district, cell = (
        np.repeat(i.ravel(), counts.ravel()) for i in np.indices(counts.shape, dtype=np.int16)
    )
    sex, age = np.divmod(cell, expected.shape[2])
    town = hazards.town_in(district, rng)
    year = (YEARS[0] - 1 - age).astype(np.int16)
    day = _calendar(rng.random(year.size), year)
    return _People(town.astype(np.int16), sex.astype(np.int8), year, day)


def _one_year(
    people: _People,
    year: int,
    hazards: _Hazards,
    rng: np.random.Generator,
) -> tuple[_People, pd.DataFrame]:
    """Everything that happens in a year, in rounds: each person's next event a round."""
    newcomers, arrival = _arrivals(year, hazards, rng)
    log = _Log(year)
    log.add("in", newcomers, arrival)

    active = _together(people, newcomers)
    since = np.concatenate([np.zeros(people.town.size), arrival])
    settled = []
    while since.size:
        instant = _next_event(active, since, year, hazards, rng)
        hit = instant < 1.0
        settled.append(active[~hit])
        active, instant = active[hit], instant[hit]

        age = year - active.year - (instant < active.birthday(year))
        risk = hazards.which(hazards.cells(active, age), rng)
        bears, dies, leaves, moves_away, moves_near = (risk == r for r in range(len(_RISKS)))
        babies = _babies(active[bears], instant[bears], year, rng)
        log.add("birth", babies, instant[bears], mother=active[bears])
        log.add("death", active[dies], instant[dies])
        log.add("out", active[leaves], instant[leaves])
        target = active.town.copy()
        target[moves_away] = hazards.destination(active.town[moves_away], age[moves_away], rng)
        target[moves_near] = hazards.other_town(active.town[moves_near], rng)
        moves = moves_away | moves_near
        log.add("move", active[moves], instant[moves], other=target[moves])
        active.town = target

        stays = ~(dies | leaves)
        active = _together(active[stays], babies)
        since = np.concatenate([instant[stays], instant[bears]])
    return _together(*settled), log.table()


def _next_event(
    people: _People,
    since: np.ndarray,
    year: int,
    hazards: _Hazards,
    rng: np.random.Generator,
) -> np.ndarray:
    """Instant of each person's next event; 1 or later means not in this year.

    With E a unit exponential, h the hazard before the birthday b and k after it, the event comes at
    ``t + E/h`` if ``E < h (b - t)``, else at ``max(t, b) + (E - h (b - t)) / k``.
    """
    birthday = people.birthday(year)
    age = year - people.year  # reached at the birthday
    after = hazards.cells(people, age)
    # a person's cells lie age by age; the open age and this year's newborns keep theirs
    before = hazards.total[after - ((age >= 1) & (age <= _OPEN))]
    budget = rng.standard_exponential(since.size)
    gap = np.maximum(birthday - since, 0.0)
    spent = before * gap
    left = np.maximum(budget - spent, 0.0)
    late = np.maximum(since, birthday) + left / hazards.total[after]
    return np.asarray(np.where(budget < spent, since + budget / before, late))


def _arrivals(year: int, hazards: _Hazards, rng: np.random.Generator) -> tuple[_People, np.ndarray]:
    """Those who come from outside: a Poisson process in time and exact age."""
    count = rng.poisson(hazards.expected_arrivals(year))
    is_new, district, sex, age = (
        np.repeat(i.ravel(), count.ravel()) for i in np.indices(count.shape)
    )
    town = np.where(is_new, hazards.estate[district], hazards.town_in(district, rng))
    instant = rng.random(age.size)
    born = year + instant - age - rng.random(age.size)
    birth_year = np.floor(born).astype(np.int16)
    people = _People(
        town.astype(np.int16),
        sex.astype(np.int8),
        birth_year,
        _calendar(born - birth_year, birth_year),
    )
    return people, instant


def _babies(mothers: _People, instant: np.ndarray, year: int, rng: np.random.Generator) -> _People:
    male = rng.random(instant.size) < MALES_PER_FEMALE / (1 + MALES_PER_FEMALE)
    born = np.full(instant.size, year, dtype=np.int16)
    return _People(mothers.town, male.astype(np.int8), born, _calendar(instant, born))


class _Log:
    """Events of one year."""

    def __init__(self, year: int) -> None:
        self.year = year
        self._parts: list[pd.DataFrame] = []

    def add(
        self,
        kind: str,
        who: _People,
        instant: np.ndarray,
        other: np.ndarray | None = None,
        mother: _People | None = None,
    ) -> None:
        """Write down what happened; ages are those that the dates tell."""
        whose = who if mother is None else mother
        day = (instant * _length(self.year)).astype(np.int32)
        reached = self.year - whose.year
        age = reached - (day < _day_in(whose.day, self.year))
        end = age if mother is not None else reached
        self._parts.append(
            pd.DataFrame(
                {
                    "year": np.full(day.size, self.year, dtype=np.int16),
                    "kind": np.full(day.size, EVENT_KINDS.index(kind), dtype=np.int8),
                    "day": (_first_day(self.year) + day).astype(np.int32),
                    "town": who.town,
                    "other": np.full(day.size, -1, dtype=np.int16) if other is None else other,
                    "sex": who.sex,
                    "age": np.minimum(age, _OPEN).astype(np.int8),
                    "age_end": np.minimum(end, _OPEN).astype(np.int8),
                    "birth": whose.birth_date().astype(np.int32),
                }
            )
        )

    def table(self) -> pd.DataFrame:
        return pd.concat(self._parts, ignore_index=True)


def _register(people: _People) -> pd.DataFrame:
    return pd.DataFrame(
        {"town": people.town, "sex": people.sex, "birth": people.birth_date().astype(np.int32)}
    )


def _first_day(year: np.ndarray | int) -> np.ndarray:
    """1 April of the year, days since 1970."""
    return np.asarray(_FIRST_DAYS[np.asarray(year) - 1890])


def _length(year: np.ndarray | int) -> np.ndarray:
    """Days from 1 April to 31 March."""
    return np.asarray(_first_day(np.asarray(year) + 1) - _first_day(year))


def _day_in(day: np.ndarray, year: np.ndarray | int) -> np.ndarray:
    """Day of the year, 0 on 1 April; 29 February becomes 1 March in common years."""
    common = _length(year) == 365
    return np.asarray(day - ((day > _LEAP_DAY) & common))


def _calendar(fraction: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Day of the year as kept by ``_People``, from the fraction of the year that has passed."""
    length = _length(year)
    day = np.floor(fraction * length).astype(np.int16)
    return np.asarray(day + ((day >= _LEAP_DAY) & (length == 365)), dtype=np.int16)

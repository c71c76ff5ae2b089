"""The sample city as one object: places, true rates, stocks and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from popproj.sample.facilities import enrolment, make_developments, make_facilities
from popproj.sample.people import History, live
from popproj.sample.places import Places, make_places
from popproj.sample.schedules import AGES, YEARS, true_rates
from popproj.schema import EVENT_KINDS, SEXES, time_coordinate

AgeAt = Literal["year_end", "event"]


@dataclass(frozen=True)
class Sample:
    """The invented city and ten years of its history.

    Attributes
    ----------
    places
        Wards, districts, towns and their polygons. They do not depend on the seed.
    true_rates
        What the people's hazards are; see :func:`~popproj.sample.schedules.true_rates`.
    facilities, developments
        As the tables of the input contract, with names in English besides.
    history
        Every resident at every count and every event, one row each.
    seed
        Of the people.
    """

    places: Places
    true_rates: xr.Dataset
    facilities: pd.DataFrame
    developments: pd.DataFrame
    history: History
    seed: int

    @property
    def count_dates(self) -> np.ndarray:
        """Days at whose close the register was counted: 31 March."""
        ends = [f"{year}-03-31" for year in (*YEARS, YEARS[-1] + 1)]
        return np.array(ends, dtype="datetime64[D]")

    @cached_property
    def population(self) -> xr.DataArray:
        """Residents by (time, sex, age, area) [people], whole numbers; age 100 is open."""
        towns = self.places.towns["area"].to_numpy(object)
        shape = (len(SEXES), AGES.size, towns.size)
        stocks = []
        for day, people in zip(self.count_dates, self.history.residents, strict=True):
            age = np.minimum(_age_on(day, people["birth"].to_numpy()), AGES[-1])
            cell = (people["sex"].to_numpy().astype(np.int64) * AGES.size + age) * towns.size
            cell += people["town"].to_numpy()
            stocks.append(np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape))
        return xr.DataArray(
            np.stack(stocks).astype(np.int32),
            dims=("time", "sex", "age", "area"),
            coords={
                **time_coordinate(self.count_dates),
                "sex": list(SEXES),
                "age": AGES,
                "area": towns,
                "district": ("area", self.places.towns["district"].to_numpy(object)),
            },
            name="population",
            attrs={"units": "people", "lexis": "stock", "open_age": 100},
        )

    def event_counts(self, age_at: AgeAt = "year_end") -> pd.DataFrame:
        """Events as the counts of the input contract.

        Parameters
        ----------
        age_at
            The age reached at the end of the year or the age at the event; births always carry the
            mother's age at the birth.

        Returns
        -------
        pandas.DataFrame
            ``year, kind, area, other_area, sex, age, count``, one row a cell that is not empty;
            ``other_area`` is where a move goes, else empty.
        """
        events = self.history.events
        label = events["age_end" if age_at == "year_end" else "age"].to_numpy()
        towns = len(self.places.towns)
        sizes = (len(EVENT_KINDS), towns, towns + 1, len(SEXES), AGES.size)
        year = events["year"].to_numpy()
        parts = (events["kind"], events["town"], events["other"] + 1, events["sex"], label)
        key = (year - year.min()).astype(np.int64)
        for part, size in zip(parts, sizes, strict=True):
            key = key * size + np.asarray(part)
        cells, count = np.unique(key, return_counts=True)
        columns = []
        for size in reversed(sizes):
            cells, column = np.divmod(cells, size)
            columns.append(column)
        age, sex, other, town, kind = columns
        codes = self.places.towns["area"].tolist()
        return pd.DataFrame(
            {
                "year": cells + year.min(),
                "kind": coded(kind, EVENT_KINDS),
                "area": coded(town, codes),
                "other_area": coded(other, ["", *codes]),
                "sex": coded(sex, SEXES),
                "age": age,
                "count": count,
            }
        )

    @cached_property
    def enrolment(self) -> pd.DataFrame:
        """Pupils and classes: ``year, school, grade, pupils, classes`` at 1 May."""
        return enrolment(self.places, self.population, self.seed)


def simulate(full: bool = False, seed: int = 1, districts: int | None = None) -> Sample:
    """Invent the city and ten years of its people, 31 March 2014 to 31 March 2024.

    Parameters
    ----------
    full
        9 wards, 160 districts and 1.5 million residents instead of 4 wards, 40 districts and
        375,000.
    seed
        Of the people. Places and true rates stay the same, so another seed is another history of
        the same city.
    districts
        Another number of districts, 6 to 160.

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        Fewer than 6 districts, or more than 160.

    Examples
    --------
    >>> sample = simulate(districts=6)
    >>> sample.population.dims
    ('time', 'sex', 'age', 'area')
    >>> sample.event_counts().columns.tolist()
    ['year', 'kind', 'area', 'other_area', 'sex', 'age', 'count']
    """
    number = districts if districts is not None else 160 if full else 40
    if not 6 <= number <= 160:
        raise ValueError(f"districts must be 6 to 160, and is {number}")
    places = make_places(number, 2 if number < 20 else 4 if number < 90 else 9)
    developments = make_developments(places)
    rates = true_rates(places, developments)
    return Sample(
        places=places,
        true_rates=rates,
        facilities=make_facilities(places),
        developments=developments,
        history=live(places, rates, developments, seed),
        seed=seed,
    )


def coded(codes: np.ndarray, labels: Sequence[str]) -> pd.Categorical:
    """Labels by their position, without a text for each row."""
    return pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(list(labels), dtype=object))


def _age_on(day: np.datetime64, birth: np.ndarray) -> np.ndarray:
    """Completed years at the close of a 31 March, from birth dates in days since 1970.

    The years counted from 1 April decide: whoever was born in such a year reaches the same age.
    """
    starts = np.arange("1890-04", "2100-04", 12, dtype="datetime64[M]").astype("datetime64[D]")
    born = np.searchsorted(starts.astype(np.int64), birth, side="right") - 1
    now = np.searchsorted(starts, day + 1, side="right") - 1
    return np.asarray(now - 1 - born)

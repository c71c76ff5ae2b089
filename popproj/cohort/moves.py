"""Moves between districts: the register's long table as positions, and what is made of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.schema import Fault, InputError

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class MoveCounts(NamedTuple):
    """The long table of moves as positions: one entry for each year, sex, age and pair."""

    year: Positions
    sex: Positions
    age: Positions
    origin: Positions
    district: Positions
    people: Array
    labels: xr.Dataset

    def totals(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Departures and arrivals, ``(year, sex, age, district)``."""
        n_year = int(self.labels.sizes["year"])
        size = (n_year, *shape)
        out = []
        for place in (self.origin, self.district):
            flat = np.ravel_multi_index((self.year, self.sex, self.age, place), size)
            out.append(np.bincount(flat, self.people, int(np.prod(size))).reshape(size))
        return np.asarray(out[0]), np.asarray(out[1])

    def dense(self, like: Array) -> Array:
        """Moves by pair, ``(sex, age, origin, district)``, all years together."""
        size = (*like.shape, like.shape[-1])
        flat = np.ravel_multi_index((self.sex, self.age, self.origin, self.district), size)
        return np.asarray(np.bincount(flat, self.people, int(np.prod(size))).reshape(size))

    def grouped(self, group_of_age: Positions, weights: Array, n_place: int) -> Array:
        """Weighted moves by pair, ``(group, origin, district)``, sexes together."""
        size = (int(group_of_age.max()) + 1, n_place, n_place)
        flat = np.ravel_multi_index((group_of_age[self.age], self.origin, self.district), size)
        return np.asarray(
            np.bincount(flat, self.people * weights[self.year], int(np.prod(size))).reshape(size)
        )

    def table(self) -> xr.Dataset:
        """The moves of these years with their labels again."""
        return self.labels.drop_dims("year", errors="ignore")


def move_counts(register: xr.Dataset, years: Array) -> MoveCounts | None:
    """Moves of some years, or None where the register has none.

    Raises
    ------
    InputError
        If a move carries a label that the register does not have.
    """
    if "move_count" not in register:
        return None
    moves = register[
        ["move_count", "move_year", "move_sex", "move_age", "move_origin", "move_destination"]
    ].drop_vars([c for c in ("year", "district", "sex", "age") if c in register.coords],
                errors="ignore")  # fmt: skip
    keep = np.isin(moves["move_year"].to_numpy(), years)
    moves = moves.isel(move=keep)

    def find(index: pd.Index[Any], name: str) -> Positions:
        return np.asarray(index.get_indexer(pd.Index(moves[name].to_numpy())))

    places = register.indexes["district"]
    positions = {
        "year": find(pd.Index(years), "move_year"),
        "sex": find(register.indexes["sex"], "move_sex"),
        "age": find(register.indexes["age"], "move_age"),
        "origin": find(places, "move_origin"),
        "district": find(places, "move_destination"),
    }
    for name, position in positions.items():
        if (position < 0).any():
            first = int(np.argmin(position))
            column = "move_destination" if name == "district" else f"move_{name}"
            raise InputError(
                Fault(
                    "moves",
                    f"{column} must be a label of the register's {name}",
                    "Assign areas to districts before rates are made.",
                    broken=int((position < 0).sum()),
                    total=position.size,
                    first=str(moves[column].to_numpy()[first]),
                )
            )
    labels = moves.assign_coords(year=years)
    return MoveCounts(
        **positions, people=moves["move_count"].to_numpy().astype(float), labels=labels
    )

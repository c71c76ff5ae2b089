"""Random small cities for property tests: labelled rates and people, drawn by hypothesis."""

from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import strategies as st

SEXES = ["female", "male"]


def jump_off(values, districts=None):
    """People as a labelled array at the close of 31 March 2020."""
    values = np.asarray(values, dtype=float)
    names = districts or [f"{i + 1:03d}" for i in range(values.shape[2])]
    return xr.DataArray(
        values,
        dims=("sex", "age", "district"),
        coords={
            "sex": SEXES,
            "age": np.arange(values.shape[1]),
            "district": names,
            "time": np.datetime64("2020-04-01", "ns"),
            "count_date": np.datetime64("2020-03-31", "ns"),
        },
        name="jump_off",
    )


@st.composite
def cities(draw, max_districts=4, max_years=4, signed=True, moves=True, arrivals=True):
    """A jump-off population and future rates with everything in them."""
    seed = draw(st.integers(0, 2**32 - 1))
    n_place = draw(st.integers(1, max_districts))
    n_age = draw(st.integers(4, 12))
    n_year = draw(st.integers(1, max_years))
    empty = draw(st.sampled_from([0.0, 0.3]))
    rng = np.random.default_rng(seed)
    shape = (2, n_age, n_place)
    people = np.round(rng.gamma(1.0, 40.0, shape)) * (rng.random(shape) >= empty)
    start = jump_off(people)
    years = 2020 + np.arange(n_year)
    cell, yearly = ("sex", "age", "district"), ("year", "sex", "age", "district")
    groups = rng.integers(0, 3, (2, n_age))
    destination = rng.random((3, n_place, n_place)) + 1e-3
    if n_place > 1:
        for g in range(3):
            np.fill_diagonal(destination[g], 0)
    destination /= destination.sum(axis=2, keepdims=True)
    fertile = np.zeros((n_year, n_age, n_place))
    fertile[:, 1:-1] = rng.random((n_year, n_age - 2, n_place)) * 0.3
    rates = xr.Dataset(
        {
            "mx": (yearly, rng.random((n_year, *shape)) * 0.4),
            "out_rate": (cell, rng.random(shape) * 0.4),
            "asfr": (("year", "age", "district"), fertile),
            "srb": ("district", 0.9 + 0.3 * rng.random(n_place)),
        },
        coords={"year": years, **{d: start[d] for d in cell}},
        attrs={"convention": "popproj"},
    )
    if arrivals:
        rates["in_count"] = yearly, rng.gamma(0.5, 8.0, (n_year, *shape))
    if moves and n_place > 1:
        rates["move_rate"] = cell, rng.random(shape) * 0.4
        rates["move_repeat"] = cell, 1 + rng.random(shape) * 0.2
        rates["destination_share"] = (
            ("move_group", "origin", "district"),
            destination,
        )
        rates = rates.assign_coords(move_group=range(3), origin=start["district"].to_numpy())
        rates["move_group_of"] = ("sex", "age"), groups
    if signed:
        rates["net_count"] = yearly, rng.normal(0, 3.0, (n_year, *shape))
        rates["net_rate"] = cell, rng.normal(0, 0.05, shape)
    return start, rates

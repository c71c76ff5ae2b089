"""Random small registers whose books close to the person: people who die, leave, come and move."""

from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import strategies as st

from popproj.schema import SEXES, time_coordinate

CELL = ("sex", "age", "district")


def standard(n_age: int = 101) -> xr.Dataset:
    """An invented life table (Gompertz with infant deaths) and fertility schedule."""
    age = np.arange(n_age)
    mx = np.exp(-10.0 + 0.095 * age * 100 / max(n_age - 1, 1))
    mx[0] += 0.002
    return xr.Dataset(
        {
            "mx": (("sex", "age"), np.stack([mx, mx * 1.4])),
            "asfr": ("age", np.exp(-(((age / n_age - 0.31) / 0.055) ** 2)) * 0.1),
        },
        coords={"sex": list(SEXES), "age": age},
    )


def invented(
    seed: int,
    *,
    n_place: int = 3,
    n_age: int = 8,
    n_year: int = 2,
    mean: float = 6.0,
    moves: bool = True,
) -> xr.Dataset:
    """A register by district in which every cell balances; some movers move on in the same year."""
    rng = np.random.default_rng(seed)
    shape = (2, n_age, n_place)
    people = rng.poisson(mean * rng.random(shape) * 2)
    stocks, flows, rows = [people], [], []
    for year in range(n_year):
        mothers = rng.binomial(people[0], 0.2)
        mothers[[0, -1]] = 0
        births = np.zeros((2, n_place), dtype=int)
        births[0] = rng.binomial(mothers.sum(axis=0), 0.49)
        births[1] = mothers.sum(axis=0) - births[0]
        cohort = np.concatenate([births[:, None], people[:, :-1]], axis=1)
        cohort[:, -1] += people[:, -1]
        ins = rng.poisson(0.8, shape)
        present = cohort + ins
        moved, arrived = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
        for _ in range(2 if moves and n_place > 1 else 0):  # twice: some move on
            goers = rng.binomial(present, 0.15)
            for s, a, d in zip(*np.nonzero(goers), strict=True):
                others = [k for k in range(n_place) if k != d]
                to, counts = np.unique(rng.choice(others, goers[s, a, d]), return_counts=True)
                for k, count in zip(to, counts, strict=True):
                    rows.append((2015 + year, SEXES[s], a, f"{d + 1:03d}", f"{k + 1:03d}", count))
                    arrived[s, a, k] += count
                    present[s, a, k] += count
            present -= goers
            moved += goers
        deaths = rng.binomial(present, 0.1)
        outs = rng.binomial(present - deaths, 0.15)
        people = present - deaths - outs
        stocks.append(people)
        flows.append((deaths, ins, outs, births, mothers))
    register = xr.Dataset(
        {"population": (("time", *CELL), np.array(stocks, dtype=float))},
        coords={
            **time_coordinate([f"{2015 + i}-03-31" for i in range(n_year + 1)]),
            "sex": list(SEXES),
            "age": np.arange(n_age),
            "district": [f"{i + 1:03d}" for i in range(n_place)],
            "ward": ("district", [f"{i % 2}" for i in range(n_place)]),
            "year": 2015 + np.arange(n_year),
        },
    )
    names = {
        "deaths": CELL, "in_migrants": CELL, "out_migrants": CELL,
        "births": ("sex", "district"), "births_by_mother": ("age", "district"),
    }  # fmt: skip
    for k, (name, dims) in enumerate(names.items()):
        register[name] = ("year", *dims), np.array([f[k] for f in flows], dtype=float)
    if moves:
        columns = list(zip(*rows, strict=True)) or [[]] * 6
        keys = ("year", "sex", "age", "origin", "destination")
        register = register.assign_coords(
            {f"move_{k}": ("move", np.array(c)) for k, c in zip(keys, columns, strict=False)}
        )
        register["move_count"] = "move", np.array(columns[5], dtype=float)
    return register


registers = st.builds(
    invented,
    st.integers(0, 2**32 - 1),
    n_place=st.integers(2, 4),
    n_age=st.integers(4, 9),
    n_year=st.integers(1, 3),
    mean=st.sampled_from([1.0, 6.0, 40.0]),
)

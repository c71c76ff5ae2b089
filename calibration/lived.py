"""The sample city's register without files or readers: counted straight from its history."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from popproj import sample
from popproj.schema import SEXES, time_coordinate

CELL = ("sex", "age", "district")


def district_of_town(city: sample.Sample) -> pd.Series:
    """The district each town lies in at the last count."""
    towns = city.places.towns
    return pd.Series(towns["district"].to_numpy(object), index=towns["area"].to_numpy(object))


def register_of(city: sample.Sample) -> xr.Dataset:
    """Stocks and events by district, ages reached at the end of the year."""
    home = district_of_town(city)
    districts = city.true_rates["district"].to_numpy()
    place = pd.Index(districts).get_indexer(home.loc[city.population["area"].to_numpy()])
    assert (place >= 0).all()
    stocks = city.population.transpose("time", "sex", "age", "area").to_numpy()
    member = np.zeros((len(place), len(districts)))
    member[np.arange(len(place)), place] = 1
    years = city.true_rates["year"].to_numpy()
    register = xr.Dataset(
        {"population": (("time", *CELL), stocks @ member)},
        coords={
            **time_coordinate(city.count_dates),
            "sex": list(SEXES),
            "age": np.arange(stocks.shape[2]),
            "district": districts,
            "year": years,
        },
    )
    events = city.event_counts("year_end")
    position = {
        "year": events["year"].to_numpy() - years[0],
        "sex": pd.Index(SEXES).get_indexer(events["sex"]),
        "age": events["age"].to_numpy(),
        "district": pd.Index(districts).get_indexer(home.reindex(events["area"]).to_numpy()),
    }
    kind, count = events["kind"].to_numpy(), events["count"].to_numpy().astype(float)

    def flow(which: str, dims: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
        rows = kind == which
        shape = tuple({**register.sizes}[d] for d in dims)
        flat = np.ravel_multi_index(tuple(position[d][rows] for d in dims), shape)
        return dims, np.bincount(flat, count[rows], int(np.prod(shape))).reshape(shape)

    register["deaths"] = flow("death", ("year", *CELL))
    register["in_migrants"] = flow("in", ("year", *CELL))
    register["out_migrants"] = flow("out", ("year", *CELL))
    register["births"] = flow("birth", ("year", "sex", "district"))
    register["births_by_mother"] = flow("birth", ("year", "age", "district"))
    moves = events[kind == "move"].assign(
        origin=home.reindex(events["area"][kind == "move"]).to_numpy(),
        destination=home.reindex(events["other_area"][kind == "move"]).to_numpy(),
    )
    moves = moves[moves["origin"] != moves["destination"]]
    keys = ["year", "sex", "age", "origin", "destination"]
    moves = moves.groupby(keys, observed=True, as_index=False)["count"].sum()
    register = register.assign_coords(
        {
            f"move_{k}": ("move", moves[k].to_numpy(object if moves[k].dtype == object else None))
            for k in keys
        }
    )
    register["move_count"] = "move", moves["count"].to_numpy(float)
    return register

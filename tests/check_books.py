"""Do the books of a result file balance? Imports nothing of popproj, on purpose.

    python tests/check_books.py result.nc [more.nc …]

For every district, sex, age and year

    population(t+1, a) = population(t, a−1) − deaths(a) − out_migrants(a) + in_migrants(a)
                         − moves_out(a) + moves_in(a) + net_migrants(a) + adjustment(a)

must hold to 1e-9 of the district's population, with the year's births as the first term at age 0
and the last two ages together at the open one. Moves must cancel over the districts for each sex
and age, and nothing may be negative or blank. Exit code 0: the books balance; 1: they do not.
"""

import sys

import numpy as np
import xarray as xr

TOLERANCE = 1e-9  # of the district's population
SIGNS = {
    "deaths": -1,
    "out_migrants": -1,
    "in_migrants": +1,
    "moves_out": -1,
    "moves_in": +1,
    "net_migrants": +1,
    "adjustment": +1,
}
COUNTS = ("population", "births", "deaths", "in_migrants", "out_migrants", "moves_in", "moves_out")
CELL = ("sex", "age", "district")


def check(dataset: xr.Dataset) -> tuple[list[str], list[str]]:
    """What was checked, and what is wrong, as lines."""
    said: list[str] = []
    wrong: list[str] = []
    population = dataset["population"]
    extra = [d for d in population.dims if d not in ("time", *CELL)]
    stocks = population.transpose(*extra, "time", *CELL).values
    zeros = np.zeros_like(stocks[..., 1:, :, :, :])

    def flow(name: str) -> np.ndarray:
        if name not in dataset:
            return zeros
        return dataset[name].transpose(*extra, "year", *CELL).values

    starts = dataset["time"].values[:-1].astype("datetime64[Y]").astype(int) + 1970
    if not np.array_equal(starts, dataset["year"].values):
        return said, [f"years {dataset['year'].values} are not the intervals from {starts}"]
    ages = dataset["age"].values
    if not np.array_equal(ages, np.arange(ages.size)):
        return said, ["ages are not 0, 1, 2, …"]

    before, after = stocks[..., :-1, :, :, :], stocks[..., 1:, :, :, :]
    expected = np.zeros_like(after)
    expected[..., 1:, :] = before[..., :-1, :]
    expected[..., -1, :] += before[..., -1, :]
    if "births" in dataset:
        births = dataset["births"].transpose(*extra, "year", "sex", "district").values
        expected[..., 0, :] = births
    for name, sign in SIGNS.items():
        expected += sign * flow(name)

    people = np.maximum(before.sum(axis=(-3, -2), keepdims=True), 1.0)
    error = np.abs(after - expected) / people
    bad = ~(error <= TOLERANCE)  # blanks are wrong too
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    labels = ", ".join(
        f"{dim} {dataset[dim].values[i]}" if dim in dataset.coords else f"{dim} {i}"
        for dim, i in zip((*extra, "year", *CELL), worst, strict=True)
    )
    said.append(f"balance: {error.size:,} cells, largest error {error[worst]:.1e} of the district")
    if bad.any():
        wrong.append(f"balance: {bad.sum():,} of {bad.size:,} cells do not, worst {labels}")

    surplus = (flow("moves_in") - flow("moves_out")).sum(axis=-1)
    city = np.maximum(people.sum(axis=-1), 1.0)
    off = ~(np.abs(surplus) <= TOLERANCE * city)
    moved = flow("moves_in").sum()
    said.append(f"moves: {moved:,.0f} in all, largest surplus {np.abs(surplus).max():.1e} people")
    if off.any():
        wrong.append(
            f"moves: {off.sum():,} of {off.size:,} sexes and ages have arrivals ≠ departures"
        )

    for name in COUNTS:
        if name in dataset:
            values = dataset[name].values
            negative, blank = int((values < 0).sum()), int(np.isnan(values).sum())
            if negative or blank:
                wrong.append(f"{name}: {negative:,} negative and {blank:,} blank cells")

    change = {n: s * flow(n).sum(axis=(-3, -2, -1)) for n, s in SIGNS.items() if n in dataset}
    if "births" in dataset:
        change["births"] = births.sum(axis=(-2, -1))
    totals = stocks.sum(axis=(-3, -2, -1))
    gap = np.diff(totals, axis=-1) - sum(change.values())
    said.append(f"city: largest gap between stocks and flows {np.abs(gap).max():.1e} people")
    if not (np.abs(gap) <= TOLERANCE * totals[..., :-1]).all():
        wrong.append("city: the change of the total is not the sum of the flows")
    first, last = totals.reshape(-1, totals.shape[-1])[0, [0, -1]]
    said.append(f"people: {first:,.0f} → {last:,.0f} in {starts.size} years")
    return said, wrong


def main(paths: list[str]) -> int:
    """Check some files; 1 if any is wrong."""
    status = 0
    for path in paths:
        with xr.open_dataset(path, engine="netcdf4") as dataset:
            said, wrong = check(dataset.load())
        print(path, *said, sep="\n  ")
        print("  FALSE: " + "\n  FALSE: ".join(wrong) if wrong else "  the books balance")
        status |= bool(wrong)
    return int(status)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))

"""The sample city's true hazards, found again from its register or not.

Persons of the sample city live in continuous time by hazards of exact age; the register counts
them once a year. Truth and estimate are compared on the estimate's own exposure: a person who
reaches age x in a year lives half of it at age x − 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from calibration.lived import register_of
from popproj import derive_rates, sample
from popproj.cohort.books import complete_books
from popproj.cohort.lifetable import life_table
from popproj.config import Parameters
from popproj.indicators import life_expectancy, total_fertility

BANDS = (0, 1, 5, 15, 20, 25, 30, 40, 50, 65, 75, 85)
RATES = {"mx": "deaths", "out_rate": "out_migrants", "move_rate": "moves_out"}


@dataclass(frozen=True)
class Recovery:
    """Estimates of one history of the city beside the truth.

    Parameters
    ----------
    table
        By rate and age band, both sexes: the true rate, the root mean squared error over the
        sexes, and the error that chance alone would make (Poisson).
    e0, tfr
        True and estimated, of the whole city [years; children].
    books
        The balanced past that the rates were made of.
    """

    table: pd.DataFrame
    e0: pd.DataFrame
    tfr: tuple[float, float]
    books: xr.Dataset


def by_age_reached(hazard: xr.DataArray) -> xr.DataArray:
    """Mean hazard of people by the age reached in the year.

    Those born in the year live at age 0 alone, and those in the open age stay there.
    """
    mixed = (hazard + hazard.shift(age=1)) / 2
    return mixed.where(hazard["age"] > 0, hazard).where(hazard["age"] < 100, hazard)


def banded(values: xr.DataArray) -> xr.DataArray:
    """Sums over age bands."""
    labels = pd.cut(values["age"].to_numpy(), [*BANDS, 200], right=False, labels=BANDS)
    return values.assign_coords(band=("age", labels.astype(int))).groupby("band").sum("age")


def recover(full: bool = False, seed: int = 1) -> Recovery:
    """Estimate the rates of one history, all years pooled, and lay them beside the truth."""
    city = sample.simulate(full, seed)
    books = complete_books(register_of(city))
    rates, truth = derive_rates(books), city.true_rates
    women, people = rates["exposure_women"], rates["exposure"]
    true_tfr = float(((truth["asfr"] * women).sum("district") / women.sum("district")).sum())
    true_mx = (truth["mx"] * people).sum("district") / people.sum("district")
    true_e0 = life_table(true_mx.transpose("sex", "age"))["ex"].sel(age=0)
    rows = []
    for name, events in RATES.items():
        exposure = banded(people.sum("district"))
        true = banded((by_age_reached(truth[name]) * people).sum("district")) / exposure
        gap = banded(rates[events].sum("district")) / exposure - true
        noise = np.sqrt(true / (exposure * len(rates.attrs["years"])))
        for band in true["band"].to_numpy():
            rows.append(
                {
                    "rate": name,
                    "from age": int(band),
                    "true": float(true.sel(band=band).mean()),
                    "rmse": float(np.sqrt((gap.sel(band=band) ** 2).mean())),
                    "chance": float(noise.sel(band=band).mean()),
                }
            )
    return Recovery(
        pd.DataFrame(rows),
        pd.DataFrame(
            {"true": true_e0.to_numpy(), "estimated": life_expectancy(rates).to_numpy()},
            index=true_e0["sex"].to_numpy(),
        ),
        (true_tfr, float(total_fertility(rates))),
        books,
    )


def coverage(seeds: Iterable[int]) -> pd.DataFrame:
    """How often the exact 95 % Poisson interval of a district's age band holds the true rate."""
    held = {name: [0, 0] for name in (*RATES, "asfr")}
    for seed in seeds:
        city = sample.simulate(seed=seed)
        rates, truth = derive_rates(complete_books(register_of(city))), city.true_rates
        years = len(rates.attrs["years"])
        pairs = {
            name: (rates[events], by_age_reached(truth[name]) * rates["exposure"])
            for name, events in RATES.items()
        }
        pairs["asfr"] = rates["births_by_mother"], truth["asfr"] * rates["exposure_women"]
        for name, (events, expected) in pairs.items():
            inside = _inside(banded(events) * years, banded(expected) * years)
            held[name][0] += int(inside.sum())
            held[name][1] += inside.size
    table = pd.DataFrame(held, index=["inside", "intervals"]).T
    return table.assign(share=table["inside"] / table["intervals"])


LEVELS = {"own": "district", "city": "city", "shrunk": "shrunk"}


def by_size(full: bool = True, seed: int = 1, years: int = 10) -> pd.DataFrame:
    """Errors of plain own, plain pooled and shrunk rates, by thirds of the districts' size.

    Root mean squared error of single sexes and ages, weighted by exposure (arrivals: unweighted),
    of each district; then the root mean square over the districts of a class.
    """
    city = sample.simulate(full, seed)
    places = city.places.districts.set_index("district")["ward"]
    books = complete_books(register_of(city))
    wards = places.reindex(books["district"].to_numpy()).to_numpy(str)
    books = books.assign_coords(ward=("district", wards))
    truth = city.true_rates
    arrivals = (truth["in_count"] + truth["in_count"].shift(age=1, fill_value=0)) / 2
    size = books["population"].isel(time=-1).sum(["sex", "age"]).to_numpy()
    third = np.digitize(size, np.quantile(size, [1 / 3, 2 / 3]))
    window = tuple(int(y) for y in books["year"].to_numpy()[-years:])
    rows = []
    for told, level in LEVELS.items():
        rates = derive_rates(
            books,
            Parameters(
                years=window, mortality=level, fertility=level, out_migration=level,
                in_migration=level, moves=level,
            ),
        )  # fmt: skip
        people, women = rates["exposure"], rates["exposure_women"]
        pairs = {n: (rates[n], by_age_reached(truth[n]), people) for n in RATES}
        pairs["asfr"] = rates["asfr"], truth["asfr"], women
        pairs["in_count"] = rates["in_count"], arrivals, xr.ones_like(people)
        for name, (estimate, true, weight) in pairs.items():
            over = [d for d in weight.dims if d != "district"]
            squared = ((estimate - true) ** 2 * weight).sum(over) / weight.sum(over)
            for k, label in enumerate(("small", "middle", "large")):
                error = float(np.sqrt(squared.to_numpy()[third == k].mean()))
                rows.append({"rate": name, "size": label, "level": told, "rmse": error})
    table = pd.DataFrame(rows).pivot(index=["rate", "size"], columns="level", values="rmse")
    order = pd.MultiIndex.from_product([pairs, ("small", "middle", "large")])
    return table.reindex(order)[list(LEVELS)]


def _inside(events: xr.DataArray, expected: xr.DataArray) -> np.ndarray:
    expected = expected.transpose(*events.dims)
    seen = (expected > 0).to_numpy()
    n, mean = events.to_numpy()[seen], expected.to_numpy()[seen]
    low = np.nan_to_num(stats.chi2.ppf(0.025, 2 * n) / 2)
    return (low <= mean) & (mean <= stats.chi2.ppf(0.975, 2 * n + 2) / 2)


def _by_size_table() -> list[str]:
    lines = ["| rate | size | years | own | city | shrunk |", "|---|---|---|---|---|---|"]
    for years in (10, 3):
        for (name, size), row in by_size(years=years).iterrows():
            unit = 1 if name == "in_count" else 1000
            cells = " | ".join(f"{row[level] * unit:.2f}" for level in LEVELS)
            lines.append(f"| {name} | {size} | {years} | {cells} |")
    return [*lines, ""]


def report() -> str:
    """The study as Markdown: the full city once, the default city twenty times."""
    full = recover(full=True)
    lines = [
        "# Recovery of the sample city's true rates",
        "",
        "Written by `python -m calibration`; do not edit. Ten years pooled, tier A.",
        "",
        "## Full size: 1.5 million residents, 160 districts, one history",
        "",
        f"TFR {full.tfr[1]:.3f} (true {full.tfr[0]:.3f}); "
        + "; ".join(
            f"e0 {sex} {row['estimated']:.2f} (true {row['true']:.2f})"
            for sex, row in full.e0.iterrows()
        )
        + ".",
        "",
        "Whole city; root mean squared error over the sexes, and what chance alone would make.",
        "",
        "| rate | from age | true | RMSE | chance |",
        "|---|---|---|---|---|",
        *(
            f"| {r['rate']} | {r['from age']} | {r['true']:.5f} | {r['rmse']:.5f} "
            f"| {r['chance']:.5f} |"
            for _, r in full.table.iterrows()
        ),
        "",
        "## What borrowing strength buys: full size, by thirds of the districts' size",
        "",
        "RMSE of single sexes and ages against the truth, times 1,000 (arrivals: people a year). "
        "*own*: each district's own events (fertility: own level); *city*: one rate for all.",
        "",
        *_by_size_table(),
        "## Default size: 40 districts, 20 histories",
        "",
        "Share of the true rates (district × sex × age band) inside the exact 95 % Poisson "
        "interval of their events.",
        "",
        "| rate | intervals | hold the truth |",
        "|---|---|---|",
        *(
            f"| {name} | {int(row['intervals']):,} | {row['share']:.1%} |"
            for name, row in coverage(range(1, 21)).iterrows()
        ),
        "",
    ]
    return "\n".join(lines)

"""The sample city's true hazards, found again from its register; and its years, replayed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from popproj import derive_rates, sample
from popproj.cohort.books import complete_books
from popproj.cohort.lifetable import life_table
from popproj.indicators import life_expectancy, total_fertility
from tests.lived import register_of
from tests.test_rates import worst_replay

BANDS = (0, 1, 5, 15, 20, 25, 30, 40, 50, 65, 75, 85)
RATES = {"mx": "deaths", "out_rate": "out_migrants", "move_rate": "moves_out"}


def by_age_reached(hazard: xr.DataArray) -> xr.DataArray:
    """Mean hazard of people by the age reached in the year: half of it lived in each age.

    Those born in the year live at age 0 alone, and those in the open age stay there.
    """
    older = hazard.shift(age=1)
    mixed = (hazard + older) / 2
    return mixed.where(hazard["age"] > 0, hazard).where(hazard["age"] < 100, hazard)


def banded(values: xr.DataArray) -> xr.DataArray:
    """Sums over age bands."""
    labels = pd.cut(values["age"].to_numpy(), [*BANDS, 200], right=False, labels=BANDS)
    return values.assign_coords(band=("age", labels.astype(int))).groupby("band").sum("age")


def estimates(seed: int, full: bool = False) -> tuple[sample.Sample, xr.Dataset]:
    city = sample.simulate(full, seed)
    return city, derive_rates(complete_books(register_of(city)))


def inside(events: xr.DataArray, expected: xr.DataArray) -> tuple[int, int]:
    """How many expectations lie in the exact Poisson interval of the events; and of how many."""
    expected = expected.transpose(*events.dims)
    seen = (expected > 0).to_numpy()
    n, mean = events.to_numpy()[seen], expected.to_numpy()[seen]
    low = stats.chi2.ppf(0.025, 2 * n) / 2
    high = stats.chi2.ppf(0.975, 2 * n + 2) / 2
    return int(((np.nan_to_num(low) <= mean) & (mean <= high)).sum()), int(seen.sum())


def test_intervals_hold_the_true_rates_of_every_district_and_age_band():
    """20 histories of the same city: 90-99 % of the true rates lie in their 95 % intervals."""
    held = {name: [0, 0] for name in (*RATES, "asfr")}
    for seed in range(1, 21):
        city, rates = estimates(seed)
        truth, years = city.true_rates, len(rates.attrs["years"])
        for name, events in RATES.items():
            expected = banded(by_age_reached(truth[name]) * rates["exposure"]) * years
            got, n = inside(banded(rates[events]) * years, expected)
            held[name][0] += got
            held[name][1] += n
        expected = banded(truth["asfr"] * rates["exposure_women"]) * years
        got, n = inside(banded(rates["births_by_mother"]) * years, expected)
        held["asfr"][0] += got
        held["asfr"][1] += n
    shares = {name: got / n for name, (got, n) in held.items()}
    print(shares)
    assert all(n > 2000 for _, n in held.values())
    assert all(0.90 <= share <= 0.99 for share in shares.values()), shares


def city_wide(truth: xr.Dataset, rates: xr.Dataset) -> dict[str, xr.DataArray]:
    """True and estimated rates of the whole city by sex and band, on the same exposure."""
    out = {}
    for name, events in RATES.items():
        exposure = banded(rates["exposure"].sum("district"))
        true = banded((by_age_reached(truth[name]) * rates["exposure"]).sum("district")) / exposure
        noise = np.sqrt(true / (exposure * len(rates.attrs["years"])))
        out[name] = xr.concat(
            [true, banded(rates[events].sum("district")) / exposure, noise],
            pd.Index(["true", "estimated", "noise"], name="which"),
        )
    return out


def check_recovery(
    city: sample.Sample, rates: xr.Dataset, e0_within: float, tfr_within: float
) -> pd.DataFrame:
    truth = city.true_rates
    women = rates["exposure_women"]
    true_tfr = float(((truth["asfr"] * women).sum("district") / women.sum("district")).sum())
    assert abs(float(total_fertility(rates)) - true_tfr) < tfr_within
    weight = rates["exposure"]
    true_mx = (truth["mx"] * weight).sum("district") / weight.sum("district")
    true_e0 = life_table(true_mx.transpose("sex", "age").drop_vars("kind", errors="ignore"))[
        "ex"
    ].sel(age=0)
    e0 = life_expectancy(rates)
    for sex in ("female", "male"):
        assert abs(float(e0.sel(sex=sex) - true_e0.sel(sex=sex))) < e0_within
    rows = []
    for name, both in city_wide(truth, rates).items():
        gap = both.sel(which="estimated") - both.sel(which="true")
        for band in gap["band"].to_numpy():
            rows.append(
                {
                    "rate": name,
                    "from age": int(band),
                    "true": float(both.sel(which="true", band=band).mean()),
                    "rmse": float(np.sqrt((gap.sel(band=band) ** 2).mean())),
                    "noise": float(both.sel(which="noise", band=band).mean()),
                }
            )
    table = pd.DataFrame(rows)
    table["relative"] = table["rmse"] / table["true"]
    print(
        f"\nTFR {float(total_fertility(rates)):.4f} (true {true_tfr:.4f}), e0",
        e0.values,
        true_e0.values,
    )
    print(table.round(5).to_string(index=False))
    return table


def test_recovers_the_city_s_true_rates():
    city, rates = estimates(1)
    table = check_recovery(city, rates, e0_within=0.6, tfr_within=0.04)
    assert (table["rmse"] < 3 * table["noise"]).all()


@pytest.mark.size
def test_recovers_the_true_rates_of_the_full_city_and_replays_its_years():
    """1.5 million people, ten years: e0 within 0.3 years, TFR within 0.02, replay to 1e-9."""
    city = sample.simulate(full=True)
    books = complete_books(register_of(city))
    table = check_recovery(city, derive_rates(books), e0_within=0.3, tfr_within=0.02)
    assert (table["rmse"] < 3 * table["noise"] + 0.005 * table["true"]).all()
    assert (table[table["rate"] != "mx"]["relative"] < 0.05).all()
    assert worst_replay(books) < 1e-9


def test_replays_every_year_of_the_sample_city():
    books = complete_books(register_of(sample.simulate()))
    assert worst_replay(books) < 1e-9

"""The sample city's true hazards, found again from its register; and its years, replayed."""

from __future__ import annotations

import pytest

from calibration.recovery import Recovery, by_size, coverage, recover
from tests.test_rates import worst_replay


def check(found: Recovery, e0_within: float, tfr_within: float) -> None:
    print("\n", found.table.round(5).to_string(index=False), found.e0, found.tfr, sep="\n")
    assert (abs(found.e0["estimated"] - found.e0["true"]) < e0_within).all()
    assert abs(found.tfr[1] - found.tfr[0]) < tfr_within
    # nothing but chance, and half a per cent of what ages within a year leave
    table = found.table
    assert (table["rmse"] < 3 * table["chance"] + 0.005 * table["true"]).all()


def test_recovers_the_city_s_true_rates_and_replays_its_years():
    found = recover()
    check(found, e0_within=0.6, tfr_within=0.04)
    assert worst_replay(found.books) < 1e-9


@pytest.mark.size
def test_recovers_the_true_rates_of_the_full_city_and_replays_its_years():
    """1.5 million people, ten years: e0 within 0.3 years, TFR within 0.02, replay to 1e-9."""
    found = recover(full=True)
    check(found, e0_within=0.3, tfr_within=0.02)
    assert worst_replay(found.books) < 1e-9


@pytest.mark.size
def test_intervals_hold_the_true_rates_of_every_district_and_age_band():
    """20 histories of the same city: 90-99 % of the true rates lie in their 95 % intervals."""
    held = coverage(range(1, 21))
    print(held)
    assert (held["intervals"] > 2000).all()
    assert held["share"].between(0.90, 0.99).all()


def test_intervals_of_a_few_histories():
    assert coverage((1, 2))["share"].between(0.90, 0.99).all()


@pytest.mark.size
@pytest.mark.parametrize("years", [3, 10])
def test_shrunken_rates_beat_raw_and_pooled_ones_in_every_size_class(years):
    table = by_size(full=True, years=years)
    print(table)
    assert (table["shrunk"] < table["own"]).all()
    assert (table["shrunk"] < table["city"]).all()

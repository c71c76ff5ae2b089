"""Forecasts from stocks alone: hand-made twins, invariants, and what is known of Kobe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj.annual import forecast
from popproj.cohort import cohort_ratios as past
from popproj.cohort.cohort_ratios import TrendParameters
from popproj.cohort.histories import read_history
from popproj.cohort.model_life_table import (
    cohort_hazards,
    fitted_shift,
    scaled_to,
    yearly_hazards,
)
from popproj.cohort.split import graduate
from popproj.cohort.trend import stock_rates
from popproj.cohort.waves import single_ages
from popproj.projection import project
from popproj.schema import InputError

FREE = TrendParameters(pull=0.0, pull_small=0.0)
FIVE = np.arange(0, 85, 5)


def labelled(people, ages, first=2007, areas=None):
    """Stocks ``(time, age, area)`` at the close of each 31 December from a year on."""
    names = areas or [f"{i + 1:03d}" for i in range(people.shape[2])]
    return xr.DataArray(
        people,
        dims=("time", "age", "area"),
        coords={
            "time": pd.to_datetime([f"{first + 1 + i}-01-01" for i in range(len(people))]),
            "age": ages,
            "area": names,
        },
    )


def stocks(seed=1, years=11, areas=5, step=5):
    """A noisy history of some districts, in five-year or single ages."""
    rng = np.random.default_rng(seed)
    ages = FIVE if step == 5 else np.arange(101)
    curve = 40.0 * step * np.exp(-((ages / 82.0) ** 6)) + 5
    size = rng.uniform(0.5, 3.0, areas)
    growth = 1 + rng.normal(0, 0.01, areas) * np.arange(years)[:, None]
    people = curve[:, None] * size * growth[:, None, :] * rng.uniform(0.95, 1.05, (1, 1, areas))
    return labelled(np.round(people * rng.uniform(0.97, 1.03, people.shape)) + 1, ages)


def kobe(shared_data, launch, step=5):
    """Stocks of Kobe's proxy districts that are there in every year, and all years after."""
    file = "kobe_district_age5_2001_2017" if step == 5 else "kobe_district_age1_2012_2017"
    pytest.importorskip("pyarrow")
    table = pd.read_parquet(shared_data / "kobe" / f"{file}.parquet")
    first = table["year"].min()
    table = table[table["district_id"].isin(table.loc[table["year"] == first, "district_id"])]
    if step == 5:
        columns = [c for c in table.columns if c[0].isdigit()]
    else:
        columns = [f"a{age}" for age in range(101)]
    cube = table.sort_values(["year", "district_id"])[columns].to_numpy(float)
    names = sorted(table["district_id"].unique())
    cube = cube.reshape(table["year"].nunique(), len(names), len(columns)).transpose(0, 2, 1)
    ages = FIVE if step == 5 else np.arange(101)
    whole = labelled(cube, ages, first, names)
    n = launch - first + 1
    return whole[:n], whole[n:]


def mape(said, came, launch, low, high):
    """Mean absolute percentage error where launch and target have 500 people, the band 30."""
    band = (said["age"] >= low) & (said["age"] < high)
    observed, meant = (a.sel(age=said["age"][band]).sum("age").to_numpy() for a in (came, said))
    scored = (came.sum("age") >= 500).to_numpy() & (launch.sum("age") >= 500).to_numpy()
    scored &= observed >= 30
    return 100 * np.mean(np.abs(meant[scored] / observed[scored] - 1))


# --- the city, group by group ---


def test_the_city_follows_its_cohort_ratios():
    """A group after one step is what was there, times survival and migration of that step."""
    history = stocks(areas=1)
    said = forecast(history, [5], FREE).to_numpy()[0, :, 0]
    p, people = FREE, history.to_numpy()[:, :, 0]
    ends = range(5, 11)
    closing = sum(people[e, 1:] for e in ends)
    aged = sum(np.append(people[e - 5, :-2], people[e - 5, -2:].sum()) for e in ends)
    ratio = closing / aged
    city = past.city_ratios(read_history(history), p)
    assert city.ratio[0, 1:] == pytest.approx(ratio)
    assert city.back == np.mean([10 - e for e in ends]) + 2.5
    old = FIVE[1:] >= 65
    survival = np.where(old, np.minimum(ratio, 0.999), city.survival[0, 1:])
    migration = np.where(old, 1.0, ratio / survival)
    slower = np.interp(FIVE[1:] + 2, [85, 100], [1, 0.3])
    slower[-1] *= 0.3
    dying = (1 - survival) * np.exp(-0.010 * slower * (2.5 + city.back))
    carried = (1 - dying) * (1 + (migration - 1) * 0.93**2.5)
    now = people[-1]
    older = np.append(now[:-2], now[-2:].sum())
    assert said[1:-1] == pytest.approx((older * carried)[:-1], rel=1e-3)
    assert said[-1] == pytest.approx((older * carried)[-1], rel=0.02)  # ages inside


def test_districts_without_the_pull_sum_to_their_city():
    history = stocks(areas=7)
    whole = history.sum("area").expand_dims(area=["city"], axis=2)
    apart, together = forecast(history, [1, 5, 8, 12], FREE), forecast(whole, [1, 5, 8, 12], FREE)
    np.testing.assert_allclose(apart.sum("area"), together.sum("area"), rtol=1e-9)


def test_the_pull_takes_back_a_share_of_the_change():
    history = stocks(areas=4)
    p = replace(FREE, pull=0.02, pull_small=0.04)
    free, pulled = forecast(history, [5, 10, 15], FREE), forecast(history, [5, 10, 15], p)
    now = history.isel(time=-1).sum("age")
    each = xr.where(now < p.small, 0.04, 0.02)
    years = xr.DataArray([5, 10, 10], dims="horizon", coords={"horizon": [5, 10, 15]})
    wanted = free.sum("age") + each * years * (now - free.sum("age"))
    # what the moved women bear comes a year late
    np.testing.assert_allclose(
        pulled.sum("age").transpose("horizon", "area"),
        wanted.transpose("horizon", "area"),
        rtol=2e-4,
    )
    same = (pulled / free - 1).sel(age=[70, 75, 80], horizon=5)
    assert np.abs(same).max() < 1e-9  # nobody of 65 or more is moved


def test_the_rates_run_in_the_engine_and_balance():
    jump_off, rates = stock_rates(stocks(areas=3), 7)
    future = project(jump_off, rates)
    assert float(np.abs(future["adjustment"]).max()) == 0
    assert rates["mx"].dims == ("year", "sex", "age")
    assert list(rates["year"].to_numpy()) == list(range(2018, 2025))
    assert bool((np.diff(rates["mx"].sel(age=[70, 85]).to_numpy(), axis=0) < 0).all())
    male, female = rates["mx"].sel(sex="male"), rates["mx"].sel(sex="female")
    assert bool((male.sel(age=slice(20, 95)) > female.sel(age=slice(20, 95))).all())


# --- invariants ---


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), step=st.sampled_from([1, 5]))
def test_the_order_of_areas_does_not_matter(seed, step):
    history = stocks(seed, areas=4, step=step)
    turned = np.random.default_rng(seed).permutation(4)
    ours = forecast(history, [3, 10])
    theirs = forecast(history.isel(area=turned), [3, 10])
    np.testing.assert_allclose(theirs.sel(area=ours["area"]), ours, rtol=1e-8)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**16), step=st.sampled_from([1, 5]))
def test_counting_in_other_units_changes_nothing_else(seed, step):
    """With all numbers that are people in the same unit."""
    history = stocks(seed, areas=3, step=step)
    p = TrendParameters()
    by = 7.0
    scaled = replace(
        p,
        continuity=p.continuity * by,
        child_continuity=p.child_continuity * by,
        small=p.small * by,
        level_strength=p.level_strength * by,
        level_strength_small=p.level_strength_small * by,
        residual_strength=tuple(k * by for k in p.residual_strength),
        child_strength=p.child_strength * by,
    )
    np.testing.assert_allclose(
        forecast(by * history, [10], scaled), by * forecast(history, [10], p), rtol=1e-8
    )


@pytest.mark.parametrize("step", [1, 5])
def test_what_does_not_change_hardly_changes(step):
    ages = np.arange(101)
    single = 200 * np.exp(-((ages / 85) ** 8))
    curve = single if step == 1 else np.append(single[:80].reshape(-1, 5).sum(1), single[80:].sum())
    people = np.repeat(np.outer(curve, [1.0, 0.2])[None], 11, axis=0)
    said = forecast(labelled(people, ages if step == 1 else FIVE), [5, 10])
    still = said.sum("age") / people[-1].sum(axis=0)
    np.testing.assert_allclose(still, 1.0, atol=0.02)
    young = said.isel(age=said["age"] < 60).to_numpy() / people[-1][said["age"] < 60]
    np.testing.assert_allclose(young, 1.0, atol=0.03)


def test_a_district_like_its_city_goes_as_its_city():
    """Two districts of the same shape, one ten times as large, keep their shares."""
    one = stocks(areas=1).to_numpy()
    twins = labelled(np.concatenate([one, 10 * one], axis=2), FIVE)
    said = forecast(twins, [5, 10], FREE)
    np.testing.assert_allclose(said[..., 1], 10 * said[..., 0], rtol=1e-9)


@pytest.mark.parametrize("step", [1, 5])
def test_nobody_is_negative_in_fifty_years_and_new_towns_do_not_explode(step):
    history = stocks(areas=3, years=8, step=step)
    values = history.to_numpy().copy()
    values[:, :, 0] *= np.linspace(0.05, 1, 8)[:, None]  # a town that filled within the window
    values[:, :, 2] = 0
    said = forecast(history.copy(data=values), [1, 10, 50])
    assert bool((said >= 0).all())
    assert said.isel(area=2).sum() == 0
    grown = float(said.sel(horizon=10).isel(area=0).sum() / values[-1, :, 0].sum())
    assert 0.8 < grown < 4


def test_stopped_growth_counts_half():
    history = stocks(3, areas=6)
    values = history.to_numpy().copy()
    fills = np.interp(np.arange(11), [5, 8, 10], [0.5, 1, 1])  # filled by 2015, and then stood
    values[:, :, 0] *= fills[:, None]
    stopped = history.copy(data=values)
    doubted = forecast(stopped, [5])
    believed = forecast(stopped, [5], replace(TrendParameters(), growth_doubt=0.0))
    total = float(values[-1, :, 0].sum())
    assert total * 0.9 < float(doubted.isel(area=0).sum()) < float(believed.isel(area=0).sum())


# --- what offices hand over ---


def test_sexes_counted_apart_say_the_same_as_together():
    history = stocks(areas=4)
    jump_off = stock_rates(history, 1)[0]
    share = jump_off.sel(sex="female").sum("district") / jump_off.sum(["sex", "district"])
    women = np.array([share.sel(age=slice(a, a + 4 if a < 80 else 100)).mean() for a in FIVE])
    both = xr.concat(
        [history * women[None, :, None], history * (1 - women)[None, :, None]],
        dim=pd.Index(["female", "male"], name="sex"),
    ).transpose("time", "sex", "age", "area")
    together, apart = forecast(history, [5, 10]), forecast(both, [5, 10])
    np.testing.assert_allclose(apart.sum("age"), together.sum("age"), rtol=0.01)


def test_a_short_history_in_five_year_ages_is_split():
    short = forecast(stocks(areas=4).isel(time=slice(-3, None)), [5])
    assert short.sizes["age"] == 17
    ratio = short.sum("age") / stocks(areas=4).isel(time=-1).sum("age")
    np.testing.assert_allclose(ratio, 1.0, atol=0.25)


def test_blank_areas_and_missing_years():
    history = stocks(areas=4)
    values = history.to_numpy().copy()
    values[:3, :, 1] = np.nan  # not there yet
    values[-1, :, 2] = np.nan  # suppressed at the launch
    said = forecast(history.copy(data=values).isel(time=[0, 1, 2, 4, 5, 6, 7, 9, 10]), [5])
    assert list(said.isnull().all("age").to_numpy().ravel()) == [False, False, True, False]
    assert list(said["area"].to_numpy()) == list(history["area"].to_numpy())


@pytest.mark.parametrize("last", [85, 90, 105])
def test_any_open_age(last):
    ages = np.arange(last + 1)
    curve = 100 * np.exp(-((ages / 85) ** 8))
    history = labelled(np.tile(curve[None, :, None], (4, 1, 2)), ages)
    said = forecast(history, [2])
    assert list(said["age"].to_numpy()) == list(ages)
    assert float(said.sum() / (2 * curve.sum())) == pytest.approx(1, abs=0.02)


def test_what_cannot_be_used_is_refused():
    history = stocks(areas=2)
    with pytest.raises(InputError, match="two stocks must lie 1 years apart"):
        forecast(history.isel(time=[-1]), [5])
    moved = history.assign_coords(time=history["time"] + np.arange(11) * np.timedelta64(9, "D"))
    with pytest.raises(InputError, match="whole years before the last one"):
        forecast(moved, [5])
    with pytest.raises(InputError, match="single years or five-year ages"):
        forecast(history.isel(age=[0, 1, 3, 5]), [5])
    with pytest.raises(InputError, match="at least one area must have people at the launch"):
        forecast(history.where(history["time"] < history["time"][-1]), [5])


# --- the model life table ---


def test_old_cohorts_tell_the_level_of_mortality():
    people = np.random.default_rng(0).uniform(50, 100, (2, 101))
    for shift in (-8.0, 0.0, 4.0):
        lived = np.exp(-cohort_hazards(np.stack([yearly_hazards(shift, 100)] * 5)))
        assert fitted_shift(people, lived, np.arange(101) >= 60, 5) == pytest.approx(shift)


def test_the_model_is_a_life_table_of_today():
    survivors = np.exp(-np.cumsum(yearly_hazards(0.0, 110), axis=1))
    women, men = survivors.sum(axis=1)
    assert 84 < women < 88
    assert 78 < men < 82
    assert bool((np.diff(yearly_hazards(0.0, 100)[:, 30:]) > 0).all())


@given(st.integers(0, 1000), st.floats(0.05, 0.999))
def test_hazards_are_scaled_to_a_share(seed, share):
    rng = np.random.default_rng(seed)
    hazard, people = rng.uniform(0.001, 0.5, (3, 10)), rng.uniform(0, 10, (3, 10))
    factor = scaled_to(hazard, people, np.full(3, share))
    lived = (people * np.exp(-factor[:, None] * hazard)).sum(axis=1) / people.sum(axis=1)
    np.testing.assert_allclose(lived, share, rtol=1e-9)


# --- Kobe ---


def test_kobe_what_is_known_of_its_ratios(shared_data):
    """Numbers computed independently for these districts, from the same formulas."""
    launch, _ = kobe(shared_data, 2012)
    history = read_history(launch)
    city = past.city_ratios(history, TrendParameters())
    ratio = dict(zip(FIVE, city.ratio[0].round(4), strict=True))
    assert [ratio[a] for a in (20, 25, 65, 80)] == [1.0924, 0.9788, 0.9592, 0.7068]
    assert city.child_trend == pytest.approx(0.0221, abs=0.0015)  # by another schedule
    areas = past.area_deviations(history, city, TrendParameters())
    known = [-0.0608, 0.0167, -0.0500, 0.0123, -0.0212]
    np.testing.assert_allclose(areas.level[:5], known, atol=5e-5)
    said = forecast(launch, [5])
    assert float(said.sum()) == pytest.approx(1_525_760, rel=2e-4)
    assert float(said.sel(area="K001").sum()) == pytest.approx(23_887, rel=1e-3)


@pytest.mark.parametrize(
    ("launch", "horizon", "step", "limits"),
    [
        (
            2012,
            5,
            5,
            {(0, 200): 4.33, (0, 5): 17.9, (5, 15): 7.37, (65, 200): 1.96, (75, 200): 2.72},
        ),
        (2007, 10, 5, {(0, 200): 7.4, (5, 15): 15.8, (65, 200): 3.6, (75, 200): 4.8}),
        (2014, 3, 1, {(0, 200): 2.6, (6, 12): 4.81, (65, 200): 1.7}),
    ],
)
def test_kobe_accuracy(shared_data, launch, horizon, step, limits):
    history, later = kobe(shared_data, launch, step)
    said = forecast(history, [horizon]).isel(horizon=0)
    came, now = later.isel(time=horizon - 1), history.isel(time=-1)
    for (low, high), limit in limits.items():
        assert mape(said, came, now, low, high) <= limit, (low, high)


# --- waves of births within five-year ages ---


def test_yearly_counts_of_groups_tell_the_waves_within(shared_data):
    """Five-year ages up to 2012 say more of the single ages of 2012 than those of 2012 alone."""
    grouped = kobe(shared_data, 2012)[0].sum("area").to_numpy()
    single = kobe(shared_data, 2012, step=1)[0].isel(time=-1).sum("area").to_numpy()
    ages = np.arange(50, 80)

    def miss(years):
        ago = np.arange(years - 1, -1, -1)
        found = single_ages(grouped[-years:], ago, FIVE, np.full(101, 0.5), 100)[-1]
        return np.abs(found[ages] / single[ages] - 1).mean()

    spline = graduate(grouped[-1][:-1], np.append(FIVE[:-1], 80))
    alone = np.abs(spline[ages] / single[ages] - 1).mean()
    assert miss(2) < alone
    assert miss(11) < 0.6 * alone


def test_waves_keep_every_count_of_the_areas():
    history = stocks(areas=4)
    jump_off = stock_rates(history, 1)[0].sum("sex").to_numpy()
    np.testing.assert_allclose(np.add.reduceat(jump_off, FIVE), history.to_numpy()[-1], rtol=1e-9)

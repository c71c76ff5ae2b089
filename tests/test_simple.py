"""Simple methods: worked by hand, beside a slow twin, and what must hold of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from popproj.cohort import simple
from popproj.cohort.simple import RIVALS, hamilton_perry
from popproj.schema import InputError, instants

FIVE = np.arange(0, 85, 5)


def stocks(people, ages, years=None):
    """Stocks (time, age, area) on 31 December of the given years, by default up to 2012."""
    people = np.asarray(people, dtype=float)
    years = range(2013 - len(people), 2013) if years is None else years
    return xr.DataArray(
        people,
        dims=("time", "age", "area"),
        coords={
            "time": instants([f"{y}-12-31" for y in years]),
            "age": ages,
            "area": [f"{i:03}" for i in range(people.shape[2])],
        },
        name="population",
    )


def six_years(first, last, ages=FIVE):
    """Stocks of six years on a straight line between two, area by area."""
    first, last = np.asarray(first, float), np.asarray(last, float)
    return stocks([first + (last - first) * t / 5 for t in range(6)], ages)


def after(method, history, horizon):
    return method(history, [horizon]).isel(horizon=0).to_numpy()


def ages_of(**people):
    """One area on five-year ages: a number by name of the lower bound, a0=…, a20=…."""
    column = np.zeros((17, 1))
    for name, number in people.items():
        column[int(name[1:]) // 5] = number
    return column


def test_linear_goes_on_from_the_launch_with_the_slope_of_least_squares():
    people = np.zeros((7, 17, 1))
    # slope over the last six: Σ(t-2.5)(P-mean)/17.5 with P = 0, 10, 20, 30, 40, 80 → 250/17.5
    people[:, 0, 0] = [999, 0, 10, 20, 30, 40, 80]
    people[:, 1, 0] = [0, 50, 40, 30, 20, 10, 0]
    people[:, 16, 0] = 5
    got = after(simple.linear, stocks(people, FIVE), 7)
    assert_allclose(got[[0, 1, 16], 0], [80 + 7 * 250 / 17.5, 0, 5])


def test_exponential_goes_on_at_its_rate_within_limits():
    people = np.ones((6, 17, 1))
    people[:, 0, 0] = 100 * 1.1 ** np.arange(6)
    people[:, 1, 0] = 2.0 ** np.arange(6)  # 32 times in five years: held at 4
    people[:, 2, 0] = [0, 1, 2, 3, 4, 5]  # once empty: stays
    got = after(simple.exponential, stocks(people, FIVE), 5)
    assert_allclose(got[:3, 0], [100 * 1.1**10, 32 * 4, 5])


def test_constant_share_carries_the_city_forward_and_splits_it_by_age():
    first = np.concatenate([ages_of(a0=100, a20=100), ages_of(a0=100, a20=300)], axis=1)
    last = np.concatenate([ages_of(a0=80, a5=90, a20=40), ages_of(a0=120, a5=90, a20=160)], axis=1)
    got = after(simple.constant_share, six_years(first, last), 5)
    city = after(simple.pooled_cohort_component, six_years(first, last), 5).sum(axis=1)
    # 0-4: 200 → 5-9: 180 of 200; half of the launch's 5-9 live in each area
    assert_allclose(city[1], 200 * 0.9)
    assert_allclose(got[1], [90, 90])
    assert_allclose(got[0] / city[0], [0.4, 0.6])
    assert_allclose(got.sum(axis=1)[[0, 1]], city[[0, 1]])


def test_hamilton_perry_by_hand():
    # area 0: 5-9 are 90 of 100 who were 0-4; area 1: 60 of 100. Together 0.75.
    first = np.concatenate(
        [ages_of(a0=100, a20=50, a75=30, a80=20), ages_of(a0=100, a20=50, a75=10, a80=40)], axis=1
    )
    last = np.concatenate(
        [ages_of(a0=50, a5=90, a25=100, a80=25), ages_of(a0=50, a5=60, a25=150, a80=35)], axis=1
    )
    history = six_years(first, last)
    own = after(hamilton_perry, history, 5)
    assert_allclose(own[1], [50 * 0.9, 50 * 0.6])  # 0-4 of the launch
    assert_allclose(own[16], [25 * 25 / 50, 35 * 35 / 50])  # the last two ages together
    pooled = after(simple.hamilton_perry_pooled, history, 5)
    assert_allclose(pooled[1], [50 * 0.75, 50 * 0.75])
    shrunk = after(RIVALS["hamilton_perry_shrunk_100"], history, 5)
    assert_allclose(shrunk[1], [50 * (90 + 75) / 200, 50 * (60 + 75) / 200])
    # nobody was 25-29 at the start, so nothing is known of 30-34: those of 25-29 stay as many.
    # Children for each person of 20-44: 50/100 and 50/150, together 100/250, K = 2 × 100
    assert_allclose(own[0], [50, 50])
    assert_allclose(pooled[0], [40, 60])
    assert_allclose(shrunk[0], [100 * (50 + 80) / 300, 150 * (50 + 80) / 350])


def test_own_ratios_are_held_within_four_times_the_pool():
    first = np.concatenate([ages_of(a0=10), ages_of(a0=990)], axis=1)
    last = np.concatenate([ages_of(a0=10, a5=100), ages_of(a0=990, a5=900)], axis=1)
    history = six_years(first, last)
    assert_allclose(after(hamilton_perry, history, 5)[1, 0], 40)
    free = hamilton_perry(history, [5], limit=None).to_numpy()[0]
    assert_allclose(free[1, 0], 100)


def test_births_of_the_cohort_component_come_from_the_whole_step():
    first, last = ages_of(a25=100, a30=100), ages_of(a0=30, a25=100, a30=100)
    f = simple.FERTILITY
    before, level = (f[25] + f[30]) * 100, 30 / ((f[25] + f[30]) * 100)
    history = six_years(first, last)
    then = np.array([100.0, 0.0])  # 25-29 → 30-34, all of them; nobody was 20-24
    got = after(simple.pooled_cohort_component, history, 5)
    assert_allclose(got[[6, 5], 0], then)
    assert_allclose(got[0, 0], level * (before + f[30] * 100) / 2)


def test_half_of_the_level_goes_on_below_65():
    first = np.full((17, 2), 100.0)
    last = np.full((17, 2), 100.0)
    last[:, 0], last[:, 1] = 120, 80
    history = six_years(first, last)
    # the pool stays as it is: 1, but for the open age of 100 from 200
    level = np.log(123 / 103)
    got = after(simple.pooled_half_level, history, 5)
    assert_allclose(got[1:13, 0], 120 * np.exp(level / 2))
    assert_allclose(got[13:16, 0], 120)
    assert_allclose(got[16, 0], 120)
    # the children of 25-44 (grown by the level, four ages) and 20-24, at the pool's 100/500
    assert_allclose(got[0, 0], 5 * 120 * np.exp(level / 2) * (200 / 1000) * np.exp(level / 2))


def test_gains_are_added_as_numbers():
    first = np.full((17, 2), 100.0)
    last = first.copy()
    last[1] = 120, 80
    history = six_years(first, last)
    whole = simple.additive(history, [5, 10]).to_numpy()
    half = RIVALS["additive_half"](history, [5, 10]).to_numpy()
    assert_allclose(whole[0, 1], [120, 80])
    assert_allclose(half[0, 1], [110, 90])
    assert_allclose(whole[1, 2], [120, 80])  # who was gained grows older with the others
    falls = first.copy()
    falls[1] = 5, 195
    falls[0] = 10, 190
    low = simple.additive(six_years(first, falls), [5]).to_numpy()[0]
    assert low[1, 0] == 0  # 10 × 1 - 95 would be below


def test_mean_of_simple_is_the_mean():
    history = six_years(np.full((17, 2), 100.0), np.linspace(80, 130, 34).reshape(17, 2))
    names = ("constant", "linear", "exponential", "constant_share", "hamilton_perry")
    members = [after(RIVALS[n], history, 5) for n in (*names, "pooled_cohort_component")]
    assert_allclose(after(simple.mean_of_simple, history, 5), np.mean(members, axis=0))


def test_single_years_use_every_transition_of_five_years():
    people = np.zeros((7, 101, 1))
    people[:, 0, 0] = [1e6, 100, 100, 100, 100, 100, 50]
    people[:, 1, 0] = [0, 0, 90, 80, 70, 60, 50]  # the first transition lies too far back
    got = after(hamilton_perry, stocks(people, np.arange(101)), 1)
    assert_allclose(got[1, 0], 50 * (90 + 80 + 70 + 60 + 50) / 500)


def test_a_horizon_between_steps_lies_on_the_geometric_line():
    first, last = ages_of(a0=100, a5=100, a50=10), ages_of(a0=80, a5=50, a10=30, a55=10)
    got = simple.hamilton_perry_pooled(six_years(first, last), [2, 5, 7, 10]).to_numpy()[..., 0]
    assert_allclose(got[[1, 3], 2], [50 * 0.3, 80 * 0.5 * 0.3])
    assert_allclose(got[0, 1], 50 * (40 / 50) ** 0.4)
    assert_allclose(got[2, 2], 15 * (12 / 15) ** 0.4)
    assert_allclose(got[0, [11, 12]], [10 * 0.6, 10 * 0.4])  # one end is empty: straight line


def test_a_history_shorter_than_an_age_steps_by_its_own_length():
    first = np.full((17, 1), 100.0)
    first[1] = 200
    last = first.copy()
    last[1] = 170  # of 0.8 × 200 + 0.2 × 100 = 180 by ageing alone
    history = stocks([first, last], FIVE)
    got = after(simple.hamilton_perry_pooled, history, 1)
    assert_allclose(got[1, 0], (0.8 * 170 + 0.2 * 100) * 170 / 180)
    assert_allclose(got[16, 0], (100 + 0.2 * 100) * 100 / 120)
    assert simple.hamilton_perry_pooled(history, [1, 2, 3]).notnull().all()


def test_settling_a_new_town_is_no_transition():
    old = np.full((17, 1), 100.0)
    new = np.zeros((17, 1))
    history = six_years(np.concatenate([old, new], axis=1), np.concatenate([old, 3 * old], axis=1))
    history[:-1, :, 1] = 0
    alone = history.isel(area=[0])
    for name, method in RIVALS.items():
        both = method(history, [5])
        if name != "constant_share":  # shares of a larger city
            assert_allclose(both.isel(area=[0]), method(alone, [5]), err_msg=name)
        assert_allclose(both.isel(area=1, horizon=0)[1:16], 300, err_msg=name)


def test_a_blank_area_is_blank_and_changes_nothing_else():
    rng = np.random.default_rng(1)
    people = rng.uniform(10, 100, (6, 17, 3))
    history = stocks(people, FIVE)
    blank = history.copy(deep=True)
    blank[5, 3, 2] = np.nan
    for name, method in RIVALS.items():
        got = method(blank, [5]).to_numpy()[0]
        assert np.isnan(got[:, 2]).any(), name
        assert_allclose(got[:, :2], method(history.isel(area=[0, 1]), [5])[0], err_msg=name)


def slow_hamilton_perry(people, step, shrink, horizon):
    """Twin in loops: stocks (time, age, area) one year apart, one transition of `step` each."""
    n_time, n_age, n_area = people.shape
    ends = [t for t in range(n_time) if t - step >= max(0, n_time - 6)]
    adults = range(20 // step, 45 // step)
    top, bottom = np.zeros((n_age, n_area)), np.zeros((n_age, n_area))
    for t in ends:
        for i in range(n_area):
            top[0, i] += people[t, 0, i]
            bottom[0, i] += sum(people[t, a, i] for a in adults)
            for x in range(1, n_age):
                top[x, i] += people[t, x, i]
                bottom[x, i] += people[t - step, x - 1, i]
            bottom[n_age - 1, i] += people[t - step, n_age - 1, i]
    now = people[-1].copy()
    for _ in range(horizon // step):
        then = np.zeros_like(now)
        for i in range(n_area):
            for x in [*range(1, n_age), 0]:
                k = 2 * shrink if x == 0 else shrink
                ratio = (top[x, i] + k * top[x].sum() / bottom[x].sum()) / (bottom[x, i] + k)
                base = sum(then[a, i] for a in adults) if x == 0 else now[x - 1, i]
                if x == n_age - 1:
                    base += now[x, i]
                then[x, i] = ratio * base
        now = then
    return now


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([1, 5]), st.integers(2, 4))
def test_shrunk_ratios_are_those_of_the_slow_twin(seed, step, areas):
    n_age = {1: 101, 5: 21}[step]
    people = np.random.default_rng(seed).uniform(1, 500, (7, n_age, areas))
    history = stocks(people, step * np.arange(n_age))
    got = hamilton_perry(history, [10], shrink=250).to_numpy()[0]
    assert_allclose(got, slow_hamilton_perry(people, step, 250, 10))


@st.composite
def histories(draw):
    width = draw(st.sampled_from([1, 5]))
    n_age, years = {1: 86, 5: 18}[width], draw(st.integers(2, 8))
    seed = draw(st.integers(0, 2**32))
    people = np.random.default_rng(seed).uniform(1, 300, (years, n_age, draw(st.integers(1, 4))))
    return stocks(people, width * np.arange(n_age))


@pytest.mark.parametrize("name", RIVALS)
@settings(max_examples=15)
@given(history=histories(), horizon=st.integers(1, 12))
def test_what_never_changed_stays(name, history, horizon):
    # one age structure, so that the pool's ratios are every area's
    one = history.isel(time=0, area=0)
    size = xr.DataArray(np.arange(1, history.sizes["area"] + 1.0), dims="area")
    still = (one * size).assign_coords(area=history["area"]).expand_dims(time=history["time"])
    still = still.transpose("time", "age", "area")
    got = RIVALS[name](still, [horizon])
    assert_allclose(got[0], still[-1], rtol=1e-9)


@pytest.mark.parametrize("name", RIVALS)
@settings(max_examples=15)
@given(history=histories(), horizon=st.integers(1, 12))
def test_the_order_of_areas_and_times_means_nothing(name, history, horizon):
    got = RIVALS[name](history, [horizon])
    turned = RIVALS[name](
        history.isel(area=slice(None, None, -1), time=slice(None, None, -1)), [horizon]
    )
    assert_allclose(turned.sel(area=got["area"]), got, rtol=1e-9)
    assert (got >= 0).all()


@pytest.mark.parametrize(
    "name", [n for n in RIVALS if "shrunk" not in n and n != "pooled_half_level"]
)
@settings(max_examples=15)
@given(history=histories(), factor=st.sampled_from([0.01, 7.0, 1000.0]))
def test_twice_the_people_give_twice_the_people(name, history, factor):
    assert_allclose(
        RIVALS[name](history * factor, [5]), factor * RIVALS[name](history, [5]), rtol=1e-9
    )


@settings(max_examples=15)
@given(history=histories())
def test_shrinking_lies_between_own_and_pooled(history):
    none = hamilton_perry(history, [1], limit=None)
    assert_allclose(hamilton_perry(history, [1], shrink=1e-9), none, rtol=1e-5)
    assert_allclose(
        hamilton_perry(history, [1], shrink=1e12),
        hamilton_perry(history, [1], shrink=np.inf),
        rtol=1e-5,
    )


def test_sexes_are_taken_together():
    history = stocks(np.full((6, 17, 1), 100.0), FIVE)
    both = history.expand_dims(sex=["female", "male"]).transpose("time", "sex", "age", "area")
    assert_allclose(simple.constant(both, [5]), 2 * simple.constant(history, [5]))


def test_what_is_refused():
    people = np.ones((3, 17, 1))
    days = instants(["2010-12-31", "2011-06-30", "2012-12-31"])
    uneven = stocks(people, FIVE).assign_coords(time=days)
    with pytest.raises(InputError, match=r"whole years before the last one.*1 of 3 times"):
        simple.constant(uneven, [1])
    with pytest.raises(InputError, match="one for each year"):
        simple.constant(stocks(people, FIVE, [2010, 2012, 2012]), [1])
    with pytest.raises(
        InputError, match=r"ages must start at 0 and be of one width.*first 0, 1, 5, 10"
    ):
        simple.constant(stocks(np.ones((3, 5, 1)), [0, 1, 5, 10, 15]), [1])
    with pytest.raises(InputError, match="two stocks must lie up to 1 years apart"):
        simple.additive(stocks(np.ones((2, 101, 1)), np.arange(101), [2007, 2012]), [1])
    assert (
        simple.constant(stocks(np.ones((2, 101, 1)), np.arange(101), [2007, 2012]), [1]).sum()
        == 101
    )

"""Splitting: what was counted stays, margins are met, and real waves come back."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj.cohort.raking import rake_ages, rake_sexes
from popproj.cohort.split import graduate, split, standard_population
from popproj.schema import SEXES, InputError, time_coordinate

SEEDS = st.integers(0, 2**32 - 1)


def true_city(seed=0, *, n_areas=12, n_wards=3, n_times=2, open_age=20, mean=3.0):
    """People ``(time, sex, age, area)`` of an invented city: whole, many zeros, own sex ratios."""
    rng = np.random.default_rng(seed)
    women = rng.uniform(0.3, 0.7, n_areas) + 0.2 * np.linspace(-1, 1, open_age + 1)[:, None]
    size = rng.gamma(1.0, mean, (open_age + 1, n_areas)) * rng.lognormal(0, 1, n_areas)
    people = rng.poisson(np.stack([size * women, size * (1 - women)]), (n_times, 2, *size.shape))
    areas = np.array([f"{i:03d}" for i in range(n_areas)], dtype=object)
    wards = np.array([f"w{i % n_wards}" for i in range(n_areas)], dtype=object)
    return xr.DataArray(
        people.astype(float),
        dims=("time", "sex", "age", "area"),
        coords={
            **time_coordinate([f"{2014 + t}-03-31" for t in range(n_times)]),
            "sex": list(SEXES),
            "age": np.arange(open_age + 1),
            "area": areas,
            "ward": ("area", wards),
        },
    )


def ward_table(truth):
    """The city's people by ward, as a table beside the register."""
    table = truth.groupby("ward").sum().rename(sex="sex_margin", age="age_margin")
    return table.rename(ward="ward_margin").transpose(
        "time", "sex_margin", "age_margin", "ward_margin"
    )


def both_sexes(truth, *, by_sex=True, wards=True):
    """What the source shows of the city: both sexes together."""
    shown = {"population": truth.sum("sex").expand_dims(sex=["total"], axis=1)}
    if by_sex:
        shown["population_by_sex"] = truth.sum("age").rename(sex="sex_margin")
    if wards:
        shown["ward_population"] = ward_table(truth)
    return xr.Dataset(shown, attrs={"open_age": truth.sizes["age"] - 1})


def in_groups(population, lower):
    """Ages summed into the groups with these lower bounds, the last one open."""
    lower = np.asarray(lower)
    age = population.get_axis_num("age")
    values = np.add.reduceat(population.to_numpy(), lower, axis=age)
    coords = {k: v for k, v in population.coords.items() if k not in ("age", "age_width")}
    coords |= {"age": lower, "age_width": ("age", np.append(np.diff(lower), 0))}
    return xr.DataArray(values, dims=population.dims, coords=coords)


def notes(dataset):
    return "\n".join(map(str, dataset.attrs["notes"]))


# ------------------------------------------------------------------------------------------ ages

WIDTHS = st.lists(st.integers(1, 10), min_size=1, max_size=12)


@given(WIDTHS, SEEDS)
def test_graduating_keeps_totals_and_never_falls_below_zero(widths, seed):
    edges = np.concatenate([[0], np.cumsum(widths)])
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, 100.0, (len(widths), 4))).astype(float)
    single = graduate(counts, edges)
    assert (single >= 0).all()
    np.testing.assert_allclose(np.add.reduceat(single, edges[:-1]), counts, rtol=1e-12, atol=1e-9)


@given(WIDTHS.filter(lambda w: len(w) > 1), st.floats(-1, 1))
def test_a_population_linear_in_age_is_reproduced(widths, tilt):
    edges = np.concatenate([[0], np.cumsum(widths)])
    age = np.arange(edges[-1])
    truth = 100 * (1 + 0.5 * tilt * (age / age.size - 0.5))
    np.testing.assert_allclose(graduate(np.add.reduceat(truth, edges[:-1]), edges), truth)


@given(SEEDS)
def test_the_spline_is_the_one_of_scipy_where_nothing_must_be_cut(seed):
    interpolate = pytest.importorskip("scipy.interpolate")
    edges = np.concatenate([[0, 1], np.arange(5, 90, 5)])
    counts = np.diff(edges) * np.random.default_rng(seed).uniform(90, 110, edges.size - 1)
    spline = interpolate.CubicSpline(edges, np.append(0, np.cumsum(counts)), bc_type="not-a-knot")
    want = np.diff(spline(np.arange(86)))
    np.testing.assert_allclose(graduate(counts, edges), want)


def test_a_steep_group_is_cut_not_swung_below_zero():
    counts, edges = np.array([100.0, 0.0, 100.0, 1.0, 0.0]), np.arange(0, 30, 5)
    single = graduate(counts, edges)
    assert (single[5:10] == 0).all()
    assert single.min() == 0.0


@given(SEEDS)
def test_raking_ages_meets_both_margins(seed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(4), (1, 5, 5, 3))
    truth = rng.poisson(rng.gamma(0.5, 20.0, (14, 6))).astype(float)
    totals = np.add.reduceat(truth, [0, 1, 6, 11])
    raked = rake_ages(rng.uniform(0.5, 2, truth.shape), group, totals, truth.sum(axis=1))
    np.testing.assert_allclose(np.add.reduceat(raked.table, [0, 1, 6, 11]), totals, rtol=1e-12)
    np.testing.assert_allclose(raked.table.sum(axis=1), truth.sum(axis=1), atol=1e-7)
    assert raked.age_miss < 1e-7


def test_raking_ages_from_a_seed_with_holes_still_keeps_the_totals():
    seed = np.array([[0.0, 1.0], [0.0, 1.0]])
    raked = rake_ages(seed, np.array([0, 0]), np.array([[6.0, 3.0]]), np.array([3.0, 6.0]))
    np.testing.assert_allclose(raked.table.sum(axis=0), [6, 3])
    np.testing.assert_allclose(raked.table.sum(axis=1), [3, 6])
    empty = rake_ages(seed, np.array([0, 0]), np.array([[6.0, 3.0]]), np.zeros(2))
    np.testing.assert_allclose(empty.table.sum(axis=0), [6, 3])


# ----------------------------------------------------------------------------------------- sexes


def fitted_in_turns(people, seed, women, women_at_age, turns=20_000):
    """Iterative proportional fitting as in the textbook, margin after margin."""
    table = np.stack([people * seed[:, None], people * (1 - seed[:, None])])
    by_area = np.stack([women, people.sum(axis=0) - women])
    by_age = np.stack([women_at_age, people.sum(axis=1) - women_at_age])
    for _ in range(turns):
        table = table * (by_area / table.sum(axis=1))[:, None, :]
        table = table * (by_age / table.sum(axis=2))[:, :, None]
        table = table * (people / table.sum(axis=0))
    return table[0]


def test_raking_sexes_is_iterative_proportional_fitting():
    rng = np.random.default_rng(3)
    people = rng.integers(5, 50, (8, 6)).astype(float)
    truth = rng.binomial(people.astype(int), rng.uniform(0.3, 0.7, (8, 6))).astype(float)
    seed, women, at_age = rng.uniform(0.3, 0.7, 8), truth.sum(axis=0), truth.sum(axis=1)
    want = fitted_in_turns(people, seed, women, at_age, 500)
    raked = rake_sexes(people, seed, women, at_age)
    np.testing.assert_allclose(raked.table, want, rtol=1e-8)
    assert raked.steps < 10


@given(SEEDS, st.floats(0.2, 20))
def test_raking_sexes_meets_the_margins_of_any_real_table(seed, mean):
    rng = np.random.default_rng(seed)
    n_ages, n_areas = rng.integers(1, 12, 2)
    people = rng.poisson(rng.gamma(0.5, 2 * mean, (n_ages, n_areas)))
    women = rng.binomial(people, rng.beta(0.5, 0.5, people.shape))
    raked = rake_sexes(
        people.astype(float),
        rng.uniform(0, 1, n_ages),
        women.sum(axis=0).astype(float),
        women.sum(axis=1).astype(float),
    )
    assert raked.area_miss < 1e-6
    assert raked.age_miss < 1e-6
    assert ((raked.table >= 0) & (raked.table <= people)).all()


def test_margins_that_leave_no_choice_are_met_exactly():
    people = np.array([[4.0, 3.0, 0.0], [5.0, 2.0, 1.0]])
    raked = rake_sexes(people, np.full(2, 0.5), np.array([9.0, 0.0, 1.0]), np.array([4.0, 6.0]))
    np.testing.assert_array_equal(raked.table, [[4, 0, 0], [5, 0, 1]])


def test_where_no_table_meets_both_margins_the_areas_keep_theirs():
    people = np.array([[10.0, 0.0], [2.0, 10.0]])
    women = np.array([9.0, 9.0])  # area 1 alone holds more women than age 1 may have
    raked = rake_sexes(people, np.full(2, 0.5), women, np.array([10.0, 8.0]))
    np.testing.assert_allclose(raked.table.sum(axis=0), women)
    assert raked.age_miss > 0.5


def test_what_is_not_known_is_left_to_the_standard():
    people = np.array([[10.0, 20.0], [30.0, 40.0]])
    nothing = np.full(2, np.nan)
    free = rake_sexes(people, np.array([0.4, 0.6]), nothing, nothing)
    np.testing.assert_allclose(free.table, people * [[0.4], [0.6]])
    one = rake_sexes(people, np.array([0.4, 0.6]), np.array([30.0, np.nan]), nothing)
    assert one.table[:, 0].sum() == pytest.approx(30)
    np.testing.assert_allclose(one.table[:, 1], people[:, 1] * [0.4, 0.6])


# ------------------------------------------------------------------------------ the whole register


@settings(max_examples=40)
@given(SEEDS, st.floats(0.3, 10))
def test_splitting_sexes_meets_every_margin_and_no_count_of_a_town_changes(seed, mean):
    truth = true_city(seed, mean=mean)
    done = split(both_sexes(truth))
    population = done["population"]
    assert population.dims == truth.dims
    np.testing.assert_array_equal(population.sum("sex"), truth.sum("sex"))
    assert float(population.min()) >= 0
    np.testing.assert_allclose(population.sum("age"), truth.sum("age"), atol=1e-6)
    np.testing.assert_allclose(ward_table(population), ward_table(truth), atol=1e-6)
    assert bool((done["split_mark"] == 1).all())
    assert "disagree" not in notes(done)


@settings(max_examples=40)
@given(SEEDS)
def test_splitting_ages_keeps_every_group_and_meets_the_ward(seed):
    truth = true_city(seed, open_age=24, mean=8.0)
    lower = [0, 5, 10, 15, 20]
    register = xr.Dataset(
        {"population": in_groups(truth, lower), "ward_population": ward_table(truth)},
        attrs={"open_age": 24},
    )
    done = split(register)
    again = in_groups(done["population"], lower)
    np.testing.assert_allclose(again, register["population"], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(ward_table(done["population"]), ward_table(truth), atol=1e-6)
    assert float(done["population"].min()) >= 0
    assert "age_width" not in done.coords
    assert bool((done["split_mark"] == 2).all())


@settings(max_examples=40)
@given(SEEDS)
def test_the_order_of_the_areas_is_irrelevant(seed):
    truth = true_city(seed, open_age=14)
    register = both_sexes(truth)
    groups = in_groups(register["population"], [0, 5, 10])
    register = register.drop_dims("age").assign(population=groups)
    turned = register.isel(area=np.random.default_rng(seed).permutation(truth.sizes["area"]))
    one, other = split(register)["population"], split(turned)["population"]
    np.testing.assert_allclose(one, other.sel(area=one["area"]), atol=1e-6)


def test_sexes_and_ages_at_once_are_marked_cell_by_cell():
    truth = true_city(open_age=12)
    register = both_sexes(truth)
    lower = [0, 1, 2, 3, 4, 5, 10, 12]
    register = (
        register.drop_vars("population")
        .drop_dims("age", errors="ignore")
        .assign(population=in_groups(both_sexes(truth)["population"], lower))
    )
    done = split(register)
    mark = done["split_mark"].isel(time=0, sex=1, area=3)
    np.testing.assert_array_equal(mark, [1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 1])
    assert done["split_mark"].dtype == np.int8
    np.testing.assert_allclose(done["population"].sum(["sex", "age"]), truth.sum(["sex", "age"]))
    np.testing.assert_allclose(ward_table(done["population"]), ward_table(truth), atol=1e-6)


def test_nothing_to_split_is_given_back_untouched():
    register = xr.Dataset({"population": true_city()}, attrs={"open_age": 20})
    assert split(register) is register


def test_blank_towns_stay_blank_and_zero_towns_zero():
    truth = true_city()
    register = both_sexes(truth)
    blank, zero = {"area": 2, "time": 1}, {"area": 3}
    register["population"][blank] = np.nan
    register["population_by_sex"][blank] = np.nan
    register["population"][zero] = 0.0
    register["population_by_sex"][zero] = 0.0
    population = split(register)["population"]
    assert bool(population.isel(blank).isnull().all())
    assert int(population.isnull().sum()) == 2 * 21
    assert bool((population.isel(zero) == 0).all())


def test_a_ward_table_that_disagrees_gives_its_shares_and_a_note():
    truth = true_city()
    register = both_sexes(truth)
    register["ward_population"] = register["ward_population"] * 1.5
    done = split(register)
    np.testing.assert_array_equal(done["population"].sum("sex"), truth.sum("sex"))
    np.testing.assert_allclose(done["population"].sum("age"), truth.sum("age"), atol=1e-6)
    np.testing.assert_allclose(ward_table(done["population"]), ward_table(truth), atol=1e-6)
    assert "wards' tables and the sums of their areas disagree by age" in notes(done)


def test_women_by_town_outweigh_women_by_ward():
    truth = true_city()
    register = both_sexes(truth)
    more = register["population_by_sex"] + xr.DataArray([3.0, -3.0], dims="sex_margin")
    more = more.clip(0, truth.sum(["sex", "age"]))
    register["population_by_sex"] = more
    done = split(register)
    np.testing.assert_allclose(done["population"].sum("age").sel(sex="female"), more[:, 0])
    assert "women by whom" in notes(done)


def test_without_a_table_of_the_day_the_nearest_one_lends_its_ratio():
    truth = true_city(n_times=3)
    register = both_sexes(truth, by_sex=False)
    register["ward_population"][{"time": 0}] = np.nan
    done = split(register)
    second = ward_table(truth).isel(time=1, ward_margin=0)
    ratio = (second.sel(sex_margin="female") / second.sum("sex_margin")).to_numpy()
    first = done["population"].isel(time=0, area=0)
    np.testing.assert_allclose(first.sel(sex="female"), ratio * first.sum("sex"))
    assert "ward tables missing on a day of count" in notes(done)


def test_areas_of_no_ward_take_the_pattern_of_all():
    truth = true_city()
    register = both_sexes(truth, by_sex=False)
    ward = register["ward"].to_numpy().copy()
    ward[5] = "elsewhere"
    register = register.assign_coords(ward=("area", ward))
    done = split(register)
    all_wards = truth.isel(time=0).sum("area")
    ratio = all_wards.sel(sex="female") / all_wards.sum("sex")
    area = done["population"].isel(time=0, area=5)
    np.testing.assert_allclose(area.sel(sex="female"), area.sum("sex") * ratio)
    assert "areas whose ward has no table" in notes(done)


def test_where_nobody_says_which_ward_an_area_is_in_the_city_is_one():
    truth = true_city()
    register = both_sexes(truth).drop_vars("ward")
    done = split(register)
    np.testing.assert_allclose(done["population"].sum("area"), truth.sum("area"), atol=1e-6)
    assert "ward all" in notes(done)


def test_without_any_table_a_standard_ratio_is_used_and_said():
    truth = true_city(mean=20)
    done = split(both_sexes(truth, wards=False))
    np.testing.assert_allclose(done["population"].sum("age"), truth.sum("age"), atol=1e-6)
    assert "a standard ratio by age" in notes(done)
    own = xr.DataArray(
        np.stack([np.full(21, 3.0), np.ones(21)]),
        dims=("sex", "age"),
        coords={"sex": list(SEXES), "age": np.arange(21)},
    )
    quarter = split(both_sexes(truth, wards=False, by_sex=False), standard=own)["population"]
    np.testing.assert_allclose(quarter.sel(sex="male"), truth.sum("sex") / 4)


def test_an_open_group_is_spread_as_a_stable_population():
    """The share of the oldest must come back for any growth rate of a stable population."""
    norm = standard_population()
    stable = norm * np.exp(-0.02 * norm["age"])
    truth = (1000 * stable).expand_dims(time=1, area=["a", "b"]).transpose(
        "time", "sex", "age", "area"
    )  # fmt: skip
    lower = np.arange(0, 90, 5)
    done = split(xr.Dataset({"population": in_groups(truth, lower)}, attrs={"open_age": 100}))
    np.testing.assert_allclose(
        done["population"].sel(age=slice(85, None)), truth.sel(age=slice(85, None)), rtol=1e-3
    )
    closed = slice(5, 80)
    np.testing.assert_allclose(done["population"].sel(age=closed), truth.sel(age=closed), rtol=0.01)


def test_ages_beyond_the_open_age_are_put_together():
    truth = true_city(open_age=30)
    register = xr.Dataset({"population": truth}, attrs={"open_age": 20})
    done = split(register)
    assert done["population"].sizes["age"] == 21
    np.testing.assert_allclose(
        done["population"].sel(age=20), truth.sel(age=slice(20, None)).sum("age")
    )
    assert bool((done["split_mark"] == 0).all())


def test_a_ward_table_in_groups_is_made_single_first():
    truth = true_city(open_age=19, mean=30)
    register = both_sexes(truth)
    wards = in_groups(ward_table(truth).rename(age_margin="age"), [0, 5, 10, 15])
    wards = wards.drop_vars("age_width").rename(age="age_margin")
    register = register.drop_dims("age_margin").assign(ward_population=wards)
    done = split(register)
    got = in_groups(ward_table(done["population"]).rename(age_margin="age"), [0, 5, 10, 15])
    np.testing.assert_allclose(got, wards, atol=1e-6)
    np.testing.assert_allclose(done["population"].sum("age"), truth.sum("age"), atol=1e-6)


def test_events_that_were_not_split_are_refused():
    register = both_sexes(true_city())
    register["deaths"] = register["population"].isel(time=0, drop=True).expand_dims(year=[2014])
    with pytest.raises(InputError, match=r"deaths: events must come by both sexes.*dims"):
        split(register)


def test_ages_that_cannot_be_used_are_refused():
    truth = true_city(open_age=24)
    groups = in_groups(truth, [0, 5, 10, 18])
    with pytest.raises(InputError, match=r"not lie across the open age 15, first 10-17"):
        split(xr.Dataset({"population": groups}, attrs={"open_age": 15}))
    gap = groups.isel(age=[0, 2, 3])
    with pytest.raises(InputError, match=r"from 0 without gaps.*lower bounds 0, 10, 18"):
        split(xr.Dataset({"population": gap}, attrs={"open_age": 24}))


def test_a_ward_table_without_sexes_is_refused():
    register = both_sexes(true_city(), by_sex=False)
    without = register["ward_population"].sum("sex_margin").expand_dims(sex_margin=["total"])
    register = register.drop_dims("sex_margin").assign(ward_population=without)
    with pytest.raises(InputError, match=r"sexes of a ward table.*'total'"):
        split(register)


# ------------------------------------------------------------------------------------------- Kobe

DATES = ["2013-03-31", "2014-03-31", "2015-03-31", "2016-03-31", "2017-03-31"]
AGES = [f"a{a}" for a in range(101)]


@pytest.fixture(scope="module")
def kobe(shared_data):
    """Kobe's towns as published (both sexes by age, sexes without age), and its wards."""
    towns = pd.read_csv(
        shared_data / "kobe" / "kobe_town_age1_2012-2017.csv.gz",
        dtype={"town_code": str, "ward_code": str},
    )
    towns = towns[towns["date"].isin(DATES)]
    wards = pd.read_csv(
        shared_data / "kobe" / "kobe_ward_sex_age1_2012-2017.csv.gz", dtype={"ward_cd": str}
    )
    parts = (wards["branch"] != "＊合計＊") & wards["sex"].isin(["男", "女"])
    wards = wards[wards["date"].isin(DATES) & parts]
    # some dates carry the month in place of the ward's code: the name tells the ward
    code = towns.drop_duplicates("ward_code").set_index("ward_branch")["ward_code"]
    keys = [
        wards["date"],
        wards["sex"].map({"女": SEXES[0], "男": SEXES[1]}).rename("sex_margin"),
        wards["ward"].map(code).rename("ward_margin"),
    ]
    by_ward = wards[AGES].groupby(keys).sum()
    by_ward.columns = pd.RangeIndex(101, name="age_margin")
    figures = towns[~towns["suppressed"].astype(bool)].set_index(["date", "town_code"])
    by_age, by_sex = figures[AGES], figures[list(SEXES)]
    by_age.columns = pd.RangeIndex(101, name="age")
    by_sex.columns.name = "sex_margin"
    register = xr.Dataset(
        {
            "population": by_age.stack().to_xarray().expand_dims(sex=["total"]),
            "population_by_sex": by_sex.stack().to_xarray(),
            "ward_population": by_ward.stack().to_xarray(),
        }
    ).rename(date="time", town_code="area")
    # the towns whose figures are withheld on every day
    codes = np.array(sorted(towns["town_code"].unique()), dtype=object)
    register = register.reindex(area=codes)
    ward = towns.drop_duplicates("town_code").set_index("town_code")["ward_code"]
    register = register.assign_coords(
        {
            **time_coordinate(DATES),
            "ward": ("area", ward.reindex(register["area"]).to_numpy(object)),
        }
    )
    register.attrs["open_age"] = 100
    return register.transpose(
        "time", "sex", "sex_margin", "age", "age_margin", "area", "ward_margin"
    )


def test_kobe_every_margin_of_3150_towns_is_met(kobe):
    done = split(kobe)
    population = done["population"]
    towns = kobe["population"].isel(sex=0)
    assert towns.notnull().any("age").sum("area").min() > 2800
    np.testing.assert_array_equal(population.sum("sex", skipna=False), towns)
    by_sex = kobe["population_by_sex"].transpose("time", "sex_margin", "area")
    np.testing.assert_allclose(population.sum("age", skipna=False), by_sex, atol=1e-6)
    np.testing.assert_allclose(ward_table(population), kobe["ward_population"], atol=1e-6, rtol=0)
    assert "disagree" not in notes(done)


@pytest.fixture(scope="module")
def kobe_in_fives(kobe):
    """One day of Kobe's towns in five-year ages to 85+, and the truth."""
    day = kobe.isel(time=[3])
    single = day["population"].isel(
        area=day["population"].notnull().all(["time", "sex", "age"]).to_numpy().nonzero()[0]
    )
    # people of both sexes together stand in for one sex: the ages are what is judged here
    truth = xr.concat([single.isel(sex=0)] * 2, xr.Variable("sex", list(SEXES))).transpose(
        *single.dims
    )
    return truth, in_groups(truth, np.arange(0, 90, 5))


def missed(population, truth, ages=slice(None)):
    """Share of people put into a wrong single year."""
    population, truth = population.sel(age=ages), truth.sel(age=ages)
    return float(abs(population - truth).sum() / truth.sum())


def test_kobe_the_waves_of_the_ward_beat_the_spline_and_the_spline_beats_equal_parts(kobe_in_fives):
    truth, groups = kobe_in_fives
    register = xr.Dataset({"population": groups}, attrs={"open_age": 100})
    plain = split(register)["population"]
    waves = split(register.assign(ward_population=ward_table(truth)))["population"]
    equal = in_groups(truth, [*range(0, 100, 5)]).sel(age=np.arange(100) // 5 * 5) / 5
    closed = slice(0, 84)
    equal = equal.assign_coords(age=np.arange(100))
    wards = {
        name: missed(p.groupby("ward").sum(), truth.groupby("ward").sum(), closed)
        for name, p in {"equal": equal, "spline": plain, "waves": waves}.items()
    }
    assert wards["waves"] < 1e-9
    assert wards["spline"] < 0.06 < wards["equal"] + 0.01
    towns = [missed(p, truth, closed) for p in (waves, plain, equal)]
    assert towns == sorted(towns)
    # the dent of those born in 1966, the year of the fiery horse, is 49 years old here
    dent = [float(p.sel(age=49).sum() / p.sel(age=[48, 50]).sum()) for p in (truth, waves, plain)]
    assert dent[1] == pytest.approx(dent[0])
    assert dent[0] < 0.45 < dent[2]


def test_kobe_the_oldest_come_near_what_was_counted(kobe_in_fives):
    truth, groups = kobe_in_fives
    population = split(xr.Dataset({"population": groups}, attrs={"open_age": 100}))["population"]
    got, want = (
        p.sum(["time", "sex", "area"]).sel(age=slice(85, None)) for p in (population, truth)
    )
    assert float(abs(got - want).sum() / want.sum()) < 0.12


def test_takamatsu_raking_finds_the_women_of_235_towns_by_age(shared_data):
    """Towns whose sexes are known by age: hidden, then split as if they were not."""
    towns = pd.read_csv(shared_data / "takamatsu" / "takamatsu_town_age5sex_2018-11_2022-12.csv.gz")
    towns = towns[towns["file"] == 201811]
    women, men = (
        towns[[f"{sex}{i}" for i in range(1, 19)]].to_numpy(float).T for sex in ("woman", "man")
    )
    people, share = women + men, women.sum(axis=1) / (women + men).sum(axis=1)
    raked = rake_sexes(people, share, women.sum(axis=0), women.sum(axis=1))
    assert raked.area_miss < 1e-9
    assert raked.age_miss < 1e-9

    def misplaced(table):
        return float(np.abs(table - women).sum() / women.sum())

    # tossing a coin for each person with the right odds would misplace 6.1 % of the women
    assert misplaced(raked.table) < 0.058 < misplaced(share[:, None] * people) < 0.061
    assert misplaced(people / 2) > 0.08

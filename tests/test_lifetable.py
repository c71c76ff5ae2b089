"""Life tables against the UN's own, a textbook's, and what must hold for any."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from popproj.cohort import lifetable as lt

RATES = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(3, 30)),
    elements=st.floats(1e-6, 1.9),
)


@pytest.fixture(scope="module")
def canada(shared_data):
    table = pd.read_csv(shared_data / "un_ccmpp" / "canada_life_table.csv.gz")
    return table.set_index(["year", "sex", "age"]).to_xarray()


def test_the_un_table_of_every_year_and_sex_comes_back_from_mx_and_ax(canada):
    table = lt.life_table(canada["mx"], ax=canada["ax"])
    assert canada.sizes == {"year": 70, "sex": 2, "age": 101}
    for column in ("lx", "Lx", "Sx"):
        np.testing.assert_allclose(table[column], canada[column], rtol=1e-9, err_msg=column)


def test_the_last_survival_ratio_of_the_un_holds_for_the_last_two_ages_together(canada):
    two = canada["Lx"].sel(age=[99, 100]).sum("age")
    np.testing.assert_allclose(canada["Sx"].sel(age=100), canada["Lx"].sel(age=100) / two)


def test_default_ax_moves_the_un_e0_by_little(canada):
    # the UN takes its a0 from another table of the same sort, and closes its table elsewhere
    e0 = lt.life_table(canada["mx"])["ex"].sel(age=0)
    assert float(abs(e0 - canada["Lx"].sum("age") / 100_000).max()) < 0.06


# Austria, males, 1992: Preston, Heuveline and Guillot (2001), box 3.1, p. 49
AGES = np.array([0, 1, *range(5, 90, 5)])
NNX = (47925, 189127, 234793, 238790, 254996, 326831, 355086, 324222, 269963, 261971, 238011,
       261612, 181385, 187962, 153832, 105169, 73694, 57512, 32248)  # fmt: skip
NDX = (419, 70, 36, 46, 249, 420, 403, 441, 508, 769, 1154, 1866, 2043, 3496, 4366, 4337, 5279,
       6460, 6146)  # fmt: skip
NAX = (0.068, 1.626, 2.5, 3.143, 2.724, 2.520, 2.481, 2.601, 2.701, 2.663, 2.698, 2.676, 2.645,
       2.624, 2.619, 2.593, 2.518, 2.423, 5.247)  # fmt: skip
LX = (100000, 99133, 98986, 98910, 98815, 98334, 97704, 97151, 96492, 95588, 94195, 91937, 88711,
      83845, 76377, 66225, 53803, 37441, 21134)  # fmt: skip
NLX = (99192, 396183, 494741, 494375, 492980, 490106, 487127, 484175, 480384, 474686, 465777,
       452188, 432096, 401480, 357713, 301224, 228404, 145182, 110889)  # fmt: skip


def test_the_textbook_table_with_ages_in_groups():
    m, width = np.array(NDX) / np.array(NNX), np.append(np.diff(AGES), 1)
    q = lt.mx_to_qx(m, NAX, width=width)
    survivors = lt.qx_to_lx(q)
    lived = lt.lx_to_Lx(survivors, NAX, width=width)
    above = lt.Lx_to_Tx(lived)
    np.testing.assert_allclose(survivors, LX, atol=0.51)  # printed to the person
    np.testing.assert_allclose(lived, NLX, atol=1.5)
    np.testing.assert_allclose(above[0], 7_288_901, atol=10)
    assert lt.Tx_to_ex(above, survivors)[0] == pytest.approx(72.889, abs=5e-4)
    np.testing.assert_allclose(lt.qx_to_mx(q, NAX, width=width), [*m[:-1], 1 / NAX[-1]])


def test_a0_joins_where_its_pieces_meet():
    for sex, breaks in (("female", (0.01724, 0.06891)), ("male", (0.02300, 0.08307))):
        for m0 in breaks:
            below, above = lt.m0_to_a0([m0 - 1e-9, m0 + 1e-9], sex)
            assert below == pytest.approx(above, abs=1.5e-4)


def test_a0_of_both_sexes_is_the_mean_of_theirs():
    m0 = np.array([0.002, 0.05, 0.2])
    both = (lt.m0_to_a0(m0, "female") + lt.m0_to_a0(m0, "male")) / 2
    np.testing.assert_array_equal(lt.m0_to_a0(m0, "total"), both)


@given(RATES)
def test_what_holds_for_every_life_table(mx):
    rates = xr.DataArray(mx, dims=("case", "age"))
    table = lt.life_table(rates, sex="female")
    q, survivors = table["qx"].values, table["lx"].values
    assert ((q >= 0) & (q <= 1)).all()
    assert (q[:, -1] == 1).all()
    assert (np.diff(survivors) <= 0).all()
    np.testing.assert_allclose(table["dx"].sum("age"), lt.RADIX)  # closed: everybody dies
    np.testing.assert_allclose(table["ex"][:, 0], table["Tx"][:, 0] / lt.RADIX)
    np.testing.assert_allclose(table["dx"] / table["Lx"], mx, rtol=1e-9)
    ratios = table["Sx"].values
    assert ((ratios >= 0) & (ratios <= 1)).all()
    # a stationary population survives into itself
    alive = np.concatenate([np.full((len(mx), 1), lt.RADIX), table["Lx"].values[:, :-1]], axis=1)
    alive[:, -1] += table["Lx"].values[:, -1]
    np.testing.assert_allclose(alive * ratios, table["Lx"])


@given(RATES)
def test_mx_and_qx_are_inverse(mx):
    a = lt.mx_to_ax(mx, "male")
    np.testing.assert_allclose(lt.qx_to_mx(lt.mx_to_qx(mx, a), a), mx, rtol=1e-9)


@given(RATES, st.integers(-2, 1))
def test_age_may_stand_on_any_axis(mx, axis):
    turned = np.moveaxis(mx, -1, axis)
    a = lt.mx_to_ax(turned, "female", axis=axis)
    survivors = lt.qx_to_lx(lt.mx_to_qx(turned, a, axis=axis), axis=axis)
    lived = lt.lx_to_Lx(survivors, a, axis=axis)
    want = lt.life_table(xr.DataArray(mx, dims=("case", "age")), sex="female")
    np.testing.assert_array_equal(np.moveaxis(lived, axis, -1), want["Lx"])
    np.testing.assert_array_equal(np.moveaxis(lt.Lx_to_Sx(lived, axis=axis), axis, -1), want["Sx"])


def test_sexes_take_their_own_rule_and_dims_keep_their_order():
    mx = xr.DataArray(
        np.full((2, 3, 4), 0.05),
        dims=("sex", "age", "district"),
        coords={"sex": ["female", "male"]},
    )
    table = lt.life_table(mx)
    assert table["ax"].dims == mx.dims
    np.testing.assert_allclose(table["ax"][:, 0, 0], [0.2407145, 0.1913305])
    assert table["Sx"].attrs["long_name"].endswith("age reached")


def test_nan_stays_where_it_is():
    mx = xr.DataArray([[0.01, 0.1, 0.4], [np.nan] * 3], dims=("case", "age"))
    table = lt.life_table(mx, sex="male")
    assert bool(table.isel(case=0).notnull().all().to_array().all())
    assert bool(table["ex"].isel(case=1).isnull().all())


def test_rates_too_high_to_live_through_end_the_table():
    table = lt.life_table([0.1, 4.0, 0.5], sex="male")
    assert table["lx"].values[2] == 0
    assert np.isnan(table["ex"].values[2])
    assert table["Sx"].values[2] == 0


@given(st.floats(-13, -9), st.floats(0.05, 0.14), st.integers(96, 111))
def test_kannisto_finds_its_own_law(a, b, given_ages):
    def law(x):
        return 1 / (1 + np.exp(-(a + b * x)))

    mx = law(np.arange(given_ages))
    long = lt.extend(mx, 115)
    np.testing.assert_allclose(long[:115], law(np.arange(115)), rtol=1e-7)
    # the open age holds everybody there, so that expectations of life are kept
    longer = lt.extend(mx, 125)
    short = lt.close(longer, 100)
    np.testing.assert_allclose(lt.extend(mx, 100), lt.close(lt.extend(mx, 130), 100), rtol=1e-12)
    e = [lt.life_table(r, sex="male")["ex"].values[90] for r in (short, longer)]
    assert e[0] == pytest.approx(e[1], rel=1e-12)


def test_kannisto_is_the_poisson_maximum():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(7)
    x, exposure = np.arange(80, 96), np.linspace(900, 60, 16)
    deaths = rng.poisson(exposure / (1 + np.exp(9.5 - 0.095 * x)))

    def loss(p):
        eta = p[0] + p[1] * (x - 87.5)
        mu = 1 / (1 + np.exp(-eta))
        return np.sum(exposure * mu - deaths * np.log(mu))

    best = optimize.minimize(loss, [-1.0, 0.1], method="Nelder-Mead",
                             options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000})  # fmt: skip
    want = 1 / (1 + np.exp(-(best.x[0] + best.x[1] * (105 - 87.5))))
    got = lt.kannisto(deaths / exposure, x, exposure, [105])[0]
    assert got == pytest.approx(want, rel=1e-6)


def test_kannisto_never_falls_with_age():
    falling = np.linspace(0.3, 0.1, 16)
    old = lt.kannisto(falling, np.arange(80, 96), np.ones(16), [90, 120])
    assert old[0] == old[1] == pytest.approx(falling.mean())


def test_extending_keeps_the_given_rates_and_the_labels():
    ages = np.arange(86)
    law = xr.DataArray(
        1 / (1 + np.exp(10 - 0.1 * ages)) * np.array([[1.0], [1.2]]),
        dims=("sex", "age"),
        coords={"sex": ["female", "male"], "age": ages},
    )
    long = lt.extend(law, 100, fit_ages=(65, 84), last_is_open=True)
    assert long.dims == ("sex", "age")
    assert long.sizes["age"] == 101
    xr.testing.assert_equal(long.isel(age=slice(85)), law.isel(age=slice(85)))
    assert bool((long.diff("age") > 0).all())
    turned = lt.extend(law.transpose("age", "sex"), 100, fit_ages=(65, 84), last_is_open=True)
    xr.testing.assert_equal(turned.transpose("sex", "age"), long)
    earlier = lt.extend(law, 100, fit_ages=(65, 84), first=80)
    assert not np.array_equal(earlier.sel(age=82), law.sel(age=82))


@given(st.floats(-0.02, 0.05), st.integers(1, 40))
def test_improvement_and_shift_are_inverse(rho, years):
    mx = xr.DataArray([0.001, 0.02, 0.4], dims="age")
    later = lt.shift(mx, years, rho)
    both = xr.concat([mx, later], xr.Variable("year", [2000, 2000 + years]))
    found = lt.improvement(both)
    np.testing.assert_allclose(found, rho, atol=1e-12)
    np.testing.assert_allclose(lt.shift(later, -years, found), mx, rtol=1e-12)


def test_a_labelled_array_of_years_gives_a_table_a_year():
    mx = xr.DataArray([0.01, 0.4], dims="age")
    years = xr.DataArray([0, 1, 2], dims="year", coords={"year": [2020, 2021, 2022]})
    shifted = lt.shift(mx, years, 0.1)
    np.testing.assert_allclose(shifted.sel(year=2022), [0.0081, 0.324])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.life_table([-0.1, 0.2], sex="male"), "mx must not be negative, and is -0.1"),
        (lambda: lt.life_table([0.1, 0.0], sex="male"), "rate of the open age must be positive"),
        (lambda: lt.life_table([0.1, 0.2]), "say sex="),
        (lambda: lt.life_table([0.1, 0.2], sex="men"), "'female', 'male' or 'total'.*'men'"),
        (lambda: lt.life_table(np.ones((2, 2)), sex="male"), "must be a DataArray"),
        (
            lambda: lt.life_table(xr.DataArray([0.1], dims="x"), sex="male"),
            "must have a dim 'age'",
        ),
        (
            lambda: lt.life_table(
                xr.DataArray([0.1, 0.2], dims="age", coords={"age": [0, 5]}), sex="male"
            ),
            "ages of mx must be 0, 1, 2",
        ),
        (lambda: lt.qx_to_mx([1.5, 1], [0.5, 2]), "qx must not exceed 1, and is 1.5"),
        (lambda: lt.extend(np.full(60, 0.1)), "two ages or more, and has 0"),
        (lambda: lt.extend(np.zeros(100)), "no deaths at ages 80 to 95"),
        (lambda: lt.extend(np.full(100, 0.1), 131), "open_age must not exceed 130"),
        (lambda: lt.close(np.full(10, 0.1), 10), "one of the ages 0 to 9, and is 10"),
        (lambda: lt.improvement(xr.DataArray([0.1], dims="age")), "two years or more"),
        (
            lambda: lt.improvement(
                xr.DataArray([[0.0], [0.1]], dims=("year", "age"), coords={"year": [1, 2]})
            ),
            "positive death rates",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

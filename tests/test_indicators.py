"""Age groups: what they hold, what they refuse."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from popproj import project
from popproj.indicators import (
    CONVENTIONAL,
    FIVE_YEAR,
    TOTAL,
    AgeGroup,
    age_groups,
    five_year,
    ledger,
)
from popproj.schema import InputError
from tests.test_projection import full_size_city


def people(open_age=100, shape=(3, 2), seed=1):
    rng = np.random.default_rng(seed)
    return xr.DataArray(
        rng.poisson(30, (shape[0], shape[1], open_age + 1, 4)).astype(float),
        dims=("time", "sex", "age", "district"),
        coords={"age": np.arange(open_age + 1), "sex": ["female", "male"]},
        name="population",
        attrs={"units": "people"},
    )


@pytest.mark.parametrize("text", ["0-5", "65+", "total", "17", "100+", "95-99"])
def test_a_group_reads_what_it_writes(text):
    assert str(AgeGroup.parse(text)) == text


@pytest.mark.parametrize("text", ["", "6-", "-6", "6–11", "old", "6-11-12", "1000+", "６-11x"])
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match=r"Write ages as 6-11, 65\+, 17 or total"):
        AgeGroup.parse(text)


def test_a_range_runs_upwards():
    with pytest.raises(InputError, match="runs upwards"):
        AgeGroup.parse("11-6")


@given(st.integers(0, 24).map(lambda n: 5 * n))
def test_five_year_groups_hold_everybody_once(open_age):
    data = people(open_age)
    groups = age_groups(data, five_year(open_age))
    xr.testing.assert_equal(groups.sum("age_group"), data.sum("age"))


def test_conventional_groups_are_the_sums_of_their_ages():
    data = people()
    groups = age_groups(data, CONVENTIONAL)
    assert groups.dims == ("time", "sex", "age_group", "district")
    assert groups.attrs == data.attrs
    assert groups.name == "population"
    for text, ages in {
        "0-5": range(6),
        "6-11": range(6, 12),
        "12-14": range(12, 15),
        "15-64": range(15, 65),
        "65+": range(65, 101),
        "75+": range(75, 101),
        "85+": range(85, 101),
    }.items():
        expected = data.sel(age=list(ages)).sum("age")
        np.testing.assert_array_equal(groups.sel(age_group=text), expected)
    assert len(FIVE_YEAR) == 21


def test_the_total_holds_all_ages_and_blanks_stay_blank():
    data = people()
    data[0, 0, 7, 2] = np.nan
    total = age_groups(data, [TOTAL, "0-5"])
    assert np.isnan(total.sel(age_group="total")[0, 0, 2])
    assert total.isnull().sum() == 1


def test_groups_cannot_cut_through_the_ages_of_the_data():
    with pytest.raises(InputError, match=r"2 of 3 groups do not, first 95-104.*… 100\+"):
        age_groups(people(), ["95-104", "0-4", "101+"])
    five = people().isel(age=slice(None, None, 5)).assign_coords(age=np.arange(0, 101, 5))
    np.testing.assert_array_equal(
        age_groups(five, ["0-9"]).squeeze("age_group"), five.sel(age=[0, 5]).sum("age")
    )
    with pytest.raises(InputError, match="first 6-11"):
        age_groups(five, ["6-11"])
    with pytest.raises(InputError, match="first 95-100"):
        age_groups(people(), ["95-100"])


def test_ledger_adds_up_and_names_its_days():
    start, rates = full_size_city()
    small = {"district": start["district"].to_numpy()[:5]}
    rates = rates.sel(small).sel(origin=small["district"])
    rates["destination_share"] /= rates["destination_share"].sum("district")
    future = project(start.sel(small), rates)
    for days in ((None, None), ("2021-03-31", "2023-03-31")):
        told = ledger(future, *days)
        change = (
            told["births"] - told["deaths"] + told["external"] + told["internal"]
            + told["adjustment"]
        )  # fmt: skip
        np.testing.assert_allclose(told["base"] + change, told["end"], rtol=1e-12)
        assert abs(told["internal"].sum()) < 1e-8
    assert told.attrs == {"start": "2021-03-31", "end": "2023-03-31"}
    with pytest.raises(InputError, match=r"a stock on each of two days in order"):
        ledger(future, "2023-03-31", "2021-03-31")
    with pytest.raises(InputError, match=r"Choose two of 2020-03-31 … 2025-03-31"):
        ledger(future, "1999-03-31")

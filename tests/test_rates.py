"""Rates: the replay, the books, and what pooling does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj import derive_rates, raw_rates, replay
from popproj.cohort import conventions
from popproj.cohort.books import complete_books
from popproj.config import Parameters
from popproj.schema import InputError, notes
from tests.registers import invented, registers, standard

FLOWS = (
    "deaths", "in_migrants", "out_migrants", "moves_in", "moves_out", "net_migrants", "adjustment",
    "births", "births_by_mother",
)  # fmt: skip


def worst_replay(books: xr.Dataset) -> float:
    """Largest difference of any replayed stock or flow from the books, over all years."""
    worst = 0.0
    for i, year in enumerate(books["year"].to_numpy()):
        again = replay(books, raw_rates(books, int(year)))
        gaps = [
            np.abs(
                again["population"].isel(time=1) - books["population"].isel(time=i + 1).to_numpy()
            ).max()
        ]
        for name in FLOWS:
            if name in books:
                told = again[name].isel(year=0).to_numpy() if name in again else 0.0
                gaps.append(np.abs(books[name].isel(year=i).to_numpy() - told).max())
        worst = max(worst, *(float(g) for g in gaps))
    return worst


@given(registers)
@settings(max_examples=60, deadline=None)
def test_replay_gives_back_every_stock_and_flow(register):
    assert worst_replay(complete_books(register)) < 1e-9


@given(registers, st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_replay_of_books_with_corrections(register, seed):
    """Events that do not close the books leave an adjustment, and the replay carries it."""
    rng = np.random.default_rng(seed)
    gap = rng.integers(0, 2, register["deaths"].shape)
    register["in_migrants"] = register["in_migrants"] + gap
    books = complete_books(register)
    np.testing.assert_allclose(books["adjustment"], -gap)
    assert worst_replay(books) < 1e-9


@given(registers)
@settings(max_examples=20, deadline=None)
def test_replay_from_stocks_alone(register):
    stocks = register[["population"]]
    books = complete_books(stocks, standard(register.sizes["age"]))
    assert "net_migrants" in books
    tiers = json.loads(books.attrs["tiers"])
    assert tiers.pop("stocks") == "counted by sex and single age"
    assert all(told.startswith("B") for told in tiers.values())
    assert worst_replay(books) < 1e-9


def test_replay_with_some_components_counted():
    """Births and deaths counted, migration from the stocks; and the other way round."""
    register = invented(5)
    both = register.drop_vars([v for v in register.variables if str(v).startswith("move")])
    vital = both.drop_vars(["in_migrants", "out_migrants"])
    books = complete_books(vital)
    tiers = json.loads(books.attrs["tiers"])
    assert tiers["mortality"].startswith("A")
    assert tiers["external migration"].startswith("B")
    assert worst_replay(books) < 1e-9
    external = both.drop_vars(["deaths", "births", "births_by_mother"])
    books = complete_books(external, standard(8))
    tiers = json.loads(books.attrs["tiers"])
    assert tiers["mortality"].startswith("B")
    assert tiers["external migration"].startswith("A")
    assert tiers["moves"].startswith("B")
    assert worst_replay(books) < 1e-9


@given(registers)
@settings(max_examples=20, deadline=None)
def test_pooled_rates_expect_the_events_they_came_from(register):
    """Σ rate × exposure = Σ events, wherever somebody was exposed."""
    city = derive_rates(register, Parameters(out_migration="city", moves="city", fertility="city"))
    for rate, events, exposure in (
        ("mx", "deaths", "exposure"),
        ("out_rate", "out_migrants", "exposure"),
        ("move_rate", "moves_out", "exposure"),
        ("asfr", "births_by_mother", "exposure_women"),
    ):
        seen = city[exposure].sum("district") > 0
        expected = (city[rate] * city[exposure]).sum("district").where(seen, 0)
        np.testing.assert_allclose(expected, city[events].sum("district").where(seen, 0), atol=1e-9)
    own = derive_rates(
        register,
        Parameters(out_migration="district", in_migration="district", fertility="district"),
    )
    exposed = own["exposure"] > 0
    np.testing.assert_allclose(
        own["out_rate"] * own["exposure"], own["out_migrants"].where(exposed, 0), atol=1e-9
    )
    np.testing.assert_allclose(own["in_count"], own["in_migrants"], atol=1e-9)
    born = (own["asfr"] * own["exposure_women"]).sum("age")
    seen = (own["exposure_women"].sum("district") > 0).any().item() and born.sum() > 0
    if seen:
        some = born > 0
        barren = (
            own["births_by_mother"].where(own["exposure_women"].sum("district") == 0, 0).sum("age")
        )
        np.testing.assert_allclose(
            born.where(some, 0),
            own["births_by_mother"].sum("age").where(some, 0),
            atol=float(barren.sum()) + 1e-9,
        )


def test_pooling_over_wards_and_the_city():
    register = invented(3, n_place=4, mean=40.0)
    rates = {
        level: derive_rates(register, Parameters(mortality=level))["mx"]
        for level in ("district", "ward", "city")
    }
    assert (rates["city"].std("district") < 1e-15).all()
    first, second = (
        rates["ward"].sel(district=["001", "003"]),
        rates["ward"].sel(district=["002", "004"]),
    )
    assert (first.std("district") < 1e-15).all()
    assert not np.allclose(first.isel(district=0), second.isel(district=0))
    assert (rates["district"].std("district") > 0).any()


def test_a_district_without_a_ward_pools_with_the_city():
    register = invented(3, n_place=4, mean=40.0)
    register["ward"] = "district", ["0", "0", "1", ""]
    ward = derive_rates(register, Parameters(mortality="ward"))["mx"]
    city = derive_rates(register, Parameters(mortality="city"))["mx"]
    np.testing.assert_allclose(ward.sel(district="004"), city.sel(district="004"))


def test_window_and_weights():
    register = invented(8, n_year=3, mean=40.0)
    one = derive_rates(register, Parameters(years=(2016,)))
    books = complete_books(register)
    np.testing.assert_allclose(one["deaths"], books["deaths"].sel(year=2016))
    twice = derive_rates(register, Parameters(years=(2016, 2017), year_weights={2017: 3.0}))
    np.testing.assert_allclose(
        twice["deaths"],
        0.25 * books["deaths"].sel(year=2016) + 0.75 * books["deaths"].sel(year=2017),
    )
    assert twice.attrs["years"] == [2016, 2017]
    left = derive_rates(register, Parameters(exclude_years=(2015, 2017)))
    np.testing.assert_allclose(left["mx"], one["mx"])
    told = notes(derive_rates(register, Parameters(years=(2016, 2031))))
    assert any("does not hold" in n.what and n.first == "2031" for n in told)
    with pytest.raises(InputError, match=r"at least one year, and none of \[2015, 2016, 2017\]"):
        derive_rates(register, Parameters(years=(2001,)))


def test_nothing_after_the_base_is_looked_at():
    register = invented(8, n_year=3, mean=40.0)
    early = register.isel(time=slice(0, 3), year=slice(0, 2))
    early = early.isel(move=np.flatnonzero(early["move_year"] < 2017))
    spoilt = register.copy(deep=True)
    spoilt["population"][3] = 1e6
    spoilt["deaths"][2] = 1e6
    then = derive_rates(spoilt, base="2017-03-31")
    xr.testing.assert_allclose(then, derive_rates(early))


def test_destinations_sum_to_one_for_every_origin_even_without_moves():
    register = invented(2, n_place=4, mean=1.0)
    keep = np.flatnonzero(register["move_origin"] != "002")
    rates = derive_rates(register.isel(move=keep))
    np.testing.assert_allclose(rates["destination_share"].sum("district"), 1.0)
    assert (np.diagonal(rates["destination_share"].to_numpy(), axis1=1, axis2=2) < 1e-9).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_rates_and_shares_are_inverse(seed):
    """Rates → shares → events → rates, with nobody unexposed."""
    rng = np.random.default_rng(seed)
    shape = (2, 6, 3)
    residents, arrivals, movers = (rng.uniform(1, 50, shape) for _ in range(3))
    m, o, v = (rng.uniform(0, 0.5, shape) for _ in range(3))
    k = rng.uniform(1, 1.5, shape)
    shares = conventions.shares_from_rates(conventions.Rates(m, o, v, k))
    deaths = (
        residents * shares.resident_deaths
        + arrivals * shares.arrival_deaths
        + movers * shares.mover_deaths
    )
    out = (
        residents * shares.resident_out + arrivals * shares.arrival_out + movers * shares.mover_out
    )
    moves = residents * shares.resident_moves + arrivals * shares.arrival_moves
    events = conventions.Events(residents, arrivals, movers, deaths, out, moves)
    rates, exposure = conventions.rates_from_events(events)
    np.testing.assert_allclose(rates.death, m, rtol=1e-9)
    np.testing.assert_allclose(rates.out, o, rtol=1e-9)
    np.testing.assert_allclose(rates.move * rates.move_repeat, v * k, rtol=1e-9)
    assert (exposure.may_move <= exposure.everybody).all()
    survival = rng.uniform(0.5, 1, (6, 3))
    back = conventions.survival_from_rate(conventions.rate_from_survival(survival))
    np.testing.assert_allclose(back, survival, rtol=1e-12)


def test_ward_events_scale_the_estimates():
    """Twice the deaths counted in a ward double the death rates of its districts."""
    stocks = invented(1, n_place=4, n_year=3, mean=200.0)[["population"]]
    table = standard(8)
    plain = complete_books(stocks, table)
    deaths = plain["deaths"].sum(["sex", "age"]).groupby("ward").sum()
    with_wards = stocks.assign_coords(ward_year=deaths["year"].to_numpy(), ward_margin=["0", "1"])
    with_wards["ward_deaths"] = ("ward_year", "ward_margin"), deaths.to_numpy() * [1.0, 2.0]
    with_wards["ward_deaths"].attrs["year_starts"] = "04-01"
    scaled = complete_books(with_wards, table, Parameters(mortality="ward"))
    factor = scaled["deaths"].sum(["year", "sex", "age"]) / plain["deaths"].sum(
        ["year", "sex", "age"]
    )
    np.testing.assert_allclose(factor, [1.0, 2.0, 1.0, 2.0])
    whole = complete_books(with_wards, table, Parameters(mortality="city"))
    assert np.ptp((whole["deaths"] / plain["deaths"]).to_numpy()) < 1e-9
    assert worst_replay(scaled) < 1e-9
    # a calendar year overlaps two of the register's years; the first is covered by three quarters
    with_wards["ward_deaths"].attrs["year_starts"] = "01-01"
    calendar = complete_books(with_wards, table, Parameters(mortality="ward"))
    factor = calendar["deaths"].sum(["year", "sex", "age"]) / plain["deaths"].sum(
        ["year", "sex", "age"]
    )
    np.testing.assert_allclose(factor / [1.0, 2.0, 1.0, 2.0], 1.0, atol=0.2)


def test_ward_births_scale_the_births():
    stocks = invented(1, n_place=4, n_year=2, mean=200.0)[["population"]]
    plain = complete_books(stocks, standard(8))
    births = plain["births"].sum("sex").groupby("ward").sum()
    with_wards = stocks.assign_coords(ward_year=births["year"].to_numpy(), ward_margin=["0", "1"])
    with_wards["ward_births"] = ("ward_year", "ward_margin"), births.to_numpy() * 1.1
    with_wards["ward_births"].attrs["year_starts"] = "04-01"
    scaled = complete_books(with_wards, standard(8))
    np.testing.assert_allclose(scaled["births"], plain["births"] * 1.1)
    # more births than children aged 0: some of them have left
    assert (scaled["net_migrants"].sel(age=0) <= 0).all()
    assert worst_replay(scaled) < 1e-9


@pytest.mark.parametrize("missing", ["mx", "asfr"])
def test_says_which_outside_schedule_is_needed(missing):
    stocks = invented(1)[["population"]]
    with pytest.raises(InputError, match=r"life table is needed|fertility schedule is needed"):
        complete_books(stocks, standard(8).drop_vars(missing))


def test_refuses_blank_cells():
    register = invented(1)
    register["population"][1, 0, 2, 1] = np.nan
    with pytest.raises(
        InputError, match=r"must have a number.*1 of .*sex female, age 2, district 002"
    ):
        complete_books(register)


def test_refuses_a_base_without_a_stock():
    with pytest.raises(InputError, match=r"no.*2030-03-31.*Choose one of 2015-03-31, 2016"):
        complete_books(invented(1), base="2030-03-31")

"""Borrowing strength: what is kept, what is pooled, and that the strength is found, not typed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj.cohort.shrinkage import STRONGEST, relative_risks, shrunk_profile, shrunk_rates

AGES = np.arange(12) // 3


def city(seed: int, spread: float, n_place: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events, exposure and true rates of districts whose levels differ."""
    rng = np.random.default_rng(seed)
    schedule = rng.uniform(0.01, 0.2, (2, 12, 1))
    exposure = rng.uniform(20, 400, (2, 12, n_place)) * rng.lognormal(0, 0.7, n_place)
    true = schedule * rng.lognormal(-(spread**2) / 2, spread, n_place)
    return rng.poisson(true * exposure).astype(float), exposure, true


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 0.8]))
@settings(max_examples=20)
def test_the_city_s_events_are_kept_and_nothing_is_negative(seed, spread):
    events, exposure, _ = city(seed, spread)
    wards = np.arange(30) % 4 - 1
    shrunk = shrunk_rates(events, exposure, wards, AGES)
    np.testing.assert_allclose((shrunk.rate * exposure).sum(axis=2), events.sum(axis=2))
    assert (shrunk.rate >= 0).all()
    assert (shrunk.error >= 0).all()
    assert np.isfinite(shrunk.error).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_order_of_districts_is_irrelevant(seed):
    events, exposure, _ = city(seed, 0.5)
    wards = np.arange(30) % 3
    turn = np.random.default_rng(seed).permutation(30)
    one = shrunk_rates(events, exposure, wards, AGES)
    two = shrunk_rates(events[..., turn], exposure[..., turn], wards[turn], AGES)
    np.testing.assert_allclose(two.rate, one.rate[..., turn], rtol=1e-6)


@pytest.mark.parametrize("spread", [0.15, 0.4, 0.8])
def test_finds_how_much_units_differ(spread):
    """κ is one over the variance of the true risks: found within what 400 units tell."""
    rng = np.random.default_rng(7)
    kappa = 1 / spread**2
    expected = rng.uniform(5, 300, 400)
    events = rng.poisson(rng.gamma(kappa, 1 / kappa, 400) * expected).astype(float)
    assert relative_risks(events, expected).strength == pytest.approx(kappa, rel=0.25)


def test_units_that_differ_by_chance_are_pooled():
    rng = np.random.default_rng(3)
    expected = rng.uniform(5, 300, 400)
    found = relative_risks(rng.poisson(expected).astype(float), expected)
    assert found.strength > 1000
    assert abs(found.mean - 1).max() < 0.15
    two = relative_risks(np.array([5.0, 900.0]), np.array([400.0, 400.0]))
    assert two.strength == STRONGEST  # two units say nothing about how units differ


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_nearer_the_truth_than_own_or_pooled_rates(spread):
    """Where districts do not differ at all, hardly worse than pooling, which then is right."""
    events, exposure, true = city(11, spread)
    shrunk = shrunk_rates(events, exposure, np.zeros(30, dtype=int), AGES).rate
    own = events / exposure
    pooled = np.broadcast_to(
        events.sum(axis=2, keepdims=True) / exposure.sum(axis=2, keepdims=True), own.shape
    )

    def error(rate: np.ndarray) -> float:
        return float(np.sqrt((((rate - true) ** 2) * exposure).sum() / exposure.sum()))

    assert error(shrunk) < error(own)
    assert error(shrunk) < error(pooled) * (1.2 if spread == 0 else 1)


def test_standard_errors_hold_the_truth():
    """Over many districts, two standard errors hold about 95 % of the true rates."""
    inside = []
    for seed in range(6):
        events, exposure, true = city(seed, 0.4)
        shrunk = shrunk_rates(events, exposure, np.zeros(30, dtype=int), AGES)
        inside.append(np.abs(shrunk.rate - true) < 1.96 * shrunk.error)
    assert 0.85 < np.mean(inside) < 0.995


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_profiles_keep_each_district_s_number(seed):
    counts = np.random.default_rng(seed).poisson(3.0, (2, 12, 9)).astype(float)
    counts[..., 0] = 0
    profile = shrunk_profile(counts, AGES)
    np.testing.assert_allclose(profile.sum(axis=(0, 1)), counts.sum(axis=(0, 1)))
    assert (profile >= 0).all()

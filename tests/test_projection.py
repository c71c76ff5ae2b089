"""The projection against its naive twin, the UN's own numbers, and what must always hold."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj import project
from popproj.publish.result import write_result
from popproj.scenarios import in_convention
from popproj.schema import InputError
from tests import naive
from tests.cities import SEXES, cities, jump_off

CHECK_BOOKS = Path(__file__).with_name("check_books.py")
FLOWS = (
    "deaths", "in_migrants", "out_migrants", "moves_in", "moves_out", "net_migrants", "adjustment",
)  # fmt: skip


def balanced(path: Path) -> bool:
    """Whether the independent script finds the books of a written file in balance."""
    spec = importlib.util.spec_from_file_location("check_books", CHECK_BOOKS)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return bool(script.main([str(path)]) == 0)


def aged(people: np.ndarray, births: np.ndarray) -> np.ndarray:
    """Opening cohorts by the age reached, ``(sex, age, place)``."""
    first = np.concatenate([births[:, None], people[:, :-1]], axis=1)
    first[:, -1] += people[:, -1]
    return first


def unlabelled(rates: xr.Dataset, year: int) -> dict[str, np.ndarray]:
    """One year of rates as the naive twin wants them."""
    sizes = {d: rates.sizes[d] for d in ("sex", "age", "district")}
    one = rates.isel(year=year)

    def get(name: str, default: float) -> np.ndarray:
        if name not in one:
            return np.full(tuple(sizes.values()), default)
        return one[name].transpose("sex", "age", "district").to_numpy()

    n = sizes["district"]
    if "destination_share" in one:
        destination = one["destination_share"].to_numpy()[one["move_group_of"].to_numpy()]
    else:
        destination = np.zeros((sizes["sex"], sizes["age"], n, n))
    srb = one["srb"].to_numpy()
    return {
        "death": get("mx", 0), "out": get("out_rate", 0), "move": get("move_rate", 0),
        "repeat": get("move_repeat", 1), "arrivals": get("in_count", 0),
        "net_count": get("net_count", 0), "net_rate": get("net_rate", 0),
        "fertility": one["asfr"].transpose("age", "district").to_numpy(),
        "male_share": srb / (1 + srb), "destination": destination,
    }  # fmt: skip


@given(cities(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_naive_twin(city, signed):
    start, rates = city
    if not signed:
        rates = rates.drop_vars(["net_count", "net_rate"])
    future = project(start, rates)
    people = start.to_numpy()
    for i in range(rates.sizes["year"]):
        twin = naive.one_year(people, unlabelled(rates, i))
        people = twin.pop("population")
        got = future["population"].isel(time=i + 1).to_numpy()
        np.testing.assert_allclose(got, people, rtol=1e-11, atol=1e-9)
        for name, values in twin.items():
            if name in future:
                np.testing.assert_allclose(
                    future[name].isel(year=i), values, rtol=1e-11, atol=1e-9, err_msg=name
                )
            else:
                assert not values.any()


@given(cities())
@settings(max_examples=40, deadline=None)
def test_books_balance_in_every_cell(city):
    start, rates = city
    future = project(start, rates)
    flows = {n: future[n].to_numpy() if n in future else 0.0 for n in FLOWS}
    people = future["population"].to_numpy()
    before = np.stack(
        [aged(p, b) for p, b in zip(people[:-1], future["births"].to_numpy(), strict=True)]
    )
    change = (
        flows["in_migrants"] - flows["deaths"] - flows["out_migrants"] + flows["moves_in"]
        - flows["moves_out"] + flows["net_migrants"] + flows["adjustment"]
    )  # fmt: skip
    scale = np.maximum(people[1:].sum(axis=(1, 2), keepdims=True), 1)
    assert np.abs((before + change - people[1:]) / scale).max() < 1e-9
    assert (people >= 0).all()
    assert (future["adjustment"] >= 0).all()
    born = future["births"].sum("sex")
    np.testing.assert_allclose(born, future["births_by_mother"].sum("age"), rtol=1e-12)
    if "moves_in" in future:
        np.testing.assert_allclose(
            future["moves_in"].sum("district"), future["moves_out"].sum("district"), rtol=1e-12
        )


@given(cities(max_districts=5))
@settings(max_examples=25, deadline=None)
def test_books_balance_in_the_written_file(city):
    """Held by a script that imports nothing of popproj and sees nothing but the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_result(project(*city), None, Path(folder) / "result.nc")
        assert balanced(path)


@given(cities(signed=False), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_affine_in_the_jump_off(city, factor):
    """P(b + f·x) − P(b) = f·(P(b + x) − P(b)); linear once nobody arrives from outside."""
    start, rates = city
    base = project(start, rates)["population"]
    more = project(start * 2, rates)["population"]
    scaled = project(start * (1 + factor), rates)["population"]
    np.testing.assert_allclose(scaled - base, factor * (more - base), rtol=1e-9, atol=1e-8)
    closed = rates.drop_vars("in_count")
    np.testing.assert_allclose(
        project(start * factor, closed)["population"],
        factor * project(start, closed)["population"],
        rtol=1e-9,
        atol=1e-9,
    )


@given(cities(max_districts=5))
@settings(max_examples=25, deadline=None)
def test_order_of_districts_is_irrelevant(city):
    start, rates = city
    backwards = {"district": start["district"].to_numpy()[::-1]}
    both = {**backwards, "origin": backwards["district"]} if "origin" in rates.dims else backwards
    turned = project(start.sel(backwards), rates.sel(both)).sel(
        district=start["district"].to_numpy()
    )
    straight = project(start, rates)
    for name in straight.data_vars:
        np.testing.assert_allclose(turned[name], straight[name], rtol=1e-10, atol=1e-9)


@given(cities(max_districts=5, moves=False, signed=False))
@settings(max_examples=25, deadline=None)
def test_equal_rates_make_districts_sum_to_one_city(city):
    start, rates = city
    first = rates.isel(district=[0])
    same = first.isel(district=0, drop=True).expand_dims(
        district=start["district"].to_numpy(), axis=-1
    )
    same["in_count"] = rates["in_count"]
    one = first.assign(
        in_count=rates["in_count"]
        .sum("district", keepdims=True)
        .assign_coords(district=first["district"])
    )
    whole = start.sum("district", keepdims=True).assign_coords(district=first["district"])
    apart = project(start, same.transpose(..., "district"))
    together = project(whole, one)
    for name in together.data_vars:
        np.testing.assert_allclose(
            apart[name].sum("district"), together[name].isel(district=0), rtol=1e-10, atol=1e-9
        )


def test_equal_rates_with_moves_make_districts_sum_to_one_city():
    """Movers die and leave like everybody else, so where they live makes no difference."""
    rng = np.random.default_rng(4)
    start = jump_off(rng.gamma(1.0, 30.0, (2, 20, 3)))
    coords = {"year": range(2020, 2025), **{d: start[d] for d in ("sex", "age", "district")}}
    shape = ("sex", "age", "district")
    schedule = rng.random((2, 20, 1)) * 0.2
    everywhere = np.repeat(schedule, 3, axis=2)
    fertile = np.repeat(np.where((np.arange(20) > 5)[:, None], 0.1, 0.0), 3, axis=1)
    still = xr.Dataset(
        {"asfr": (("age", "district"), fertile), "srb": ("district", np.full(3, 1.06))},
        coords=coords,
        attrs={"convention": "popproj"},
    )
    moving = still.assign_coords(move_group=[0], origin=start["district"].to_numpy())
    moving["move_rate"] = shape, everywhere
    moving["destination_share"] = (
        ("move_group", "origin", "district"),
        np.array([[[0, 0.5, 0.5], [0.2, 0, 0.8], [0.6, 0.4, 0]]]),
    )
    moving["move_group_of"] = ("sex", "age"), np.zeros((2, 20), dtype=int)
    moved, stayed = project(start, moving), project(start, still)
    assert (abs(moved["population"] - stayed["population"]).sum() > 100).item()
    np.testing.assert_allclose(
        moved["population"].sum("district"), stayed["population"].sum("district"), rtol=1e-12
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 120))
@settings(max_examples=20, deadline=None)
def test_pure_ageing(seed, years):
    people = np.random.default_rng(seed).integers(0, 100, (2, 101, 2)).astype(float)
    start = jump_off(people)
    nothing = xr.Dataset(
        coords={"year": 2020 + np.arange(years), **{d: start[d] for d in start.dims}},
        attrs={"convention": "popproj"},
    )
    last = project(start, nothing)["population"].isel(time=-1).to_numpy()
    k = min(years, 100)
    np.testing.assert_array_equal(last[:, k:100], people[:, : 100 - k])
    np.testing.assert_array_equal(last[:, 100], people[:, 100 - k :].sum(axis=1))
    assert not last[:, :k].any()


@given(cities())
@settings(max_examples=15, deadline=None)
def test_keeping_only_the_last_year_gives_the_same_people(city):
    start, rates = city
    last = project(start, rates, keep="last")
    full = project(start, rates)["population"].isel(time=[-1])
    assert last["population"].sizes["time"] == 1
    np.testing.assert_allclose(last["population"], full, rtol=1e-12, atol=1e-9)
    assert last["time"].item() == full["time"].item()


@given(cities())
@settings(max_examples=15, deadline=None)
def test_districts_are_scaled_to_a_control(city):
    """A control that the districts meet anyway changes nothing; any other is met, and balances."""
    start, rates = city
    free = project(start, rates)
    own = free["population"].isel(time=slice(1, None)).sum("district").rename(time="year")
    own = own.drop_vars(["time", "count_date"], errors="ignore").assign_coords(year=rates["year"])
    same = project(start, rates.assign(control=own))
    np.testing.assert_allclose(same["population"], free["population"], rtol=1e-10, atol=1e-9)
    wanted = own * xr.DataArray(
        np.linspace(0.5, 2.0, own.sizes["age"]), dims="age", coords={"age": own["age"]}
    )
    held = project(start, rates.assign(control=wanted.transpose("year", "sex", "age")))
    got = held["population"].isel(time=slice(1, None)).sum("district").to_numpy()
    there = got > 0
    np.testing.assert_allclose(got[there], wanted.to_numpy()[there], rtol=1e-10)
    with tempfile.TemporaryDirectory() as folder:
        path = write_result(held, None, Path(folder) / "result.nc")
        assert balanced(path)


# --- the United Nations' own single-year projection of Canada, 1950-2019 ---


@pytest.fixture(scope="module")
def canada(shared_data: Path):
    folder = shared_data / "un_ccmpp"
    base = pd.read_csv(folder / "canada_base_population.csv.gz").set_index("age")
    table = pd.read_csv(folder / "canada_life_table.csv.gz")
    asfr = pd.read_csv(folder / "canada_asfr.csv.gz").pivot(
        index="year", columns="age", values="asfr"
    )
    srb = pd.read_csv(folder / "canada_srb.csv.gz").set_index("year")["srb"]
    net = pd.read_csv(folder / "canada_net_migration.csv.gz").set_index(["year", "age"])[SEXES]
    years = np.asarray(srb.index)[np.isin(srb.index, table["year"].unique())]
    survival = table.pivot(index=["year", "sex"], columns="age", values="Sx")
    survival = np.stack([[survival.loc[(y, s)] for s in SEXES] for y in years])
    start = jump_off(base[SEXES].to_numpy().T[:, :, None])
    cell = ("year", "sex", "age", "district")
    rates = xr.Dataset(
        {
            "Sx": (cell, survival[..., None]),
            "asfr": (
                ("year", "age", "district"),
                asfr.reindex(index=years, columns=range(101), fill_value=0).to_numpy()[..., None],
            ),
            "srb": (("year", "district"), srb.loc[years].to_numpy()[:, None]),
            "net_count": (
                cell,
                np.stack([net.loc[y].to_numpy().T for y in years])[..., None],
            ),
        },
        coords={"year": years, **{d: start[d] for d in ("sex", "age", "district")}},
    )
    return folder, start, rates


def un_error(canada, convention: str, truth: str) -> dict[str, float]:
    """Largest relative difference from the UN's own result, over all cells and years."""
    folder, start, rates = canada
    future = project(start, rates.assign_attrs(convention=convention))
    un = pd.read_csv(folder / f"canada_un_result_{truth}.csv.gz")
    un = un[un["year"].isin(rates["year"].to_numpy())].set_index(["year", "age"])

    def cells(male: str, female: str) -> np.ndarray:
        return np.stack([un[name].unstack("age").to_numpy() for name in (female, male)], axis=1)

    people = future["population"].isel(time=slice(1, None), district=0).to_numpy()
    deaths = future["deaths"].isel(district=0).to_numpy()
    born = future["births_by_mother"].isel(district=0).to_numpy()
    theirs = un["births"].unstack("age").to_numpy()
    return {
        "population": np.max(np.abs(people / cells("pop_m_end", "pop_f_end") - 1)),
        "births": np.max(np.abs(born - theirs)[theirs > 0] / theirs[theirs > 0]),
        "births of the barren": born[theirs == 0].max(),
        "deaths": np.max(np.abs(deaths / cells("deaths_cohort_m", "deaths_cohort_f") - 1)),
        "all births": np.max(np.abs(born.sum(axis=1) / theirs.sum(axis=1) - 1)),
    }


@pytest.mark.parametrize("mode", ["end", "even"])
def test_reproduces_the_united_nations(canada, mode):
    error = un_error(canada, f"un_{mode}", mode)
    assert error["population"] < 1e-12
    assert error["births"] < 1e-12
    assert error["all births"] < 1e-12
    assert error["births of the barren"] == 0
    assert error["deaths"] < 1e-10


@pytest.mark.parametrize(("mode", "other"), [("end", "even"), ("even", "end")])
def test_the_wrong_migration_mode_misses_the_united_nations(canada, mode, other):
    assert un_error(canada, f"un_{mode}", other)["population"] > 1e-4


# --- reproducibility and speed-free sanity ---

_HASH = """
import hashlib, numpy as np, sys
sys.path.insert(0, {root!r})
from tests.test_projection import full_size_city
from popproj import project
future = project(*full_size_city())
parts = [np.ascontiguousarray(future[name]).tobytes() for name in sorted(future)]
print(hashlib.sha256(b"".join(parts)).hexdigest())
"""


def full_size_city() -> tuple[xr.DataArray, xr.Dataset]:
    """164 districts, 5 years, everything moving."""
    rng = np.random.default_rng(11)
    shape = (2, 101, 164)
    start = jump_off(rng.gamma(1.0, 40.0, shape))
    cell = ("sex", "age", "district")
    destination = rng.random((8, 164, 164))
    destination /= destination.sum(axis=2, keepdims=True)
    fertile = np.zeros((101, 164))
    fertile[15:50] = 0.04
    rates = xr.Dataset(
        {
            "mx": (cell, rng.random(shape) * 0.05),
            "out_rate": (cell, rng.random(shape) * 0.1),
            "move_rate": (cell, rng.random(shape) * 0.1),
            "in_count": (cell, rng.random(shape) * 4),
            "asfr": (("age", "district"), fertile),
            "destination_share": (("move_group", "origin", "district"), destination),
            "move_group_of": (("sex", "age"), np.tile(np.arange(101) // 13, (2, 1))),
        },
        coords={
            "year": range(2020, 2025),
            "move_group": range(8),
            "origin": start["district"].to_numpy(),
            **{d: start[d] for d in cell},
        },
        attrs={"convention": "popproj"},
    )
    return start, rates


@pytest.mark.size
def test_same_bits_on_one_and_two_threads():
    root = str(Path(__file__).parents[1])
    hashes = set()
    for threads in ("1", "2"):
        names = ("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", _HASH.format(root=root)],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout.strip())
    assert len(hashes) == 1


def test_same_bits_twice():
    start, rates = full_size_city()
    small = {"district": start["district"].to_numpy()[:12]}
    rates = rates.sel(small, drop=True).sel(origin=small["district"]).drop_vars("destination_share")
    one, two = (project(start.sel(small), rates) for _ in range(2))
    digests = [
        hashlib.sha256(b"".join(f[n].to_numpy().tobytes() for n in sorted(f))).hexdigest()
        for f in (one, two)
    ]
    assert digests[0] == digests[1]


# --- what it refuses ---


@pytest.fixture
def simple():
    start = jump_off(np.full((2, 5, 3), 10.0))
    rates = xr.Dataset(
        {"mx": (("sex", "age", "district"), np.full((2, 5, 3), 0.1))},
        coords={"year": [2020], **{d: start[d] for d in start.dims}},
        attrs={"convention": "popproj"},
    )
    return start, rates


def test_refuses_other_districts(simple):
    start, rates = simple
    with pytest.raises(InputError, match=r"district must be that of jump_off.*2 of 3 labels"):
        project(start, rates.assign_coords(district=["001", "002", "3"]))


def test_refuses_holes_and_negative_numbers_all_at_once(simple):
    start, rates = simple
    rates["mx"][0, 1, 2] = np.nan
    with pytest.raises(InputError, match=r"(?s)jump_off: every cell.*rates, mx.*sex female, age 1"):
        project(start - 11, rates)


def test_refuses_an_unknown_convention(simple):
    start, rates = simple
    with pytest.raises(InputError, match=r"convention.*must be one of popproj, un_end, un_even"):
        project(start, rates.assign_attrs(convention="mine"))


def test_refuses_shares_that_do_not_sum_to_one(simple):
    start, rates = simple
    rates = rates.assign_coords(move_group=[0], origin=start["district"].to_numpy())
    rates["destination_share"] = ("move_group", "origin", "district"), np.full((1, 3, 3), 0.5)
    rates["move_group_of"] = ("sex", "age"), np.zeros((2, 5), dtype=int)
    with pytest.raises(InputError, match="shares of an origin must sum to one; 3 of 3"):
        project(start, rates)


def test_refuses_rates_that_a_convention_would_pass_over(simple):
    start, rates = simple
    with pytest.raises(InputError, match=r"convention un_end has no use for mx"):
        project(start, rates.assign_attrs(convention="un_end"))
    with pytest.raises(InputError, match=r"convention un_even needs Sx"):
        project(start, rates.drop_vars("mx").assign_attrs(convention="un_even"))
    with pytest.raises(InputError, match=r"convention popproj has no use for Sx"):
        project(start, rates.rename(mx="Sx"))


def test_central_rates_said_as_survival_ratios_give_the_same_survivors(simple):
    start, rates = simple
    central = project(start, rates)
    said = in_convention(rates, "un_end")
    assert set(said) == {"Sx"}
    ratios = project(start, said)
    np.testing.assert_allclose(ratios["population"], central["population"], rtol=1e-12)
    rates["out_rate"] = rates["mx"]
    with pytest.raises(InputError, match=r"un_end takes net migration alone.*out_rate"):
        in_convention(rates, "un_end")

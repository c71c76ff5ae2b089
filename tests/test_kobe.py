"""The worked example on Kobe's open data, as its README runs it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from popproj import UNASSIGNED, derive_rates, load_city
from popproj.annual import Given, read
from popproj.cli import main
from popproj.indicators import life_expectancy, total_fertility
from tests.test_rates import worst_replay

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "kobe"


def script(name: str) -> ModuleType:
    """A script of the example, as a module."""
    spec = importlib.util.spec_from_file_location(f"kobe_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def prepared(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kobe")
    script("prepare").main([str(shared_data), str(folder)])
    return folder


@pytest.fixture(scope="module")
def kobe(prepared: Path) -> Given:
    return read(load_city(EXAMPLE, prepared))


@pytest.fixture(scope="module")
def result(prepared: Path) -> Path:
    out = prepared / "result"
    begin = time.perf_counter()
    main(["run", str(EXAMPLE), "--data", str(prepared), "-o", str(out)])
    print(f"the whole run: {time.perf_counter() - begin:.1f} s")
    return out


def test_stocks_are_the_published_ones(kobe: Given) -> None:
    """The city's own totals of 31 March, and the two per cent without a district in one row."""
    population = kobe.books["population"]
    totals = population.sum(["sex", "age", "district"]).to_numpy()
    np.testing.assert_allclose(totals[[0, -1]], [1_550_634, 1_541_080], rtol=0, atol=1e-6)
    assert [str(d)[:10] for d in population["count_date"].to_numpy()] == [
        f"{y}-03-31" for y in range(2013, 2018)
    ]
    assert population["district"].to_numpy()[-1] == UNASSIGNED
    share = population.isel(time=-1).sel(district=UNASSIGNED).sum() / totals[-1]
    assert 0.019 < float(share) < 0.021
    assert kobe.districts is not None
    assert UNASSIGNED not in kobe.districts.codes
    assert (kobe.register["split_mark"] == 1).any()


def test_every_year_replays(kobe: Given) -> None:
    assert worst_replay(kobe.books) < 1e-9


def test_rates_are_plausible(kobe: Given) -> None:
    """Beside the official tables for Japan (80.2/86.6 in 2013, 81.1/87.3 in 2017)."""
    rates = derive_rates(kobe.books, kobe.city.parameters)
    e0 = life_expectancy(rates)
    assert 79.8 < float(e0.sel(sex="male")) < 81.1
    assert 86.2 < float(e0.sel(sex="female")) < 87.3
    assert 1.25 < float(total_fertility(rates)) < 1.35
    tiers = json.loads(rates.attrs["tiers"])
    assert tiers["mortality"] == "B: outside life table, to the deaths of the ward"


def test_estimates_lie_beside_the_wards_own_counts(kobe: Given) -> None:
    """Births from the children aged 0, deaths from the national table: 2013 and 2014."""
    for name, within in (("births", 0.06), ("deaths", 0.04)):
        counted = kobe.books[f"ward_{name}"].sel(ward_year=[2013, 2014]).sum("ward_margin")
        estimated = kobe.books[f"ward_{name}_estimated"].sel(ward_year=[2013, 2014])
        gap = estimated.sum("ward_margin", skipna=False) / counted - 1
        assert (abs(gap) < within).all()
        assert (gap < 0).all()


def test_the_run_balances_and_lies_beside_the_institute(
    result: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = subprocess.run(
        [sys.executable, Path(__file__).with_name("check_books.py"), result / "result.nc"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    table = script("compare").main([str(shared_data), str(result)])
    print(capsys.readouterr().out)
    assert len(table) == 10
    assert abs(table["difference"].iloc[-1]) < 0.03
    with xr.open_dataset(result / "result.nc") as ds:
        people = ds["population"].sum(["sex", "district"]).load()
    old = people.sel(age=slice(65, None)).sum("age").to_pandas()
    assert old[pd.Timestamp("2044-04-01")] == pytest.approx(488_000, rel=0.03)
    assert 2041 <= old.idxmax().year <= 2047
    assert (result / "districts.gpkg").exists()

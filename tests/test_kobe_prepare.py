"""The Kobe example's rates: what they keep of their sources, and what they must come near."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "kobe" / "prepare.py"


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("kobe_prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rates(prepare, shared_data):
    return prepare.life_tables(shared_data, range(2013, 2021))


def test_both_sexes_together_die_at_the_rate_of_the_un(prepare, rates, shared_data):
    women = prepare.share_of_women(shared_data)
    closed = rates.sel(year=2020, age=slice(0, 99))
    together = women * closed.sel(sex="female") + (1 - women) * closed.sel(sex="male")
    np.testing.assert_allclose(together, prepare.both_sexes(shared_data).sel(year=2020))


def test_the_share_of_women_is_that_of_the_published_total(prepare, shared_data):
    women = prepare.share_of_women(shared_data)
    assert float(women.sel(age=0)) == pytest.approx(5561 / 11498)  # as printed in the workbook
    assert float(women.sel(age=99)) > 0.8


def test_e0_comes_near_the_published_values(prepare, rates):
    e0 = prepare.lifetable.life_table(rates)["ex"].sel(age=0)
    for year, official in prepare.OFFICIAL_E0.items():
        for sex, value in official.items():
            assert float(e0.sel(year=year, sex=sex)) == pytest.approx(value, abs=0.2)
    assert bool((e0.diff("year") > 0).all())


def test_rates_rise_smoothly_into_the_open_age(rates):
    old = rates.sel(age=slice(60, 100))
    assert bool((old.diff("age") > 0).all())
    assert bool((rates.sel(sex="male") > rates.sel(sex="female")).all())


def test_the_files_are_those_of_the_contract(prepare, shared_data, tmp_path, capsys):
    prepare.main([str(shared_data), str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "2013  80.31     80.2        +0.11  86.65     86.6        +0.05" in printed
    life = pd.read_csv(tmp_path / "out" / "life_table.csv", dtype={"age": str})
    assert list(life.columns) == ["year", "sex", "age", "mx", "source"]
    assert len(life) == 8 * 2 * 101
    assert set(life["age"]) == {*map(str, range(100)), "100+"}
    back = life["source"].str.contains("extrapolated back")
    assert set(life.loc[back, "year"]) == set(range(2013, 2020))
    births = pd.read_csv(tmp_path / "out" / "fertility.csv")
    assert births["asfr"].sum() == pytest.approx(1.3035, abs=1e-4)
    areas = pd.read_csv(tmp_path / "out" / "areas.csv", dtype=str)
    assert areas["area"].is_unique
    assert areas["district"].nunique() == 164
    assert areas.set_index("area").loc["101001001"].tolist() == [
        "魚崎北町１丁目", "28101", "東灘区", "K004", "福池小学校",
    ]  # fmt: skip
    assert bool(areas.notna().all(axis=None))

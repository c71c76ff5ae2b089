"""`popproj backtest`: from a tidy stock table to scores, as its users call it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from popproj import sample
from popproj.cohort.simple import RIVALS
from tests.test_cli import run


def stock_table(path: Path, n_area: int = 24, years: range = range(2005, 2021)) -> Path:
    """Invented areas whose cohorts survive, move by a level of their own, and bear."""
    rng = np.random.default_rng(5)
    ages = np.arange(91)
    survival = np.exp(-np.exp(-10.2 + 0.098 * ages))
    people = np.exp(-(((ages - 45) / 45.0) ** 2))[None, :] * rng.uniform(30, 160, (n_area, 1))
    level = rng.normal(0, 0.006, (n_area, 1))
    rows = []
    for year in years:
        for area in range(n_area):
            for age, count in enumerate(rng.poisson(people[area])):
                label = "90+" if age == 90 else str(age)
                rows.append((f"{year}-12-31", f"{area + 1:03d}", "total", label, count))
        older = people * survival * np.exp(level)
        people = np.concatenate([people[:, 25:38].sum(1, keepdims=True) * 0.05, older[:, :-1]], 1)
        people[:, -1] += older[:, -1]
    table = pd.DataFrame(rows, columns=["date", "area", "sex", "age", "count"])
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stock_table(tmp_path_factory.mktemp("stocks") / "stocks.csv")


def test_writes_a_list_of_scores_and_nothing_else(table, tmp_path, capsys):
    out = tmp_path / "scores.json"
    words = ("--launch", "2010", "2015", "--horizon", "3", "5", "--json", out)
    assert run("backtest", "--population", table, *words) == 0
    told = capsys.readouterr()
    assert "popproj" in told.out
    assert "MAPE" in told.out
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert isinstance(scores, list)
    keys = ["method", "launch", "horizon", "group", "mape", "medape", "p90", "malpe", "n"]
    assert all(list(row) == keys for row in scores)
    assert {row["method"] for row in scores} == {"popproj", *RIVALS}
    assert {(row["launch"], row["horizon"]) for row in scores} == {
        (2010, 3), (2010, 5), (2015, 3), (2015, 5),
    }  # fmt: skip
    own = [row for row in scores if row["method"] == "popproj" and row["group"] == "total"]
    constant = [r for r in scores if r["method"] == "constant" and r["group"] == "total"]
    assert np.mean([r["mape"] for r in own]) < np.mean([r["mape"] for r in constant])


def test_several_ways_to_write_several_numbers(table, tmp_path, capsys):
    results = []
    for words in (
        ("--launch", "2010", "2015", "--horizon", "3"),
        ("--launch", "2010,2015", "--horizon", "3"),
        ("--launch=2010", "--launch", "2015", "--horizon=3"),
    ):
        out = tmp_path / "scores.json"
        assert run("backtest", "--population", table, *words, "--json", out) == 0
        results.append(out.read_text(encoding="utf-8"))
    assert len(set(results)) == 1


def test_groups_are_those_asked_for_or_refused_by_name(table, capsys):
    words = ("backtest", "--population", table, "--launch", "2012", "--horizon", "5")
    assert run(*words, "--groups", "total,0-4,75+") == 0
    told = capsys.readouterr().out
    assert all(group in told for group in ("total", "0-4", "75+"))
    assert "65+" not in told
    assert run(*words, "--groups", "total,95+") == 1
    assert "95+" in capsys.readouterr().err


def test_a_launch_or_horizon_without_truth_is_told(table, tmp_path, capsys):
    out = tmp_path / "scores.json"
    words = ("backtest", "--population", table, "--json", out)
    assert run(*words, "--launch", "2018", "--horizon", "5") == 1
    assert re.search(r"2023-12-31.*horizon 5.*none", capsys.readouterr().err)
    assert run(*words, "--launch", "1990", "--horizon", "5") == 1
    assert "1990" in capsys.readouterr().err
    assert not out.exists()
    assert run("backtest", "--launch", "2010", "--horizon", "5") == 2


def test_nothing_after_the_launch_is_seen(table, tmp_path):
    """Everything after the launch but the truth itself is spoilt: every forecast stays the same."""
    frame = pd.read_csv(table, dtype=str)
    after = (frame["date"] > "2012-12-31") & (frame["date"] != "2017-12-31")
    frame.loc[after, "count"] = "999"
    frame.to_csv(tmp_path / "spoilt.csv", index=False)
    texts = []
    for path in (table, tmp_path / "spoilt.csv"):
        out = tmp_path / f"{path.stem}.json"
        words = ("--launch", "2012", "--horizon", "5", "--json", out)
        assert run("backtest", "--population", path, *words) == 0
        texts.append(out.read_text(encoding="utf-8"))
    assert texts[0] == texts[1]


def test_a_city_is_backtested_on_its_own_register(tmp_path, capsys):
    sample.write(sample.simulate(districts=8), tmp_path / "city")
    words = ("--launch", "2019", "--horizon", "5")
    assert run("backtest", tmp_path / "city", *words) == 0
    assert re.search(r"areas +8", capsys.readouterr().out)


@pytest.mark.size
def test_two_launches_and_horizons_on_160_areas_in_a_minute(tmp_path):
    path = stock_table(tmp_path / "stocks.csv", n_area=160, years=range(2000, 2021))
    begin = time.perf_counter()
    words = ("--launch", "2008", "2010", "--horizon", "5", "10")
    assert run("backtest", "--population", path, *words, "--json", tmp_path / "s.json") == 0
    taken = time.perf_counter() - begin
    print(f"{taken:.1f} s")
    assert taken < 60


def kobe_table(shared_data: Path, name: str, path: Path) -> Path:
    """A panel of the data folder as a tidy table."""
    wide = pd.read_parquet(shared_data / "kobe" / name)
    ages = [c for c in wide if str(c)[0].isdigit() or re.fullmatch(r"a\d+", str(c))]
    long = wide.melt(["district_id", "year"], ages, "age", "count")
    long["age"] = long["age"].str.removeprefix("a").replace("100", "100+")
    long["date"] = long["year"].astype(str) + "-12-31"
    long = long.assign(sex="total").rename(columns={"district_id": "area"})
    long[["date", "area", "sex", "age", "count"]].to_csv(path, index=False)
    return path


def test_kobe_beats_the_rivals_of_the_literature(shared_data, tmp_path, capsys):
    """2012 to 2017, five-year ages: no plain method of others is nearer in any group."""
    path = kobe_table(shared_data, "kobe_district_age5_2001_2017.parquet", tmp_path / "kobe.csv")
    out = tmp_path / "s.json"
    words = ("--launch", "2012", "--horizon", "5", "--json", out)
    assert run("backtest", "--population", path, *words) == 0
    print(capsys.readouterr().out)
    scores = pd.DataFrame(json.loads(out.read_text(encoding="utf-8")))
    wide = scores.pivot(index="method", columns="group", values="mape")
    known = [m for m in wide.index if m.startswith(("hamilton", "pooled", "constant", "linear"))]
    for group in ("total", "5-14", "65+", "75+"):
        assert wide.loc["popproj", group] < 1.01 * wide.loc[known, group].min(), group

"""A city that publishes the open-data standard alone: five-year ages to 85+, by sex and town."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from popproj import load_city
from popproj.annual import run

PREPARE = Path(__file__).resolve().parent.parent / "examples" / "kobe" / "prepare.py"
CITY = """
name = "高松市"
[population]
file = "{table}"
layout = "region_age"
dates = ["2018-12-01", "2019-12-01", "2020-12-01", "2021-12-01", "2022-12-01"]
[life_table]
file = "life_table.csv"
[fertility]
file = "fertility.csv"
[rates]
net_migration = "city"
"""


def test_runs_end_to_end_from_five_year_ages(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "takamatsu" / "takamatsu_town_age5sex_2018-11_2022-12.csv.gz"
    spec = importlib.util.spec_from_file_location("prepare", PREPARE)
    assert spec is not None
    assert spec.loader is not None
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    rates = prepare.life_tables(shared_data, range(2018, 2021))
    prepare.life_table_file(rates).to_csv(tmp_path / "life_table.csv", index=False)
    prepare.fertility_file(shared_data).to_csv(tmp_path / "fertility.csv", index=False)
    (tmp_path / "city.toml").write_text(CITY.format(table=table.as_posix()), encoding="utf-8")
    done = run(load_city(tmp_path), horizon=20)
    people = done.projection["population"].sum("district")
    assert float(people.isel(time=4).sum()) == 422_571
    assert done.projection.attrs["base_date"] == "2022-12-01"
    assert json.loads(done.projection.attrs["tiers"])["stocks"] == "C: single ages split"
    assert (done.projection["split_mark"] == 2).all()
    # the published groups are kept: 85+ as the sum of its single ages
    oldest = done.given.register["population"].sel(age=slice(85, None)).sum(["sex", "age"])
    assert np.allclose(oldest, np.round(oldest), atol=1e-6)
    assert people["age"].to_numpy()[-1] == 100
    assert float(people.isel(time=-1).sum()) == pytest.approx(375_000, rel=0.03)

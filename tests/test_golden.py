"""One end-to-end result, frozen: any change of a number must be meant, and told in the CHANGELOG.

After a meant change: ``python tests/test_golden.py`` writes the file anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from popproj import load_city, run, sample
from popproj.indicators import age_groups, life_expectancy, total_fertility

GOLDEN = Path(__file__).with_name("golden.json")


def result(folder: Path) -> dict[str, object]:
    """A small sample city, 30 years: people, flows and rates of the city and of one district."""
    sample.write(sample.simulate(districts=6), folder)
    done = run(load_city(folder))
    future = done.projection
    people = age_groups(future["population"], ["total", "0-5", "6-11", "65+", "85+"]).sum("sex")
    people = people.isel(time=slice(0, None, 10))
    first = str(future["district"].to_numpy()[0])
    flows = ("births", "deaths", "in_migrants", "out_migrants", "moves_in", "adjustment")
    e0 = life_expectancy(done.rates)
    return {
        "dates": [str(d)[:10] for d in people["count_date"].to_numpy()],
        "city": people.sum("district").transpose("age_group", "time").to_numpy().tolist(),
        "district": people.sel(district=first).transpose("age_group", "time").to_numpy().tolist(),
        "flows": {name: float(future[name].isel(year=-1).sum(skipna=False)) for name in flows},
        "tfr": float(total_fertility(done.rates)),
        "e0": e0.to_numpy().tolist(),
    }


def flat(value: object) -> list[float]:
    if isinstance(value, dict):
        return [x for v in value.values() for x in flat(v)]
    if isinstance(value, list):
        return [x for v in value for x in flat(v)]
    return [value]  # type: ignore[list-item]


def test_numbers_have_not_moved(tmp_path):
    frozen = json.loads(GOLDEN.read_text(encoding="utf-8"))
    now = result(tmp_path)
    assert now.keys() == frozen.keys()
    assert now.pop("dates") == frozen.pop("dates")
    for key in frozen:
        assert flat(now[key]) == pytest.approx(flat(frozen[key]), rel=1e-9, abs=1e-9), key


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        text = json.dumps(result(Path(place)), indent=1)
    GOLDEN.write_text(text + "\n", encoding="utf-8")

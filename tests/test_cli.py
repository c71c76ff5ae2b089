"""The command line as a planner meets it: whole runs, exit codes, faults in plain words."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from popproj import annual, sample
from popproj.cli import main
from popproj.indicators import age_groups

ROOT = Path(__file__).resolve().parent.parent


def run(*words: object) -> int:
    """Exit code of a command."""
    try:
        main([str(w) for w in words])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample city's files."""
    folder = tmp_path_factory.mktemp("city")
    sample.write(sample.simulate(districts=8), folder)
    return folder


@pytest.fixture(scope="module")
def done(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of that city."""
    out = tmp_path_factory.mktemp("out")
    assert run("run", city, "-o", out, "--horizon", "12") == 0
    return out


@pytest.fixture
def broken(city: Path, tmp_path: Path) -> Path:
    """A copy of the city's files to break."""
    return Path(shutil.copytree(city, tmp_path / "broken"))


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_demo_writes_everything_and_says_what_next(tmp_path, capsys, monkeypatch):
    no_network(monkeypatch)
    assert run("demo", tmp_path / "demo") == 0
    told = capsys.readouterr()
    assert "reading the register" in told.err
    for name in ("result.nc", "districts.gpkg", "age_groups.csv", "components.csv"):
        assert (tmp_path / "demo" / name).stat().st_size > 1000
        assert name in told.out
    assert "Next: open" in told.out
    assert re.search(r"Rates of 2014–2023: TFR 1\.\d\d, e0 8\d\.\d \(female\)", told.out)
    checked = subprocess.run(
        [sys.executable, ROOT / "tests" / "check_books.py", tmp_path / "demo" / "result.nc"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.size
def test_demo_takes_less_than_a_minute_from_cold(tmp_path):
    """A new process that has to compile everything."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "popproj", "demo", tmp_path / "demo"],
        check=True,
        capture_output=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
    )
    taken = time.perf_counter() - begin
    print(f"demo, compiling included: {taken:.1f} s")
    assert taken < 60


@pytest.mark.size
def test_runs_where_nothing_can_be_kept(tmp_path):
    """Installed read-only and without a home: the compiler's cache has no place."""
    package = shutil.copytree(ROOT / "popproj", tmp_path / "site" / "popproj")
    for cache in package.rglob("__pycache__"):
        shutil.rmtree(cache)
    nowhere = tmp_path / "file"
    nowhere.write_text("a file, where a folder would be needed")
    code = (
        "import numba.core.caching as c\n"
        "for l in c.CacheImpl._locator_classes: l.from_function = classmethod(lambda *a: None)\n"
        "import popproj.cohort.kernel as k, numpy as np\n"
        "assert 'site' in k.__file__\n"
        "print('compiled')"
    )
    told = subprocess.run(
        [sys.executable, "-B", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path / "site",
        env={**os.environ, "HOME": str(nowhere), "PYTHONPATH": str(tmp_path / "site")},
    )
    assert told.stdout.strip() == "compiled"


def test_check_says_what_was_understood(city, capsys):
    assert run("check", city / "city.toml") == 0
    told = capsys.readouterr().out
    assert "mortality: A: counted deaths" in told
    assert "gross adjustment" in told
    assert "What was interpreted" in told
    assert "Nothing is wrong" in told


def test_rates_are_written(city, tmp_path, capsys):
    assert run("rates", city, "-o", tmp_path / "rates.nc") == 0
    assert "TFR" in capsys.readouterr().out
    with xr.open_dataset(tmp_path / "rates.nc") as rates:
        assert {"mx", "asfr", "out_rate", "in_count", "move_rate", "exposure"} <= set(rates)
        assert rates["mx"].attrs["units"] == "1/person-year" or rates["mx"].attrs["units"]


def test_the_result_holds_past_and_future_and_where_it_comes_from(done, city):
    with xr.open_dataset(done / "result.nc") as result:
        assert result.sizes["time"] == 11 + 12
        assert result.sizes["year"] == 10 + 12
        assert result.attrs["base_date"] == "2024-03-31"
        assert result.attrs["base_year"] == 2024
        assert "population.csv" in result.attrs["inputs_sha256"]
        assert '"name": "' in result.attrs["city_toml"]
        assert result.attrs["popproj_version"]
        assert (result["split_mark"] == 0).all()
        base = result["population"].sel(time="2024-04-01")
        given = pd.read_csv(city / "population.csv", encoding="utf-8-sig")
        last = given[given["date"] == "2024-03-31"].drop(columns=["date", "area", "sex"])
        assert float(base.sum()) == last.to_numpy().sum()


def test_the_tables_agree_with_the_result(done):
    with xr.open_dataset(done / "result.nc") as result:
        people = age_groups(result["population"], ["6-11"]).sum("sex").isel(age_group=0).load()
        dates = pd.DatetimeIndex(result["count_date"].to_numpy()).strftime("%Y-%m-%d")
    table = pd.read_csv(done / "age_groups.csv", encoding="utf-8-sig", dtype={"code": str})
    rows = table[
        (table["level"] == "district")
        & (table["age_group"] == "age 6-11")
        & (table["sex"] == "total")
    ]
    wide = rows.pivot(index="date", columns="code", values="population")
    got = wide.loc[dates, people["district"].to_numpy()].to_numpy()
    np.testing.assert_allclose(got, people.transpose("time", "district"), atol=1e-6)
    assert set(rows.loc[rows["date"] > "2024-03-31", "status"]) == {"projected"}
    assert set(rows.loc[rows["date"] <= "2024-03-31", "status"]) == {"observed"}


def test_the_same_run_gives_the_same_bits(city, done, tmp_path):
    assert run("run", city, "-o", tmp_path, "--horizon", "12") == 0
    with xr.open_dataset(done / "result.nc") as one, xr.open_dataset(tmp_path / "result.nc") as two:
        for name in one.data_vars:
            assert one[name].to_numpy().tobytes() == two[name].to_numpy().tobytes(), name


def test_init_writes_a_city_file_that_explains_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("init", "--lang", "en") == 0
    assert "[population]" in (tmp_path / "city.toml").read_text(encoding="utf-8")
    assert run("init") == 2
    assert "is there already" in capsys.readouterr().err
    assert run("init", "--from") == 2


def test_init_from_files_and_check_them(city, tmp_path, monkeypatch, capsys):
    """What is guessed from the files leads to the same stocks, once the two gaps are filled in."""
    here = shutil.copytree(city, tmp_path / "own")
    (here / "city.toml").unlink()
    monkeypatch.chdir(here)
    names = ("population.csv", "events.csv", "areas.csv", "districts.geojson")
    assert run("init", "--from", *names) == 0
    text = (here / "city.toml").read_text(encoding="utf-8")
    filled = re.sub(r"^#(\[\[events|file|encoding|year_starts|age_at)", r"\1", text, flags=re.M)
    filled = filled.replace('age_at = "event"', 'age_at = "year_end"')
    (here / "city.toml").write_text(filled, encoding="utf-8")
    capsys.readouterr()
    assert run("check", here) == 0, capsys.readouterr().err
    assert "A: counted moves" in capsys.readouterr().out


# --- exit codes ---


def test_usage_is_exit_code_2(capsys):
    assert run("run", "nowhere") == 2
    assert run("fly") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_exit_code_3_and_shows_its_traceback_only_when_asked(city, capsys, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(annual, "read", fail)
    assert run("check", city) == 3
    told = capsys.readouterr().err
    assert "popproj has a bug (ZeroDivisionError: a bug)" in told
    assert "Traceback" not in told
    assert run("--debug", "check", city) == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_scenario_is_exit_code_1(city, tmp_path, capsys):
    assert run("run", city, "-o", tmp_path, "--scenario", "boom") == 1
    assert re.search(r"scenario must be one of .*'boom'", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


# --- faults: each breaks one thing of a city that was fine ---


def edit(path: Path, change) -> None:
    """Rewrite a CSV through a function of its lines."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8-sig")


def without_column(name: str):
    def change(lines):
        at = lines[0].split(",").index(name)
        return [",".join(c for i, c in enumerate(line.split(",")) if i != at) for line in lines]

    return change


def replaced(row: int, column: str, value: str):
    def change(lines):
        at = lines[0].split(",").index(column)
        cells = lines[row].split(",")
        cells[at] = value
        return [*lines[:row], ",".join(cells), *lines[row + 1 :]]

    return change


FAULTS = {
    "missing column": (
        "population.csv", without_column("date"),
        r"population\.csv: the table must have a column date.*and has none.*columns = \{ date",
    ),
    "negative count": (
        "population.csv", replaced(3, "7", "-2"),
        r"population\.csv: .*0 or more; 1 of [\d,]+ .* first at row 4, column 7: .*-2",
    ),
    "not a number": (
        "population.csv", replaced(3, "7", "many"),
        r"population\.csv: .*number.*; 1 of [\d,]+ .* first at row 4, column 7: .*many",
    ),
    "duplicate rows": (
        "population.csv", lambda lines: [*lines, lines[5]],
        r"population\.csv: .*once.*; 2 of [\d,]+ rows do not, first at row 6, .*repeated rows",
    ),
    "unknown area in events": (
        "events.csv", replaced(2, "area", "999999999"),
        r"events\.csv: .*area.*; 1 of [\d,]+ .*999999999",
    ),
    "impossible year": (
        "events.csv", replaced(2, "year", "20x4"),
        r"events\.csv: year must be a year.*; 1 of [\d,]+ .*first at row 3, column year: .*20x4",
    ),
    "unknown district": (
        "areas.csv", replaced(400, "district", "777"),
        r"777",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_four_parts_and_nothing_is_written(fault, broken, tmp_path, capsys):
    name, change, message = FAULTS[fault]
    if fault == "unknown district":
        change = replaced(2, "district", "777")
    edit(broken / name, change)
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.nc").write_bytes(b"last year's")
    assert run("run", broken, "-o", out) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "bug" not in told
    assert re.search(message, told, flags=re.S), told
    assert (out / "result.nc").read_bytes() == b"last year's"
    assert [p.name for p in out.iterdir()] == ["result.nc"]


def test_a_wrong_encoding_is_told(broken, capsys):
    text = (broken / "city.toml").read_text(encoding="utf-8")
    changed = re.sub(r'(file = "areas\.csv")', r'\1\nencoding = "cp932"', text)
    assert changed != text
    (broken / "city.toml").write_text(changed, encoding="utf-8")
    assert run("check", broken) == 1
    assert re.search(r"areas\.csv: .*cp932.*encoding", capsys.readouterr().err, flags=re.S)


def test_an_unreadable_file_is_told(broken, capsys):
    (broken / "population.csv").write_bytes(b"PK\x03\x04 no workbook at all")
    assert run("check", broken) == 1
    told = capsys.readouterr().err
    assert re.search(r"population\.csv: ", told)
    assert "Traceback" not in told


def test_a_blank_town_is_not_an_empty_one(broken, capsys):
    def blank(lines):
        rows = (line.split(",") for line in lines[1:3])  # women and men of the first town
        return [lines[0], *(",".join(r[:3] + [""] * (len(r) - 3)) for r in rows), *lines[3:]]

    edit(broken / "population.csv", blank)
    assert run("check", broken, "--notes", "0") == 0
    assert re.search(r"withheld.*not taken for empty \[1\]", capsys.readouterr().out)


def test_faults_of_a_city_file_come_all_at_once(broken, capsys):
    (broken / "city.toml").write_text('nam = "x"\n[population]\nfile = "a.csv"\n', encoding="utf-8")
    assert run("check", broken) == 1
    told = capsys.readouterr().err
    assert "nam" in told
    assert "a.csv" in told

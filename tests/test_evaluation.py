"""Backtests: scores worked out by hand, nothing later than the launch, and Kobe's known figures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from popproj import evaluation
from popproj.cohort.simple import RIVALS
from popproj.config import City
from popproj.evaluation import backtest, difference, districts, rows, scores, text_table, to_json
from popproj.readers.stocks import read_stocks
from popproj.schema import SEXES, InputError, time_coordinate

YEARS = range(2006, 2018)
CONSTANT = {"constant": RIVALS["constant"]}


def register(people, dates=None, ages=None, sexes=SEXES):
    """Stocks (time, sex, age, area) as the readers give them."""
    people = np.asarray(people, dtype=float)
    dates = [f"{y}-12-31" for y in YEARS] if dates is None else dates
    ages = np.arange(people.shape[2]) if ages is None else ages
    stocks = xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people)},
        coords={
            **time_coordinate(dates),
            "sex": list(sexes),
            "age": ages,
            "area": [f"{i:03}" for i in range(people.shape[3])],
        },
        attrs={"notes": ("the latest names hold",)},
    )
    if np.diff(stocks["age"])[0] > 1:
        stocks = stocks.assign_coords(age_width=("age", np.append(np.diff(stocks["age"]), 0)))
    return stocks


def totals(counts, **named):
    """Areas of which only the number of people is told: all of one sex aged 30."""
    counts = np.asarray(counts, dtype=float)
    people = np.zeros((len(counts), 1, 81, counts.shape[1]))
    people[:, 0, 30] = counts
    return register(people, sexes=("total",), **named)


def random_register(seed=0, areas=12, years=YEARS):
    rng = np.random.default_rng(seed)
    people = rng.uniform(50, 150, (len(years), 2, 17, areas))
    return register(people, [f"{y}-03-31" for y in years], np.arange(0, 85, 5))


def only(table, **labels):
    for name, label in labels.items():
        table = table[table[name] == label]
    (row,) = table.to_dict("records")
    return row


def test_scores_by_hand():
    counts = np.ones((12, 4)) * [1000, 2000, 1000, 4000]
    counts[YEARS.index(2017)] = [1250, 1600, 1000, 5000]
    table = scores(backtest(totals(counts), [2012], [5], ["total"], CONSTANT))
    row = only(table, method="constant", launch=2012, horizon=5, group="total")
    # errors -20, +25, 0, -20 per cent
    assert_allclose(row["mape"], 65 / 4)
    assert_allclose(row["medape"], 20)
    assert_allclose(row["p90"], 20 + 0.7 * 5)
    assert_allclose(row["malpe"], -15 / 4)
    assert_allclose(row["wape"], 100 * (250 + 400 + 0 + 1000) / 8850)
    assert row["n"] == 4


def test_scores_by_size_are_those_of_the_areas_by_themselves():
    counts = np.ones((12, 4)) * [1999, 2000, 9999, 10000]
    counts[-1] = [2500, 1600, 10000, 8000]
    table = scores(backtest(totals(counts), [2012], [5], ["total"], CONSTANT), by_size=True)
    errors = {"under 2,000": 20.04, "2,000-4,999": 25, "5,000-9,999": 0.01, "10,000 and more": 25}
    assert_allclose(table.set_index("size")["mape"], pd.Series(errors))
    assert (table["n"] == 1).all()


def test_no_later_fact_enters():
    """A fact planted after the launch moves no forecast, and no method can see one."""
    honest, planted = random_register(), random_register()
    later = planted["time"] > np.datetime64("2012-04-01")
    planted["population"] = planted["population"].where(~later, planted["population"] * 3)
    planted["population"][-1, :, 0] *= 7
    seen = []

    def nosy(history, horizons):
        seen.append(history)
        assert history["time"].max() == np.datetime64("2012-04-01", "ns")
        assert history["count_date"].max() == np.datetime64("2012-03-31", "ns")
        assert history.to_numpy().base is None  # nor a view of more
        assert not history.attrs
        return RIVALS["linear"](history, horizons)

    methods = {**RIVALS, "nosy": nosy}
    forecasts = [
        backtest(s, [2012], [1, 5], methods=methods)["forecast"] for s in (honest, planted)
    ]
    assert len(seen) == 2
    xr.testing.assert_identical(*forecasts)
    assert_allclose(forecasts[0].sel({"method": "nosy"}), forecasts[0].sel({"method": "linear"}))


def test_the_planted_fact_is_caught_where_it_leaks():
    """The check above has teeth: handed the future, a method that uses it would pass as perfect."""
    stocks = random_register()

    def oracle(history, horizons):
        newest = history.isel(time=-1).sum("sex")
        return newest.expand_dims(horizon=list(horizons))

    def cheat(history, horizons):
        return oracle(stocks["population"], horizons)

    table = scores(backtest(stocks, [2012], [5], methods={"oracle": oracle, "cheat": cheat}))
    assert (table[table["method"] == "cheat"]["mape"] == 0).all()
    assert (table[table["method"] == "oracle"]["mape"] > 1).all()


def test_a_method_cannot_change_what_the_next_one_sees():
    def vandal(history, horizons):
        history[:] = 1e9
        return RIVALS["constant"](history, horizons)

    stocks = random_register()
    before = stocks.copy(deep=True)
    result = backtest(stocks, [2012], [5], methods={"vandal": vandal, **CONSTANT})
    alone = backtest(stocks, [2012], [5], methods=CONSTANT)
    xr.testing.assert_identical(stocks, before)
    assert_allclose(result["forecast"].sel({"method": "constant"}), alone["forecast"][0])


def test_an_area_that_comes_later_is_not_known_at_the_launch():
    stocks = random_register()
    stocks["population"][:8, ..., 3] = 0  # empty until 2014
    known = []

    def spy(history, horizons):
        known.append(list(history["area"].to_numpy()))
        return RIVALS["constant"](history, horizons)

    result = backtest(stocks, [2010], [5], methods={"spy": spy})
    assert known == [[a for a in stocks["area"].to_numpy() if a != "003"]]
    (note,) = result.attrs["notes"]
    assert "had people at one of launch and target only" in note.what
    assert (note.count, note.first) == (1, "003")
    assert (scores(result)["n"] == 11).all()


def test_launch_and_target_are_found_by_the_calendar():
    dates = ["2010-03-31", "2011-03-31", "2012-03-29", "2012-03-31", "2012-09-30", "2013-04-02"]
    counts = np.arange(1.0, 7)[:, None] * 1000
    seen = []

    def spy(history, horizons):
        seen.append(history["count_date"].to_numpy().astype("datetime64[D]").astype(str).tolist())
        return RIVALS["constant"](history, horizons)

    result = backtest(totals(counts, dates=dates), [2011], [1, 2], ["total"], {"spy": spy})
    assert seen == [["2010-03-31", "2011-03-31"]]
    assert_allclose(result["observed"].squeeze(), [4000, 6000])  # the nearer of two; two days off
    with pytest.raises(InputError, match="launch 2012-09-30 needs an earlier count"):
        backtest(totals(counts, dates=dates), [2012], [1], ["total"], CONSTANT)


def test_small_areas_and_groups_are_left_out_and_said():
    people = np.full((12, 2, 17, 4), 100.0)
    people[:, :, :, 1] = 10  # 340 people
    people[-1, :, 0, 2] = 14.5  # 29 children at the target
    people[-1, 0, 0, 3] = np.nan
    result = backtest(register(people, ages=np.arange(0, 85, 5)), [2012], [5], methods=CONSTANT)
    n = scores(result).set_index("group")["n"]
    assert n.to_dict() == {"total": 2, "5-14": 2, "0-4": 1, "65+": 2, "75+": 2}
    told = [str(note) for note in result.attrs["notes"]]
    where = "launch 2012, target 2017-12-31: "
    assert told == [
        f"{where}areas without figures at launch or target were left out [1] (first: 003)",
        f"{where}areas under 500 people at launch or target were left out [1] (first: 001)",
        f"{where}groups under 30 people at the target were left out [1] (first: 0-4 of 002)",
    ]
    wider = backtest(
        register(people, ages=np.arange(0, 85, 5)),
        [2012],
        [5],
        methods=CONSTANT,
        min_population=300,
    )
    assert scores(wider).set_index("group")["n"]["total"] == 3


def test_the_default_groups_are_those_on_the_ages_of_the_data():
    names = ["total", "0-5", "6-11", "12-14", "5-14", "0-4", "65+", "75+"]
    single = register(np.full((12, 2, 101, 2), 50.0))
    assert list(backtest(single, [2012], [1], methods=CONSTANT)["group"].to_numpy()) == names
    five = register(np.full((12, 2, 15, 2), 50.0), ages=np.arange(0, 75, 5))
    wanted = ["total", "5-14", "0-4", "65+"]
    assert list(backtest(five, [2012], [1], methods=CONSTANT)["group"].to_numpy()) == wanted
    with pytest.raises(InputError, match=r"begin and end where ages.*1 of 2 groups.*first 6-11"):
        backtest(five, [2012], [1], ["total", "6-11"], CONSTANT)


def test_what_is_refused():
    stocks = totals(np.full((12, 2), 1000.0))
    with pytest.raises(InputError) as error:
        backtest(stocks, [2005, 2006, 2016], [1, 5], ["total"], CONSTANT)
    told = str(error.value).splitlines()
    assert len(told) == 3
    assert "launch 2005 must have a count date in that calendar year, and has none" in told[0]
    assert "The table has counts from 2006-12-31 to 2017-12-31" in told[0]
    assert "launch 2006-12-31 needs an earlier count on the same day of a year" in told[1]
    assert "launch 2016-12-31 needs a count within 3 days of 2021-12-31, horizon 5" in told[2]
    with pytest.raises(InputError, match="horizons of a year or more"):
        backtest(stocks, [2012], [0], ["total"], CONSTANT)

    def silent(history, horizons):
        return RIVALS["constant"](history, horizons).isel(area=[0])

    def odd(history, horizons):
        return RIVALS["constant"](history, horizons).expand_dims(draw=2)

    with pytest.raises(InputError, match=r"method silent.*a number for every area.*total of 001"):
        backtest(stocks, [2012], [5], ["total"], {"silent": silent})
    with pytest.raises(InputError, match="method odd: a forecast must have the dims"):
        backtest(stocks, [2012], [5], ["total"], {"odd": odd})
    result = backtest(stocks, [2012], [5], ["total"], CONSTANT)
    with pytest.raises(InputError, match=r"'popproj' must be one of its methods.*It has constant"):
        difference(result, "popproj")


def test_a_method_may_say_single_years_of_both_sexes():
    stocks = random_register()

    def single(history, horizons):
        fine = history.isel(time=-1).to_numpy()  # (sex, age, area)
        split = np.concatenate([np.repeat(fine[:, :-1] / 5, 5, axis=1), fine[:, -1:]], axis=1)
        labels = {
            "horizon": list(horizons),
            "age": np.arange(81),
            "area": history["area"].to_numpy(),
        }
        dims = ("horizon", "sex", "age", "area")
        return xr.DataArray(np.repeat(split[None], len(horizons), axis=0), labels, dims)

    result = backtest(stocks, [2012], [1, 5], methods={"single": single, **CONSTANT})
    assert_allclose(result["forecast"][0], result["forecast"][1])


def test_rows_and_json_are_the_list_and_nothing_else():
    result = backtest(random_register(), [2010, 2012], [1, 5])
    got = json.loads(to_json(rows(result)))
    assert len(got) == len(RIVALS) * 2 * 2 * 5
    keys = ["method", "launch", "horizon", "group", "mape", "medape", "p90", "malpe", "n"]
    assert all(list(row) == keys for row in got)
    assert {(r["launch"], r["horizon"]) for r in got} == {
        (a, b) for a in (2010, 2012) for b in (1, 5)
    }
    table = scores(result)
    assert_allclose([r["mape"] for r in got], table["mape"], atol=1e-6)
    assert {type(got[0]["launch"]), type(got[0]["n"])} == {int}
    assert json.loads(to_json([])) == []


def test_cells_without_an_area_have_no_row():
    people = np.full((12, 2, 17, 2), 100.0)
    people[:, :, 0] = 5
    result = backtest(register(people, ages=np.arange(0, 85, 5)), [2012], [5], methods=CONSTANT)
    assert [r["group"] for r in rows(result)] == ["total", "5-14", "65+", "75+"]
    assert "0-4" not in text_table(result)
    assert set(difference(result, "constant", "constant")["group"]) == {
        "total",
        "5-14",
        "65+",
        "75+",
    }


def made(errors):
    """Result with the given percentage errors: method → error of each area."""
    names = list(errors)
    observed = np.full(len(errors[names[0]]), 1000.0)
    forecast = np.array([1000 + 10 * np.asarray(errors[n], float) for n in names])
    return xr.Dataset(
        {
            "forecast": (
                ("method", "launch", "horizon", "group", "area"),
                forecast[:, None, None, None],
            ),
            "observed": (("launch", "horizon", "group", "area"), observed[None, None, None]),
            "launch_population": (("launch", "area"), observed[None]),
        },
        coords={
            "method": names,
            "launch": [2012],
            "horizon": [5],
            "group": ["total"],
            "area": [f"{i:03}" for i in range(len(observed))],
        },
    )


def test_skill_is_beside_the_best_naive_method_of_the_city():
    result = made({"popproj": [1, -2, 6, 0], "constant": [2, 2, 4, 0], "linear": [-9, 1, 1, 1]})
    table = districts(result)
    assert set(table["best_naive"]) == {"constant"}  # 2.0 against 3.0
    own = table[table["method"] == "popproj"].set_index("area")
    assert_allclose(own["ape"], [1, 2, 6, 0])
    assert_allclose(own["ape_best"], [2, 2, 4, 0])
    assert_allclose(own["skill"], [0.5, 0, -0.5, np.nan])
    by_linear = districts(result, ["linear"])
    assert set(by_linear["best_naive"]) == {"linear"}
    with pytest.raises(InputError, match="'lineal' must be one of its methods"):
        districts(result, ["lineal"])


def test_skill_over_launches_is_of_mean_errors():
    stocks = random_register()
    each = districts(backtest(stocks, [2010, 2012], [5]), ["constant"])
    mean = districts(backtest(stocks, [2010, 2012], [5]), ["constant"], over_launches=True)
    keys = {"method": "linear", "group": "65+", "area": "004"}
    one = each[(each[list(keys)] == list(keys.values())).all(axis=1)]
    row = only(mean, **keys)
    assert len(one) == 2
    assert_allclose(row["skill"], 1 - one["ape"].sum() / one["ape_best"].sum())


def test_difference_by_hand_and_its_interval():
    rng = np.random.default_rng(5)
    base = rng.normal(0, 5, 400)
    result = made({"popproj": base, "constant": np.abs(base) + 1, "linear": 3 * base})
    row = only(difference(result, "popproj"))
    assert row["against"] == "constant"
    # always 1 point nearer: no draw of areas says otherwise
    assert_allclose([row["difference"], row["low"], row["high"]], -1)
    assert (row["nearer"], row["n"]) == (1, 400)
    row = only(difference(result, "linear", "popproj"))
    gap = 2 * np.abs(base)
    assert_allclose(row["difference"], gap.mean())
    assert_allclose(row["ratio"], 3)
    half = 1.96 * gap.std() / 20
    assert_allclose([row["low"], row["high"]], gap.mean() + np.array([-half, half]), rtol=0.02)
    again = difference(result, "linear", "popproj")
    pd.testing.assert_frame_equal(again, difference(result, "linear", "popproj"))
    other = difference(result, "linear", "popproj", seed=1)
    assert not np.isclose(other["low"], again["low"]).any()


def test_the_text_table_marks_the_best_naive():
    result = made({"popproj": [1, 1], "constant": [2, 2], "linear": [4, 3]})
    assert text_table(result).splitlines() == [
        "launch 2012, 5 years on: MAPE, %",
        "           total",
        "popproj     1.00",
        "constant    2.00*",
        "linear      3.50",
        "areas          2",
    ]


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.floats(0.1, 50))
def test_scores_know_neither_the_order_nor_the_unit(seed, factor):
    stocks = random_register(seed, areas=6)
    free = [m for m in RIVALS if "shrunk" not in m and m != "pooled_half_level"]
    methods = {m: RIVALS[m] for m in free}
    one = scores(backtest(stocks, [2012], [5], methods=methods, min_population=0))
    turned = stocks.isel(area=slice(None, None, -1), time=slice(None, None, -1))
    turned = turned.assign(population=turned["population"] * (1 + factor))
    other = scores(backtest(turned, [2012], [5], methods=methods, min_population=0))
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_a_table_as_it_stands(tmp_path):
    ages = [*(f"{a}-{a + 4}" for a in range(0, 80, 5)), "80+"]
    index = pd.MultiIndex.from_product(
        [[f"{y}-12-31" for y in range(2010, 2014)], ["A", "B"], ["total"], ages],
        names=["date", "area", "sex", "age"],
    )
    pd.DataFrame({"count": 100}, index=index).reset_index().to_csv(tmp_path / "t.csv", index=False)
    table = {"files": ("t.csv",)}
    stocks = read_stocks(City(name="Minato", population=(table,), folder=tmp_path))
    result = backtest(stocks, [2011], [1, 2])
    assert set(result["group"].to_numpy()) == {"total", "5-14", "0-4", "65+", "75+"}
    assert all(r["n"] == 2 for r in rows(result))
    constant = scores(result).query("method == 'constant'")
    assert (constant["mape"] == 0).all()


def kobe(folder, name, ages):
    """Kobe's proxy districts at the close of each year; without the one founded in 2004."""
    path = folder / "kobe" / name
    if not path.is_file():
        pytest.skip(f"real data are not at hand: no {path.name}")
    wide = pd.read_parquet(path).pivot(index="year", columns="district_id", values=ages)
    people = np.stack([wide[a].drop(columns="K103").to_numpy() for a in ages], axis=1)
    lower = [int(a.lstrip("a").split("-")[0].rstrip("+")) for a in ages]
    dates = [f"{y}-12-31" for y in wide.index]
    return register(people[:, None], dates, lower, ("total",))


@pytest.fixture(scope="module")
def kobe_five(shared_data):
    ages = [*(f"{a}-{a + 4}" for a in range(0, 80, 5)), "80+"]
    stocks = kobe(shared_data, "kobe_district_age5_2001_2017.parquet", ages)
    return backtest(stocks, [2007], [5, 10]), backtest(stocks, [2012], [5])


KNOWN_MEANS = {  # 5 years: mean of launches 2007 and 2012, total (median), 5-14, 65+, 75+
    "constant": (5.7, 4.7, 14.8, 12.6, 16.7),
    "linear": (4.8, 3.0, 13.1, 4.4, 5.5),
    "hamilton_perry": (5.4, 2.9, 9.8, 2.7, 3.7),
    "hamilton_perry_pooled": (5.0, 3.8, 8.4, 2.7, 3.8),
    "hamilton_perry_shrunk_100": (4.6, 2.9, 7.9, 2.4, 3.3),
}
KNOWN_TEN = {  # 10 years: total (median), 5-14, 65+
    "constant": (10.5, 8.8, 28.7, 22.8),
    "linear": (9.7, 6.9, 30.5, 8.4),
    "hamilton_perry_pooled": (9.5, 7.5, 21.2, 4.5),
    "hamilton_perry_shrunk_100": (9.9, 6.2, 20.3, 4.4),
}


def test_kobe_rivals_are_those_known_before(kobe_five):
    """Figures computed by others, within the digits they were given with."""
    early, late = map(scores, kobe_five)
    assert set(late["n"]) == {158, 163}

    def of(table, name, horizon=5):
        cell = table[(table["method"] == name) & (table["horizon"] == horizon)]
        return cell.set_index("group")

    for name, known in KNOWN_MEANS.items():
        first, second = of(early, name), of(late, name)
        mape = (first["mape"] + second["mape"]) / 2
        median = (first["medape"]["total"] + second["medape"]["total"]) / 2
        got = [mape["total"], median, mape["5-14"], mape["65+"], mape["75+"]]
        assert_allclose(got, known, atol=0.051, err_msg=name)
    for name, known in KNOWN_TEN.items():
        mape, median = of(early, name, 10)["mape"], of(early, name, 10)["medape"]["total"]
        got = [mape["total"], median, mape["5-14"], mape["65+"]]
        assert_allclose(got, known, atol=0.051, err_msg=name)
    shrunk = of(late, "hamilton_perry_shrunk_250")["mape"]
    assert_allclose(shrunk[["0-4", "5-14", "65+", "75+"]], [17.9, 7.37, 1.96, 2.72], atol=0.045)
    shrunk = of(early, "hamilton_perry_shrunk_250", 10)["mape"]
    assert_allclose(shrunk[["0-4", "5-14", "65+"]], [26.7, 18.0, 4.00], atol=0.05)
    assert_allclose(of(early, "additive", 10)["mape"]["75+"], 5.04, atol=0.005)
    # given without its definition: ours is within 2 per cent
    assert_allclose(of(late, "pooled_half_level")["mape"]["total"], 4.33, rtol=0.02)
    assert_allclose(of(early, "pooled_half_level", 10)["mape"]["total"], 7.80, rtol=0.02)


def test_kobe_single_years_after_two_years_of_history(shared_data):
    ages = [f"a{a}" for a in range(101)]
    stocks = kobe(shared_data, "kobe_district_age1_2012_2017.parquet", ages)
    got = scores(backtest(stocks, [2014], [3], methods=RIVALS)).set_index(["method", "group"])[
        "mape"
    ]
    known = {"total": 2.58, "0-5": 9.38, "6-11": 4.68, "65+": 1.67, "75+": 2.32}
    got = got["hamilton_perry_shrunk_250"]
    assert_allclose(got[list(known)], list(known.values()), rtol=0.025)


def test_a_score_is_in_the_vocabulary_of_scores():
    result = made({"constant": [1.0], "linear": [2.0]})
    assert set(evaluation.SCORES) <= set(scores(result).columns)
    assert "MEDAPE" in text_table(result, "medape")

"""Towns that are blank on some days only, codes that come and go: found again from the figures."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from popproj.readers.areas import Areas, areas_table, assign, churn
from popproj.readers.churn import renaming_notes, renamings, turnover
from popproj.readers.clusters import aged, find_clusters, rebase, years_of
from popproj.schema import UNASSIGNED, time_coordinate

AGES = 60
NAN = np.nan


def dataset(people: np.ndarray, **coords: object) -> xr.Dataset:
    """A register of yearly counts from people (time, age, area)."""
    days = [f"{2013 + i}-03-31" for i in range(len(people))]
    return xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people[:, None])},
        coords={
            **time_coordinate(days),
            "sex": ["total"],
            "age": np.arange(people.shape[1]),
            "area": [f"{i:03d}" for i in range(people.shape[2])],
            **coords,
        },
    )


def living(rng: np.random.Generator, sizes: np.ndarray, times: int, turnover: float) -> np.ndarray:
    """Towns (time, age, town) whose people age, and leave and come at the given rate."""
    profile = rng.dirichlet(np.full(AGES, 3.0), size=sizes.size).T
    people = [rng.poisson(sizes * profile)]
    for _ in range(times - 1):
        stayed = rng.binomial(people[-1], 1 - turnover)
        after = np.zeros_like(stayed)
        after[1:] = stayed[:-1]
        after[-1] += stayed[-1]
        after[0] = rng.poisson(sizes * profile[0])
        people.append(after + rng.poisson(turnover * sizes * profile))
    return np.array(people, dtype=float)


def published(people: np.ndarray, small: np.ndarray, into: np.ndarray) -> np.ndarray:
    """What an office prints: where ``small`` (time, town), the people stand in row ``into``."""
    result = people.copy()
    for t, i in np.argwhere(small):
        result[t, :, into[t, i]] += people[t, :, i]
    for t, i in np.argwhere(small):
        result[t, :, i] = NAN
    return result


def merging(rng: np.random.Generator, times: int, towns: int) -> tuple[np.ndarray, np.ndarray]:
    """Every third town is blank on some days and stands above, below, or first so and then so."""
    small = np.zeros((times, towns), dtype=bool)
    into = np.tile(np.arange(towns), (times, 1))
    for i in range(1, towns - 1, 3):
        start = rng.integers(0, times)
        small[start : start + rng.integers(1, times), i] = True
        into[:, i] = i + rng.choice([-1, 1])
    return small, into


@pytest.mark.parametrize("seed", range(4))
def test_the_neighbour_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = living(rng, rng.choice([40.0, 150, 600], 60), 5, 0.1)
    small, into = merging(rng, 5, 60)
    clusters = find_clusters(dataset(published(people, small, into)))
    sure = ~np.isin(clusters.area, clusters.undecided)
    told = wrong = 0
    for t, i in np.argwhere(small & ~small.all(axis=0)):
        part = np.flatnonzero((clusters.area == i) & sure)
        told += part.size
        wrong += sum(clusters.holder[t, p] != into[t, i] for p in part)
    flipping = (small.any(axis=0) & ~small.all(axis=0)).sum()
    assert clusters.flips.size >= 0.9 * flipping
    assert told > 25
    assert wrong <= 0.06 * told


@given(st.integers(0, 2**31), st.booleans())
def test_rebasing_keeps_every_cluster_at_every_age(seed: int, turn: bool) -> None:
    rng = np.random.default_rng(seed)
    people = living(rng, rng.choice([10.0, 40, 300], 15), 4, 0.15)
    small, into = merging(rng, 4, 15)
    if turn:  # a row printed where its neighbour was, and the other way round
        small[:2, 4], small[2:, 4] = True, False
        small[:2, 5], small[2:, 5] = False, True
        into[:2, 4], into[2:, 5] = 5, 4
    register = dataset(published(people, small, into))
    clusters = find_clusters(register)
    values = register["population"].to_numpy()
    reference = int(rng.integers(0, 4))
    after, moved = rebase(values, clusters, reference, years_of(register))
    np.testing.assert_array_equal(after[reference], values[reference])
    others = np.setdiff1d(np.arange(15), clusters.area)
    np.testing.assert_array_equal(after[..., others], values[..., others])
    assert not (after < 0).any()
    for label in range(len(clusters)):
        areas = np.unique(clusters.area[clusters.label == label])
        np.testing.assert_allclose(
            np.nansum(after[..., areas], axis=-1), np.nansum(values[..., areas], axis=-1), atol=1e-9
        )
    assert (moved["estimated"] <= moved["people"] + 1e-9).all()
    assert (moved["time"] != reference).all()
    assert (moved["origin"] != moved["target"]).all()


def test_a_town_blank_on_the_last_day_is_added_exactly() -> None:
    """Closed towns: nobody moves, and after rebasing nobody seems to."""
    rng = np.random.default_rng(1)
    people = living(rng, np.array([200.0, 30, 400, 25, 300]), 4, 0.0)
    small = np.zeros((4, 5), dtype=bool)
    small[2:, 1] = small[3, 3] = True
    into = np.tile([0, 2, 2, 2, 4], (4, 1))
    register = dataset(published(people, small, into))
    after, moved = rebase(
        register["population"].to_numpy(), find_clusters(register), 3, years_of(register)
    )
    np.testing.assert_array_equal(after[:, 0, :, 2], people[:, :, [1, 2, 3]].sum(axis=2))
    assert np.isnan(after[..., [1, 3]]).all()
    assert moved["estimated"].sum() == 0
    assert moved["people"].sum() == people[:2, :, 1].sum() + people[:3, :, 3].sum()


def test_a_town_counted_on_the_last_day_is_taken_out_by_its_share() -> None:
    rng = np.random.default_rng(2)
    people = living(rng, np.array([200.0, 60, 400]), 4, 0.0)
    small = np.zeros((4, 3), dtype=bool)
    small[:2, 1] = True
    register = dataset(published(people, small, np.tile([0, 0, 2], (4, 1))))
    after, moved = rebase(
        register["population"].to_numpy(), find_clusters(register), 3, years_of(register)
    )
    np.testing.assert_allclose(
        after[:2, 0].sum(axis=1)[:, 1], people[:2].sum(axis=1)[:, 1], rtol=0.1
    )
    off = abs(after[:2, 0, :-4] - people[:2, :-4]).sum()
    assert off < 0.15 * people[:2, :-4, 1].sum()
    np.testing.assert_allclose(moved["estimated"], moved["people"])


def test_a_row_printed_in_its_neighbours_place() -> None:
    """Two rows take turns in holding both towns: no estimate is needed, nobody has moved."""
    rng = np.random.default_rng(3)
    people = living(rng, np.array([500.0, 300, 20, 450]), 4, 0.08)
    small = np.zeros((4, 4), dtype=bool)
    small[:2, 2] = small[2:, 1] = True
    into = np.tile([0, 2, 1, 3], (4, 1))
    register = dataset(published(people, small, into))
    clusters = find_clusters(register)
    assert clusters.area.tolist() == [1, 2]
    after, moved = rebase(register["population"].to_numpy(), clusters, 3, years_of(register))
    np.testing.assert_allclose(after[:, 0, :, 2], people[:, :, 1:3].sum(axis=2))
    assert moved["estimated"].sum() == 0


def test_new_towns_and_figures_withheld_altogether_belong_to_nobody() -> None:
    rng = np.random.default_rng(4)
    people = living(rng, np.array([500.0, 300, 400, 450]), 3, 0.08)
    people[0, :, 1] = NAN
    clusters = find_clusters(dataset(people))
    assert len(clusters) == 0
    assert clusters.left_out.tolist() == [1]


def test_where_the_figures_do_not_tell_both_neighbours_have_the_people() -> None:
    """A handful of people beside two large towns in turmoil."""
    rng = np.random.default_rng(6)
    people = living(rng, np.array([9000.0, 9000]), 2, 0.5)
    few = np.zeros((2, AGES, 1))
    few[:, 30, 0] = 3
    people = np.concatenate([people[..., :1], few, people[..., 1:]], axis=2)
    people[1, :, 1] = NAN
    register = dataset(people, area_name=("area", ["上町", "小町", "下町"]))
    clusters = find_clusters(register)
    assert clusters.undecided.tolist() == [1]
    assert len(clusters) == 1
    two = clusters.weight[clusters.area == 1]
    assert two.sum() == pytest.approx(1)
    assert (two > 0.05).all()
    districts = assign(
        register, Areas(areas_table([("000", "A", 1), ("001", "A", 1), ("002", "B", 1)]))
    )
    note = next(n for n in districts.attrs["notes"] if "do not say" in n.what)
    assert note.first == "小町"


def test_nobody_is_added_across_wards_and_rows_stand_as_listed() -> None:
    rng = np.random.default_rng(5)
    people = living(rng, np.array([300.0, 40, 300, 500]), 3, 0.05)
    small = np.zeros((3, 4), dtype=bool)
    small[2, 1] = True
    table = published(people, small, np.tile([0, 2, 2, 3], (3, 1)))
    plain = find_clusters(dataset(table))
    assert plain.holder[2, 0] == 2
    split = find_clusters(dataset(table, ward=("area", ["e", "e", "w", "w"])))
    assert 2 not in split.holder[split.holder != split.area]
    # The same towns under other codes, in the order of the file.
    order = np.array([2, 0, 3, 1])
    listed = np.tile(order.astype(float), (3, 1))
    turned = find_clusters(dataset(table[:, :, order], listed=(("time", "area"), listed)))
    assert {(order[a], order[h]) for a, h in zip(turned.area, turned.holder[2], strict=True)} == {
        (1, 2),
        (2, 2),
    }
    # Nor does it matter in which order the days come.
    days = find_clusters(dataset(table).isel(time=[2, 0, 1]))
    np.testing.assert_array_equal(days.holder, plain.holder[[2, 0, 1]])


@given(st.integers(0, 2**31), st.integers(0, 7))
def test_people_age_by_whole_years_and_back(seed: int, years: int) -> None:
    rng = np.random.default_rng(seed)
    people = rng.poisson(5.0, (12, 3)).astype(float)
    later = aged(people, years)
    np.testing.assert_array_equal(later.sum(axis=0), people.sum(axis=0))
    np.testing.assert_array_equal(later[years:-1], people[: 11 - years])
    np.testing.assert_array_equal(aged(later, -years)[: 11 - years], people[: 11 - years])
    half = aged(people, 0.5)
    np.testing.assert_allclose(half, (people + aged(people, 1)) / 2)
    np.testing.assert_allclose(aged(people, 5, width=10.0), half)


def test_districts_do_not_see_a_flip() -> None:
    rng = np.random.default_rng(7)
    people = living(rng, np.array([400.0, 60, 500]), 4, 0.0)
    small = np.zeros((4, 3), dtype=bool)
    small[1:3, 1] = True
    register = dataset(
        published(people, small, np.tile([0, 2, 2], (4, 1))),
        area_name=("area", ["上町", "小町", "下町"]),
    )
    table = areas_table([("000", "A", 1.0), ("001", "A", 1.0), ("002", "B", 1.0)])
    on, off = (assign(register, Areas(table), clusters=c) for c in (True, False))
    true = np.stack([people[..., :2].sum(axis=2), people[..., 2]], axis=-1)
    for districts in (on, off):
        np.testing.assert_allclose(
            districts["population"].sum("district"), people.sum(axis=2)[:, None], atol=1e-9
        )
    np.testing.assert_array_equal(on["population"][-1, 0], true[-1])

    def wrong(districts: xr.Dataset) -> float:
        return float(abs(districts["population"][:, 0].to_numpy() - true).sum())

    assert wrong(off) == 2 * people[1:3, :, 1].sum()
    assert wrong(on) < 0.15 * wrong(off)
    note = next(n for n in on.attrs["notes"] if "neighbour in another district" in n.what)
    assert note.first.startswith("下町 → 小町 ")
    assert "2016-03-31" in note.what
    # In one district a flip leaves no trace, and nothing is touched.
    one = assign(register, Areas(areas_table([(f"00{i}", "A", 1.0) for i in range(3)])))
    np.testing.assert_array_equal(one["population"][..., 0], np.nansum(register["population"], -1))


def test_the_day_asked_for_is_the_one_that_does_not_change() -> None:
    rng = np.random.default_rng(8)
    people = living(rng, np.array([400.0, 60, 500]), 3, 0.05)
    small = np.zeros((3, 3), dtype=bool)
    small[2, 1] = True
    register = dataset(published(people, small, np.tile([0, 2, 2], (3, 1))))
    areas = Areas(areas_table([("000", "A", 1.0), ("001", "B", 1.0), ("002", "C", 1.0)]))
    first = assign(register, areas, at=np.datetime64("2014-06-01"))
    np.testing.assert_array_equal(first["population"][:2], register["population"][:2])
    assert first["population"].sel(district="B")[2].sum() > 0
    last = assign(register, areas)
    assert last["population"].sel(district="B").sum() == 0


# ---- codes that come and go ---------------------------------------------------------------------


def test_renamings_splits_and_mergers_are_suggested() -> None:
    rng = np.random.default_rng(9)
    people = living(rng, np.array([500.0, 400, 300, 600, 250, 350, 800]), 3, 0.06)
    nobody = np.zeros((3, AGES, 4))
    people = np.concatenate([people, nobody], axis=2)
    people[2, :, 7], people[2, :, 0] = people[2, :, 0].copy(), 0  # renamed
    people[1:, :, 8], people[1:, :, 1] = (people[1:, :, 1] + people[1:, :, 2]), 0  # merged
    people[1:, :, 2] = 0
    part = np.floor(people[1:, :, 3] / 3)
    people[1:, :, 9], people[1:, :, 10] = part, people[1:, :, 3] - part  # divided
    people[1:, :, 3] = 0
    register = dataset(people, area_name=("area", [f"{i}町" for i in range(11)]))
    found = renamings(register)
    groups = {(tuple(sorted(r.old)), tuple(sorted(r.new))) for r in found.itertuples()}
    assert groups == {((0,), (7,)), ((1, 2), (8,)), ((3,), (9, 10))}
    assert (abs(found["people_after"] / found["people_before"] - 1) < 0.1).all()
    notes = renaming_notes(register, found)
    assert any("007 7町 on 2015-03-31 looks like a renaming of 000 0町" in n.what for n in notes)
    told = pd.DataFrame({"old_area": ["000", "003"], "new_area": ["007", "009"], "share": 1.0})
    left = renamings(register, told)
    assert {tuple(sorted(old)) for old in left["old"]} == {(1, 2)}
    # Suggested, never done.
    plain = areas_table([(f"{i:03d}", f"D{i:02d}", 1.0) for i in range(11)])
    districts = assign(register, Areas(plain))
    np.testing.assert_array_equal(districts["population"], register["population"])


def test_a_demolition_and_a_new_quarter_are_no_renaming() -> None:
    rng = np.random.default_rng(10)
    people = living(rng, np.array([500.0, 450, 300, 600]), 2, 0.06)
    young = rng.dirichlet(np.where(np.arange(AGES) % 30 < 10, 5.0, 0.3))
    people[1, :, 0] = 0
    people[0, :, 1], people[1, :, 1] = 0, rng.poisson(480 * young)
    assert renamings(dataset(people)).empty


@given(st.integers(0, 2**31))
def test_turnover_is_what_districts_gain_and_lose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = rng.poisson(2.0, (4, 3, 9)).astype(float)
    people *= rng.random((4, 1, 9)) < 0.7
    people = np.where(rng.random((4, 1, 9)) < 0.1, NAN, people)
    register = dataset(people)
    codes = rng.integers(0, 3, 9)
    areas = Areas(areas_table([(f"{i:03d}", f"K{c}", 1.0) for i, c in enumerate(codes)]))
    table = churn(register, areas)
    total = np.nan_to_num(people).sum(axis=1)
    for row in table.itertuples():
        mine = codes == int(row.district[1:])
        a, b = total[row.year - 2014][mine], total[row.year - 2013][mine]
        assert row.vanish == a[b == 0].sum()
        assert row.appear == b[a == 0].sum()
        assert row.people_before == a.sum()
        assert row.vanish_withheld <= row.vanish
    known = pd.DataFrame({"old_area": ["000"], "new_area": ["001"], "share": [1.0]})
    found = turnover(register, known)
    assert found.vanish[:, 0].sum() == found.appear[:, 1].sum() == 0


# ---- real data ----------------------------------------------------------------------------------

WARDS = {
    "Higashinada": 101, "Nada": 102, "Hyogo": 105, "Nagata": 106, "Suma": 107, "Tarumi": 108,
    "Kita": 109, "Chuo": 110, "Nishi": 111,
}  # fmt: skip


@pytest.fixture(scope="module")
def december(shared_data: Path) -> xr.Dataset:
    """Kobe's towns on 31 December 2001 to 2017, 5-year ages; nothing and blank are both 0 here."""
    table = pd.read_parquet(shared_data / "kobe/kobe_chome_age5_2001_2017.parquet")
    columns = list(table.columns)
    groups = columns[columns.index("total") + 1 :]
    number = table["ward"].map(WARDS) * 1_000_000 + table["town_code"] * 1000 + table["chome"]
    table["area"] = number.astype(str)
    wide = table.set_index(["year", "area"])[groups].stack().unstack("area", fill_value=0)
    years = sorted(table["year"].unique())
    people = np.stack([wide.loc[year].reindex(groups).to_numpy(float) for year in years])
    names = table.drop_duplicates("area", keep="last").set_index("area")["name"]
    return xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people[:, None])},
        coords={
            **time_coordinate([f"{year}-12-31" for year in years]),
            "sex": ["total"],
            "age": np.arange(0, 85, 5),
            "age_width": ("age", [5] * 16 + [0]),
            "area": wide.columns.to_numpy(object),
            "area_name": ("area", names.reindex(wide.columns).to_numpy(object)),
            "ward": ("area", wide.columns.str[:3].to_numpy(object)),
        },
    )


def kobe_truth(shared_data: Path, unit: str) -> pd.DataFrame:
    truth = pd.read_csv(shared_data / "kobe/kobe_code_churn.csv")
    truth = truth[truth["unit"] == unit].replace({"u": {"none": UNASSIGNED}})
    return truth.rename(columns={"u": "district", "pop_before": "people_before"})


COMPARED = ["vanish", "appear", "people_before", "net_share"]


def test_kobes_churn_by_town(december: xr.Dataset, shared_data: Path) -> None:
    """All 443 rows of the published truth, to the person."""
    names = {str(code): ward for ward, code in WARDS.items()}
    codes = december["area"].to_numpy()
    rows = [(code, f"{names[code[:3]]}-{int(code[3:6])}", 1.0) for code in codes]
    found = churn(december, Areas(areas_table(rows))).set_index(["district", "year"])
    truth = kobe_truth(shared_data, "town").set_index(["district", "year"])
    assert len(truth) == 443
    pd.testing.assert_frame_equal(
        found[COMPARED].round(4).sort_index(), truth[COMPARED].sort_index(), check_index_type=False
    )


def test_kobes_churn_by_district(december: xr.Dataset, shared_data: Path) -> None:
    """The truth's districts: each 字 without one of its own with most of its town, 御影 by hand."""
    proxy = pd.read_csv(shared_data / "kobe/kobe_PROXY_town_to_school_nearest.csv", dtype=str)
    own = proxy.set_index("town_code")["district_id"]
    town = own.groupby(own.index.str[:6]).agg(lambda s: s.mode().iloc[0])
    town = town.to_dict() | dict.fromkeys(("101051", "101052", "101053"), "K012")
    codes = pd.Index(december["area"].to_numpy())
    district = own.reindex(codes).fillna(pd.Series(codes.str[:6], codes).map(town)).fillna("")
    areas = Areas(areas_table(list(zip(codes, district, np.ones(len(codes)), strict=True))))
    found = churn(december, areas).set_index(["district", "year"])
    truth = kobe_truth(shared_data, "district").set_index(["district", "year"])
    assert len(truth) == 256
    both = pd.concat([found[COMPARED].round(4), truth[COMPARED].add_suffix("_true")], axis=1)
    for name in ("vanish", "appear", "people_before"):
        assert (both[name] == both[f"{name}_true"]).sum() >= 250, name


def test_kobes_new_addresses_of_2008_are_found(december: xr.Dataset) -> None:
    """住居表示 of 御影, 2008: 28 字 became five 丁目, 6,800 people."""
    found = renamings(december.isel(time=slice(5, 9)))
    row = found.loc[found["people_before"].idxmax()]
    names = december["area_name"].to_numpy()
    assert len(row["old"]) == 28
    assert all(names[i].startswith("御影町") for i in row["old"])
    assert {names[i] for i in row["new"]} == {
        "御影1丁目", "御影2丁目", "御影3丁目", "御影郡家1丁目", "御影郡家2丁目",
    }  # fmt: skip
    assert row["people_after"] == pytest.approx(row["people_before"], rel=0.02)


@pytest.fixture(scope="module")
def march(shared_data: Path) -> xr.Dataset:
    """Kobe's towns on five 31 March, single years, blank where blank, in the order of the files."""
    text = {"town_code": str, "ward_code": str}
    table = pd.read_csv(shared_data / "kobe/kobe_town_age1_2012-2017.csv.gz", dtype=text)
    table = table[table["date"].str.endswith("03-31")]
    codes = np.unique(table["town_code"])
    dates = np.unique(table["date"])
    at = (np.searchsorted(dates, table["date"]), np.searchsorted(codes, table["town_code"]))
    people = np.zeros((dates.size, 101, codes.size))
    people[at[0], :, at[1]] = table[[f"a{a}" for a in range(101)]].to_numpy(float)
    listed = np.full((dates.size, codes.size), NAN)
    listed[at] = table.groupby("date").cumcount()
    about = table.drop_duplicates("town_code", keep="last").set_index("town_code").reindex(codes)
    return dataset(
        people,
        area=codes.astype(object),
        area_name=("area", about["town"].to_numpy(object)),
        ward=("area", about["ward_code"].to_numpy(object)),
        listed=(("time", "area"), listed),
    )


def test_kobes_blank_towns(march: xr.Dataset, shared_data: Path) -> None:
    begin = time.perf_counter()
    clusters = find_clusters(march)
    assert time.perf_counter() - begin < 2
    assert 115 <= clusters.flips.size <= 140
    assert 70 <= len(clusters) <= 90
    assert clusters.undecided.size <= 5
    names = march["area_name"].to_numpy()
    held = {
        (str(names[a]), str(names[h]))
        for t in range(5)
        for a, h in zip(clusters.area, clusters.holder[t], strict=True)
        if a != h >= 0
    }
    # Rows printed in each other's place, hundreds of people each.
    assert {("滝山町", "高松町"), ("高松町", "滝山町")} <= held
    assert {("港島中町１丁目", "港島中町２丁目"), ("港島中町２丁目", "港島中町１丁目")} <= held
    # New towns are not taken out of their neighbours.
    assert {"桜の杜２丁目", "舞多聞西２丁目"} <= set(names[clusters.left_out])

    proxy = pd.read_csv(shared_data / "kobe/kobe_PROXY_town_to_school_nearest.csv", dtype=str)
    rows = proxy[["town_code", "district_id"]].assign(share=1.0).to_numpy().tolist()
    areas = Areas(areas_table([tuple(r) for r in rows]))
    on, off = (assign(march, areas, clusters=c)["population"] for c in (True, False))
    np.testing.assert_allclose(on.sum("district"), off.sum("district"), atol=1e-8)
    np.testing.assert_array_equal(on[-1], off[-1])
    moved = abs(on - off).sum(["sex", "age", "district"]) / 2
    assert ((moved[:-1] > 200) & (moved[:-1] < 700)).all()

    def jump(people: xr.DataArray, district: str) -> float:
        total = people.sel(district=district).sum(["sex", "age"]).to_numpy()
        return float(abs(np.diff(total)).max())

    # The ward's change of K036 and K030 was 滝山町 and 高松町 taking turns.
    for district in ("K036", "K030"):
        assert jump(on, district) < 0.55 * jump(off, district)

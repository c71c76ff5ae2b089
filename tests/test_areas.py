from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj.readers.areas import Areas, areas_table, assign
from popproj.readers.flows import Events, add_flows, closing_gap, moves_by_cell
from popproj.schema import UNASSIGNED, InputError, time_coordinate

AGES = 6
KINDS = 6


def random_register(
    seed: int, areas: int = 7, years: int = 2, blank: float = 0.1, events: int = 400
) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    shape = (years + 1, 2, AGES, areas)
    people = rng.poisson(rng.choice([0.3, 5, 60], size=(1, 1, 1, areas)), shape).astype(float)
    people = np.where(rng.random((years + 1, 1, 1, areas)) < blank, np.nan, people)
    days = [f"{2014 + i}-03-31" for i in range(years + 1)]
    stocks = xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people)},
        coords={
            **time_coordinate(days),
            "sex": ["female", "male"],
            "age": np.arange(AGES),
            "area": [f"{i:03d}" for i in range(areas)],
            "area_name": ("area", [f"{i}丁目" for i in range(areas)]),
        },
        attrs={"year_starts": "04-01"},
    )
    kind = rng.integers(0, KINDS, events)
    kind[:KINDS] = np.arange(KINDS)
    area = rng.integers(0, areas, events)
    other = (area + rng.integers(1, areas, events)) % areas if areas > 1 else area
    kind[(kind == 4) & (area == other)] = 3
    return add_flows(
        stocks,
        Events(
            kind=kind,
            year=2014 + rng.integers(0, years, events),
            area=area,
            other=np.where(kind == 4, other, -1),
            sex=rng.integers(0, 2, events),
            age=rng.integers(0, AGES, events),
            reached=rng.random(events) < 0.3,
            # Few deaths, so that all the dead can have been there.
            count=np.where(kind == 1, 0.01, rng.integers(1, 4, events)),
        ),
    )


def random_areas(seed: int, areas: int = 7) -> Areas:
    """Whole, divided and unassigned areas over four districts."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(areas):
        codes = [f"K{d}" for d in rng.permutation(4)[: rng.integers(0, 4)]]
        shares = rng.dirichlet(np.ones(len(codes))) if codes else []
        rows += [(f"{i:03d}", code, share) for code, share in zip(codes, shares, strict=True)]
    return Areas(areas_table(rows or [("000", "K0", 1.0)]))


def closing(dataset: xr.Dataset) -> np.ndarray:
    """Right-hand side of the books, one cell after the other."""
    people = np.nan_to_num(dataset["population"].to_numpy())
    births = dataset["births"].to_numpy()
    moves_in, moves_out = (m.to_numpy() for m in moves_by_cell(dataset))
    flow = {
        n: dataset[n].to_numpy() for n in ("deaths", "in_migrants", "out_migrants", "adjustment")
    }
    result = np.zeros((*moves_in.shape,))
    years, sexes, ages, places = result.shape
    for y in range(years):
        for s in range(sexes):
            for a in range(ages):
                for p in range(places):
                    if a == 0:
                        there = births[y, s, p]
                    else:
                        there = people[y, s, a - 1, p]
                        if a == ages - 1:
                            there += people[y, s, a, p]
                    at = (y, s, a, p)
                    result[at] = (
                        there
                        - flow["deaths"][at]
                        - flow["out_migrants"][at]
                        + flow["in_migrants"][at]
                        - moves_out[at]
                        + moves_in[at]
                        + flow["adjustment"][at]
                    )
    return result


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 9))
def test_districts_keep_every_person_and_close_their_books(seed: int, areas: int) -> None:
    register = random_register(seed, areas, blank=0.15 if areas > 1 else 0)
    districts = assign(register, random_areas(seed, areas))
    known = register["population"].sum("area").to_numpy()
    blank = np.isnan(register["population"]).all("area").to_numpy()
    got = districts["population"].sum("district", skipna=False).to_numpy()
    np.testing.assert_allclose(got[~blank], known[~blank], rtol=1e-12, atol=1e-9)
    assert np.isnan(got[blank]).all()
    for name in ("births", "births_by_mother", "deaths", "in_migrants", "out_migrants"):
        np.testing.assert_allclose(
            districts[name].sum("district"), register[name].sum("area"), atol=1e-9
        )
    ends = districts["population"].to_numpy()[1:]
    ok = np.isfinite(districts["adjustment"].to_numpy())
    np.testing.assert_allclose(closing(districts)[ok], ends[ok], atol=1e-9)
    moves_in, moves_out = moves_by_cell(districts)
    np.testing.assert_allclose(moves_in.sum("district"), moves_out.sum("district"), atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_adjustments_of_districts_are_sums_where_no_area_is_blank(seed: int) -> None:
    """Assigning is linear: dropping the moves inside a district changes no district's books."""
    register = random_register(seed, blank=0)
    areas = random_areas(seed)
    districts = assign(register, areas)
    again = assign(register.drop_vars("adjustment").assign(x=register["adjustment"]), areas)
    np.testing.assert_allclose(districts["adjustment"], again["x"], atol=1e-9)


def test_equal_rows_of_the_matrix() -> None:
    """Against the plain product of population and shares."""
    register = random_register(3, 30, blank=0)
    areas = random_areas(3, 30)
    districts = assign(register, areas)
    matrix = np.zeros((30, districts.sizes["district"]))
    codes = list(districts["district"].to_numpy())
    for _, row in areas.table.iterrows():
        matrix[int(row["area"]), codes.index(row["district"])] += row["share"]
    matrix[:, codes.index(UNASSIGNED)] += 1 - matrix.sum(axis=1)
    np.testing.assert_allclose(
        districts["population"], register["population"].to_numpy() @ matrix, atol=1e-9
    )


def test_unassigned_is_last_and_told() -> None:
    register = random_register(1, 3, blank=0)
    districts = assign(register, Areas(areas_table([("001", "zz", 1.0), ("002", "", 1.0)])))
    assert list(districts["district"].to_numpy()) == ["zz", UNASSIGNED]
    note = next(n for n in districts.attrs["notes"] if UNASSIGNED in n.what)
    lost = float(register["population"].isel(time=-1, area=[0, 2]).sum())
    assert note.count == lost
    assert f"2016-03-31 {lost:,.0f}" in note.what
    assert "丁目" in note.first


def test_no_row_for_the_unassigned_when_all_have_a_district() -> None:
    register = random_register(1, 2, blank=0)
    districts = assign(register, Areas(areas_table([("000", "B", 1.0), ("001", "A", 1.0)])))
    assert list(districts["district"].to_numpy()) == ["A", "B"]


def test_without_areas_each_is_its_own_district() -> None:
    register = random_register(5, 4, blank=0)
    districts = assign(register, Areas(areas_table([])))
    np.testing.assert_array_equal(districts["population"], register["population"])
    assert list(districts["district_name"].to_numpy()) == ["0丁目", "1丁目", "2丁目", "3丁目"]
    np.testing.assert_allclose(districts["adjustment"], register["adjustment"], atol=1e-12)
    np.testing.assert_array_equal(districts["move_count"], register["move_count"])


def test_no_area_in_common_is_a_fault() -> None:
    with pytest.raises(InputError, match=r"areas: the areas must be those .* '1001' here, '000'"):
        assign(random_register(1), Areas(areas_table([("1001", "A", 1.0)])))


def dated(*rows: tuple[str, str, float, str | None, str | None]) -> pd.DataFrame:
    table = areas_table([r[:3] for r in rows])
    for column, i in (("valid_from", 3), ("valid_to", 4)):
        table[column] = pd.to_datetime([r[i] for r in rows]).astype("datetime64[ns]")
    return table


MERGER = dated(
    ("1", "OLD", 1, None, "2016-03-31"),
    ("1", "NEW", 1, "2016-04-01", None),
    ("2", "NEW", 1, None, None),
    ("gone", "LAST", 1, "2010-04-01", "2014-03-31"),
    ("gone", "FIRST", 1, None, "2010-03-31"),
    ("coming", "SOON", 1, "2030-04-01", None),
    ("coming", "LATER", 1, "2040-04-01", None),
)


@pytest.mark.parametrize(
    ("day", "one"), [("2016-03-31", "OLD"), ("2016-04-01", "NEW"), ("2029-01-01", "NEW")]
)
def test_one_geography_for_all_years(day: str, one: str) -> None:
    rows = Areas(MERGER).on(np.datetime64(day)).set_index("area")["district"]
    assert rows.to_dict() == {"1": one, "2": "NEW", "gone": "LAST", "coming": "SOON"}


def test_lineage_leads_to_the_areas_of_today() -> None:
    lineage = pd.DataFrame(
        [
            ("gone", "half way", 1.0),
            ("half way", "1", 0.6),
            ("half way", "2", 0.3),
            ("half way", "nowhere", 0.1),
            ("round", "about", 1.0),
            ("about", "round", 1.0),
        ],
        columns=["old_area", "new_area", "share"],
    )
    areas = replace(Areas(MERGER), lineage=lineage)
    rows = areas.on(np.datetime64("2016-03-31"))
    gone = rows[rows["area"] == "gone"].set_index("district")["share"]
    assert gone.to_dict() == pytest.approx({"OLD": 0.6, "NEW": 0.3, "": 0.1})


def test_wards_are_those_of_most_people() -> None:
    register = random_register(1, 3, blank=0)
    register["population"][:] = np.array([1.0, 2, 4])
    register = register.assign_coords(
        ward=("area", ["w1", "w1", "w2"]), ward_name=("area", ["東", "東", "西"])
    )
    areas = Areas(
        areas_table([("000", "A", 1.0), ("001", "A", 1.0), ("002", "A", 0.5), ("002", "B", 0.5)])
    )
    districts = assign(register, areas)
    assert list(districts["ward"].to_numpy()) == ["w1", "w2"]
    assert list(districts["ward_name"].to_numpy()) == ["東", "西"]
    note = next(n for n in districts.attrs["notes"] if "more than one ward" in n.what)
    assert note.count == 2 * 2 * AGES // 2 * 2
    assert note.first == "A: w1, w2"


def test_marks_and_margins_travel() -> None:
    register = random_register(1, 3, blank=0)
    register["population_is_split"] = ("area", np.array([True, False, False]))
    register["population_by_sex"] = (
        ("time", "sex_margin", "area"),
        np.array([[[1.0, 2, np.nan]] * 2, [[np.nan] * 3] * 2, [[3.0, 4, 5]] * 2]),
    )
    register["ward_births"] = (("ward_year", "ward_margin"), [[7.0]])
    table = areas_table([("000", "A", 1.0), ("001", "B", 1.0), ("002", "B", 1.0)])
    districts = assign(register, Areas(table))
    np.testing.assert_array_equal(districts["population_is_split"], [True, False])
    np.testing.assert_array_equal(districts["population_by_sex"][0, 0], [1, 2])
    assert np.isnan(districts["population_by_sex"][1]).all()
    assert districts["ward_births"].item() == 7


def test_a_district_of_blank_areas_is_told() -> None:
    register = random_register(1, 3, blank=0)
    register["population"][1, :, :, 2] = np.nan
    table = areas_table([("000", "A", 1.0), ("001", "A", 1.0), ("002", "B", 1.0)])
    districts = assign(register, Areas(table))
    assert (districts["population"].sel(district="B")[1] == 0).all()
    note = next(n for n in districts.attrs["notes"] if "all blank" in n.what)
    assert note.first == "B on 2015-03-31"
    np.testing.assert_array_equal(districts["adjustment"], closing_gap(districts))

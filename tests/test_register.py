from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from popproj import sample
from popproj.config import City, load_city
from popproj.readers.areas import assign, read_areas
from popproj.readers.flows import (
    INFANT_DEATH_AGE,
    Events,
    add_flows,
    moves_by_cell,
    reached,
    upper_share,
)
from popproj.readers.register import read_register
from popproj.schema import InputError, time_coordinate

# ---- the Lexis square ---------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, 1, 3])
def test_triangles_divide_as_person_years_of_cohorts(age: int) -> None:
    """Person-years moment by moment: cohorts change evenly, birthdays spread evenly."""
    rng = np.random.default_rng(age)
    start, end = rng.integers(10, 500, (2, 6, 1)).astype(float)
    births = np.array([321.0])
    moment = (np.arange(20_000) + 0.5) / 20_000

    def person_years(at_start: float, at_end: float, birthday_ahead: bool) -> float:
        size = at_start + (at_end - at_start) * moment
        return float((size * (1 - moment if birthday_ahead else moment)).mean())

    before = start[age - 1, 0] if age else births[0]
    upper = person_years(start[age, 0], end[age + 1, 0], True)
    lower = person_years(before, end[age, 0], False)
    got = upper_share(start, end, births)[age, 0]
    assert got == pytest.approx(upper / (upper + lower), rel=1e-8)


def test_infant_deaths_crowd_after_the_birth() -> None:
    """In a stable population the part that dies in the year after the birth is the mean age."""
    people = np.full((4, 2), 1000.0)
    share = upper_share(people, people, np.full(2, 1000.0), INFANT_DEATH_AGE)
    np.testing.assert_allclose(share[0], INFANT_DEATH_AGE)
    np.testing.assert_allclose(share[1], 0.5)
    assert (share[3] == 0).all()


def test_blank_and_empty_areas_take_the_share_of_all() -> None:
    start = np.array([[30.0, np.nan, 0], [10, np.nan, 0], [5, np.nan, 0], [1, np.nan, 0]])
    share = upper_share(start, start, np.array([30.0, 0, 0]))
    np.testing.assert_array_equal(share[:, 1], share[:, 0])
    np.testing.assert_array_equal(share[:, 2], share[:, 0])
    nobody = upper_share(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(2))
    np.testing.assert_array_equal(nobody[:, 0], [0.5, 0.5, 0.5, 0])


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_split_keeps_every_event(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = rng.poisson(3, (2, 2, 7, 5)).astype(float)
    share = upper_share(start, end, rng.poisson(3, (2, 5)).astype(float))
    assert ((share >= 0) & (share <= 1)).all()
    counts = rng.poisson(2, (2, 7, 5)).astype(float)
    split = reached(counts, share)
    np.testing.assert_allclose(split.sum(axis=1), counts.sum(axis=1))
    assert (split >= 0).all()


# ---- flows from events, as arrays --------------------------------------------------------------


def stocks_of(people: np.ndarray, days: list[str], starts: str = "04-01") -> xr.Dataset:
    return xr.Dataset(
        {"population": (("time", "sex", "age", "area"), people)},
        coords={
            **time_coordinate(days),
            "sex": ["female", "male"][: people.shape[1]],
            "age": np.arange(people.shape[2]),
            "area": [chr(65 + i) for i in range(people.shape[3])],
        },
        attrs={"year_starts": starts},
    )


def events_of(*rows: tuple[str, int, int, int, int, int, bool, float]) -> Events:
    """Kind, year, area, other, sex, age, whether reached, count."""
    from popproj.schema import EVENT_KINDS

    kind, *whole, at_end, count = zip(*rows, strict=True)
    year, area, other, sex, age = (np.array(c) for c in whole)
    return Events(
        np.array([EVENT_KINDS.index(k) for k in kind]),
        year, area, other, sex, age, np.array(at_end), np.array(count, dtype=float),
    )  # fmt: skip


def test_each_cell_closes_by_hand() -> None:
    """A girl is born, a boy of 1 moves from A to B, a woman of 2 leaves, one of 3+ dies."""
    people = np.zeros((2, 2, 4, 2))
    people[0, 0, :, 0] = [4, 3, 2, 5]
    people[0, 1, :, 0] = [1, 1, 0, 0]
    people[1, 0, :, 0] = [1, 4, 3, 5]  # of 2 + 5 one left, one died
    people[1, 1, :, 0] = [0, 1, 0, 0]
    people[1, 1, 2, 1] = 1
    events = events_of(
        ("birth", 2016, 0, -1, 0, 2, True, 1),
        ("move", 2016, 0, 1, 1, 2, True, 1),
        ("out", 2016, 0, -1, 0, 3, True, 1),
        ("death", 2016, 0, -1, 0, 3, True, 1),
    )
    flows = add_flows(stocks_of(people, ["2016-03-31", "2017-03-31"]), events)
    assert list(flows["year"].to_numpy()) == [2016]
    assert float(abs(flows["adjustment"]).sum()) == 0
    assert flows["births"].sel(year=2016, sex="female", area="A").item() == 1
    assert flows["deaths"].sel(year=2016, sex="female", age=3, area="A").item() == 1
    assert flows["out_migrants"].sum().item() == 1
    assert flows["move_origin"].to_numpy().tolist() == ["A"]
    assert flows["move_destination"].to_numpy().tolist() == ["B"]
    assert flows["move_age"].to_numpy().tolist() == [2]
    # mothers by their age at the birth, whatever the age of other events
    assert flows["births_by_mother"].sel(area="A").to_numpy().tolist() == [[0, 0, 1, 0]]


def test_what_does_not_close_is_the_adjustment() -> None:
    people = np.ones((2, 2, 4, 1)) * 5
    people[:, :, 3] = 10
    flows = add_flows(
        stocks_of(people, ["2016-03-31", "2017-03-31"]),
        events_of(
            ("birth", 2016, 0, -1, 0, 2, False, 5),
            ("birth", 2016, 0, -1, 1, -1, False, 4),
            ("other", 2016, 0, -1, 1, 2, True, -2),
        ),
    )
    got = flows["adjustment"].sel(area="A", year=2016)
    assert got.sel(sex="female").to_numpy().tolist() == [0, 0, 0, -5]
    assert got.sel(sex="male").to_numpy().tolist() == [1, 0, 0, -5]
    assert flows["corrections"].sum().item() == -2
    assert flows["births"].sum().item() == 9
    assert flows["births_by_mother"].sum().item() == 5
    assert any("without the mother's age" in n.what and n.count == 4 for n in flows.attrs["notes"])
    assert "deaths" not in flows
    assert "move_count" not in flows


def test_moves_by_age_at_the_event_split_over_both_cohorts() -> None:
    people = np.full((2, 1, 5, 2), 8.0)
    flows = add_flows(
        stocks_of(people, ["2016-03-31", "2017-03-31"]),
        events_of(
            ("move", 2016, 0, 1, 0, 1, False, 2),
            ("move", 2016, 0, 1, 0, 1, False, 2),
            ("move", 2016, 1, 0, 0, 4, False, 3),
        ),
    )
    moves_in, moves_out = moves_by_cell(flows)
    assert moves_out.sel(area="A").to_numpy().ravel().tolist() == [0, 2, 2, 0, 0]
    assert moves_in.sel(area="A").to_numpy().ravel().tolist() == [0, 0, 0, 0, 3]
    assert flows.sizes["move"] == 3


def test_years_without_stocks_and_stocks_without_years_are_told() -> None:
    days = ["2015-03-31", "2016-03-31", "2016-09-30", "2017-03-31"]
    years = range(2013, 2019)
    flows = add_flows(
        stocks_of(np.full((4, 2, 4, 1), 9.0), days),
        events_of(*(("in", y, 0, -1, 0, 1, False, 1.0) for y in years)),
    )
    assert flows["year"].to_numpy().tolist() == [2015, 2016]
    notes = [str(n) for n in flows.attrs["notes"]]
    assert any("2013-2014, 2017-2018 [4]" in n for n in notes)
    assert any("flows do not use them [1] (first: 2016-09-30)" in n for n in notes)


def test_events_of_another_year_than_the_stocks_are_a_fault() -> None:
    stocks = stocks_of(np.full((2, 2, 4, 1), 9.0), ["2016-03-31", "2017-03-31"], "01-01")
    with pytest.raises(
        InputError, match=r"none of 2016 has them: years start on 01-01.*2017-03-31"
    ):
        add_flows(stocks, events_of(("in", 2016, 0, -1, 0, 1, False, 1.0)))


def test_a_kind_missing_in_a_year_is_told() -> None:
    days = ["2015-03-31", "2016-03-31", "2017-03-31"]
    stocks = stocks_of(np.full((3, 2, 4, 1), 9.0), days)
    rows = [("in", y, 0, -1, 0, 1, False, 1.0) for y in (2015, 2016)]
    flows = add_flows(stocks, events_of(*rows, ("out", 2016, 0, -1, 0, 1, False, 1.0)))
    assert [n.what[:39] for n in flows.attrs["notes"]] == [
        "no event of the kind out in 2015: a fil"
    ]


def test_more_deaths_than_people_are_a_fault() -> None:
    stocks = stocks_of(np.full((2, 2, 4, 2), 3.0), ["2016-03-31", "2017-03-31"])
    death = events_of(("death", 2016, 0, -1, 1, 2, True, 8.0))
    with pytest.raises(
        InputError, match=r"no more people of an age can die .*; 1 of 8 cells .* age reached 2: 8 d"
    ):
        add_flows(stocks, death)


def test_more_deaths_than_people_in_one_area_are_told() -> None:
    stocks = stocks_of(np.full((2, 2, 4, 2), 3.0), ["2016-03-31", "2017-03-31"])
    flows = add_flows(stocks, events_of(("death", 2016, 0, -1, 1, 2, True, 5.0)))
    note = next(n for n in flows.attrs["notes"] if "more deaths in an area" in n.what)
    assert note.count == 1
    assert "age reached 2, area A: 5 deaths, 3 people" in note.first


def test_blank_stays_blank() -> None:
    people = np.full((2, 2, 4, 2), 3.0)
    people[1, :, :, 1] = np.nan
    flows = add_flows(
        stocks_of(people, ["2016-03-31", "2017-03-31"]),
        events_of(("death", 2016, 1, -1, 1, 2, False, 1.0)),
    )
    assert np.isnan(flows["adjustment"].sel(area="B")).all()
    assert np.isfinite(flows["adjustment"].sel(area="A")).all()
    assert flows["deaths"].sum().item() == 1


# ---- reading ------------------------------------------------------------------------------------

PEOPLE = "date,area,sex,age,count\n" + "".join(
    f"{day},{area},{sex},{age},{4 if age == '100+' else 20}\n"
    for day in ("2016-03-31", "2017-03-31")
    for area in ("A01", "A02")
    for sex in ("female", "male")
    for age in [*range(100), "100+"]
)
EVENTS = '[events]\nfile = "events.csv"\nage_at = "event"\nyear_starts = "04-01"\n'


def city_of(folder: Path, toml: str, **files: str) -> City:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    (folder / "city.toml").write_text(f'name = "港市"\n{toml}', encoding="utf-8")
    return load_city(folder)


def counted(folder: Path, events: str, toml: str = EVENTS, **files: str) -> City:
    return city_of(
        folder,
        '[population]\nfile = "people.csv"\n' + toml,
        people=PEOPLE,
        events="year,kind,area,other_area,sex,age,count\n" + events,
        **files,
    )


def notes_of(dataset: xr.Dataset) -> str:
    return "\n".join(map(str, dataset.attrs["notes"]))


def test_counts_under_japanese_names(tmp_path: Path) -> None:
    events = (
        "年度,異動事由,町コード,転居先町コード,性別,年齢,件数\n"
        "平成28年度,出生,A01,,女,30,3\n"
        "平成28年度,出生,A01,,男,31,4\n"
        "平成28年度,死亡,A02,,男,８０歳,2\n"
        "平成28年度,転入,A01,県外,女,20,6\n"
        "平成28年度,転出,A02,,女,100歳以上,1\n"
        "平成28年度,転居,A01,A02,女,5,8\n"
        "平成28年度,転居,A01,A01,女,5,9\n"
        "平成28年度,職権消除,A01,,女,40,2\n"
        "平成28年度,職権記載,A01,,女,50,1\n"
    )
    city = city_of(
        tmp_path, '[population]\nfile = "people.csv"\n' + EVENTS, people=PEOPLE, events=events
    )
    register = read_register(city)
    assert register.attrs["year_starts"] == "04-01"
    assert register.attrs["open_age"] == 100
    assert register["births"].sel(year=2016, area="A01").to_numpy().tolist() == [3, 4]
    assert register["births_by_mother"].sel(area="A01", age=31).item() == 4
    deaths = register["deaths"].sel(area="A02", sex="male", year=2016)
    assert deaths.sel(age=[80, 81]).to_numpy().tolist() == [1, 1]
    assert register["out_migrants"].sel(age=100).sum().item() == 1
    assert register["move_count"].sum().item() == 8
    assert set(register["move_age"].to_numpy()) == {5, 6}
    assert register["corrections"].sum().item() == -1
    assert "moves inside one area change nobody's area and are left out [9]" in notes_of(register)
    opening, closing = register["population"].sum(["sex", "age", "area"]).to_numpy()
    adjusted = register["adjustment"].sel(year=2016).sum().item()
    assert adjusted == pytest.approx(closing - opening - 7 + 2 - 6 + 1, abs=1e-9)


def test_ages_at_the_end_of_the_year_are_taken_as_they_are(tmp_path: Path) -> None:
    toml = EVENTS.replace('"event"', '"year_end"')
    city = counted(tmp_path, "2016,death,A01,,female,80,3\n2016,birth,A01,,female,30,2\n", toml)
    register = read_register(city)
    assert register["deaths"].sel(age=80).sum().item() == 3
    assert register["births_by_mother"].sel(age=30).sum().item() == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "2016,帰化,A01,,female,5,1",
            r'kind must be one of birth, .*; 1 of 2 .*column kind: "帰化"',
        ),
        ("2016,in,B99,,female,5,1", r'area must be an area of the population; .*"B99"'),
        ("2016,in,,,female,5,1", r"area must be given; 1 of 2 rows do"),
        ("2016,move,A01,B99,female,5,1", r'other_area must be an area of the population.*"B99"'),
        ("2016,move,A01,,female,5,1", r"other_area must be given"),
        ("2016,out,A01,,計,5,1", r"sex must be female or male, as in the population"),
        ("2016,in,A01,,f,5-9,1", r'age must be a single year, or 100\+.*column age: "5-9"'),
        ("2016,in,A01,,f,85+,1", r"age must be a single year, or 100\+"),
        ("2016,in,A01,,f,大人,1", r'age must be a whole number, .*"大人"'),
        ("2016,in,A01,,f,5,-1", r"count must not be negative, but of the kind other"),
        ("2016,in,A01,,f,5,many", r'count must be a number.*"many"'),
        ("16,in,A01,,f,5,1", r'year must be a year.*column year: "16"'),
        ("2016,in,A01,,female,6,9", r"count must stand once for each year, kind, area, other_a"),
    ],
)
def test_faults_of_counts(tmp_path: Path, row: str, message: str) -> None:
    city = counted(tmp_path, f"2016,in,A01,,female,6,1\n{row}\n")
    with pytest.raises(InputError, match=rf"events\.csv: {message}"):
        read_register(city)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    rows = "2016,in,X,,female,6,1\n2016,何か,A01,,female,7,1\n2016,in,A01,,female,8,-4\n"
    with pytest.raises(InputError) as error:
        read_register(counted(tmp_path, rows))
    assert len(error.value.faults) == 3
    assert [f.first for f in error.value.faults] == [
        'at row 3, column kind: "何か"',
        'at row 2, column area: "X"',
        'at row 4, column count: "-4"',
    ]


def test_codes_of_a_vendor_and_totals_and_withheld_counts(tmp_path: Path) -> None:
    toml = EVENTS + 'kinds = { "21" = "in", "31" = "out" }\n'
    rows = (
        "2016,21,A01,,男,20,5\n2016,21,A01,,女,20,6\n2016,21,A01,,計,20,11\n"
        "2016,31,A01,,女,30,X\n2016,31,A01,,女,総数,7\n2016,31,A02,,女,31,2\n"
        "2016,死亡,A01,,女,年齢不詳,3\n"
    )
    register = read_register(counted(tmp_path, rows, toml))
    assert register["in_migrants"].sum().item() == 11
    assert register["out_migrants"].sum().item() == 2
    assert "deaths" not in register
    notes = notes_of(register)
    assert "totals over both sexes were left out [1]" in notes
    assert "totals over ages and memo rows were left out [1]" in notes
    assert "rows without a count were left out: the adjustment makes up for them [1]" in notes
    assert "events at an unknown age are left out: the adjustment makes up for them [3]" in notes


def test_a_table_of_which_nothing_remains_is_a_fault(tmp_path: Path) -> None:
    city = counted(tmp_path, "2016,in,A01,,female,6,X\n")
    with pytest.raises(InputError, match=r"at least one event must remain.*without a count"):
        read_register(city)


def test_ages_above_the_open_one_are_added_to_it(tmp_path: Path) -> None:
    rows = "".join(f"2016,out,A01,,female,{age},1\n" for age in (99, 100, 101, "105歳以上"))
    register = read_register(counted(tmp_path, rows))
    assert register["out_migrants"].sel(age=100).sum().item() > 3
    assert register["out_migrants"].sum().item() == 4


def test_both_sexes_together_take_the_sum(tmp_path: Path) -> None:
    people = "".join(
        f"{day},A01,計,{age},20\n"
        for day in ("2016-03-31", "2017-03-31")
        for age in [*range(100), "100+"]
    )
    city = city_of(
        tmp_path,
        '[population]\nfile = "people.csv"\n[[events]]\nfile = "events.csv"\nage_at = "event"\n'
        'year_starts = "04-01"\n[[events]]\nfile = "births.csv"\nkind = "birth"\nyear = 2016\n'
        'age_at = "event"\nyear_starts = "04-01"\n',
        people="date,area,sex,age,count\n" + people,
        events="year,kind,area,sex,age,count\n2016,in,A01,女,20,5\n2016,in,A01,男,20,6\n",
        births="町コード,件数\nA01,17\n",
    )
    register = read_register(city)
    assert register["in_migrants"].sizes["sex"] == 1
    assert register["in_migrants"].sum().item() == 11
    assert register["births"].sum().item() == 17
    assert "births without the mother's age" in notes_of(register)


def test_events_need_single_years(tmp_path: Path) -> None:
    people = "date,area,sex,age,count\n" + "".join(
        f"{year}-03-31,A01,{sex},{group},20\n"
        for year in (2016, 2017)
        for sex in "女男"
        for group in [*(f"{a}-{a + 4}" for a in range(0, 100, 5)), "100+"]
    )
    toml = '[population]\nfile = "people.csv"\n' + EVENTS
    events = "year,kind,area,other_area,sex,age,count\n2016,in,A01,,女,5,1\n"
    with pytest.raises(InputError, match=r"events need the population by single years"):
        read_register(city_of(tmp_path, toml, people=people, events=events))


def test_areas_where_nobody_lives_at_a_count(tmp_path: Path) -> None:
    toml = EVENTS + '[areas]\nfile = "areas.csv"\n'
    city = counted(
        tmp_path,
        "2016,in,A03,,female,20,5\n2016,out,A03,,female,20,5\n",
        toml,
        areas="area,district\nA01,K1\nA02,K1\nA03,K1\nA04,K1\n",
    )
    register = read_register(city)
    assert register["area"].to_numpy().tolist() == ["A01", "A02", "A03"]
    assert (register["population"].sel(area="A03") == 0).all()
    assert abs(register["adjustment"].sel(area="A03")).sum().item() == pytest.approx(0)
    assert "the population does not have: nobody lives there at a count [1]" in notes_of(register)


# ---- records ------------------------------------------------------------------------------------

RECORDS = (
    '[residents]\nfile = "residents.csv"\n'
    '[events]\nfile = "events.csv"\nrecords = true\nyear_starts = "04-01"\n'
)
RESIDENTS = """date,area,sex,birth_date
2016-03-31,A,女,2012-02-29
2016-03-31,A,男,1915-12-01
2016-03-31,B,女,1985-03-31
2016-03-31,B,女,1985-04-01
2017-03-31,A,女,1985-04-01
2017-03-31,B,女,1985-03-31
2017-03-31,B,男,2016-07-07
2017-03-31,B,女,2012-02-29
"""
LIVES = """date,kind,area,other_area,sex,birth_date,mother_birth_date
2016-12-31,死亡,A,,男,1915-12-01,
2016-07-07,出生,B,,男,,1985-03-31
2016-04-01,転居,B,A,女,1985-04-01,
2017-03-31,転居,A,B,女,2012-02-29,
"""


def test_records_close_to_the_person(tmp_path: Path) -> None:
    register = read_register(city_of(tmp_path, RECORDS, residents=RESIDENTS, events=LIVES))
    assert register["population"].sum(["sex", "age", "area"]).to_numpy().tolist() == [4, 4]
    start = register["population"].isel(time=0)
    assert start.sel(sex="female", area="B", age=[30, 31]).to_numpy().tolist() == [1, 1]
    assert start.sel(sex="female", area="A", age=4).item() == 1
    assert start.sel(sex="male", area="A", age=100).item() == 1
    assert abs(register["adjustment"]).sum().item() == 0
    assert register["births_by_mother"].sel(age=31, area="B").item() == 1
    assert register["move_age"].to_numpy().tolist() == [5, 31]


def test_months_of_birth_and_ages(tmp_path: Path) -> None:
    text = "date,area,sex,birth_month\n2017-03-31,A,女,1985年3月\n2017-03-31,A,女,1985-04\n"
    ages = "date,area,sex,age\n2017-03-31,A,女,32\n2017-03-31,A,男,103\n2017-03-31,A,男,\n"
    toml = '[[residents]]\nfile = "months.csv"\n[[residents]]\nfile = "ages.csv"\n'
    register = read_register(city_of(tmp_path, toml, months=text, ages=ages))
    people = register["population"].sel(area="A").isel(time=0)
    assert people.sel(sex="female", age=[31, 32]).to_numpy().tolist() == [1, 2]
    assert people.sel(sex="male", age=100).item() == 1
    assert "residents of unknown age cannot be placed and are left out [1]" in notes_of(register)


def test_messages_about_persons_show_no_value(tmp_path: Path) -> None:
    residents = RESIDENTS + (
        "2017-03-31,A,女,1985-13-77\n2017-03-31,A,女,2031-01-02\n2017-03-31,,女,1931-01-03\n"
        "2017-03-31,A,秘,1931-01-04\n2017-99-31,A,男,1931-01-05\n"
    )
    with pytest.raises(InputError) as error:
        read_register(city_of(tmp_path, RECORDS, residents=residents, events=LIVES))
    text = str(error.value)
    assert "residents.csv: birth_date must be a day; 1 of 13 rows does not" in text
    assert "first at row 10, column birth_date." in text
    assert "birth_date must not be later than the count" in text
    for value in ("1985-13-77", "2031", "1931", "秘", "2017-99-31"):
        assert value not in text
    events = LIVES + (
        "2016-13-01,転入,A,,女,1951-01-01,\n2016-05-01,転入,A,,女,1952-99-01,\n"
        "2016-05-01,転入,A,,女,2017-01-01,\n2016-05-01,出生,A,,女,,1953-99-01\n"
    )
    with pytest.raises(InputError) as error:
        read_register(city_of(tmp_path, RECORDS, residents=RESIDENTS, events=events))
    text = str(error.value)
    assert "events.csv: date must be a day" in text
    assert "events.csv: mother_birth_date must be a day" in text
    assert "events.csv: birth_date must not be later than the event" in text
    for value in ("1951", "1952", "1953", "2017-01", "2016-13"):
        assert value not in text


def test_unreadable_records_show_no_value(tmp_path: Path) -> None:
    residents = RESIDENTS + "2017-03-31,A,女,1985-04-01,田中花子\n"
    with pytest.raises(InputError, match=r"at most the 4 cells .* at row 10") as error:
        read_register(city_of(tmp_path, RECORDS, residents=residents, events=LIVES))
    assert "田中" not in str(error.value)
    residents = RESIDENTS + "作成者 田中花子\n"
    register = read_register(city_of(tmp_path, RECORDS, residents=residents, events=LIVES))
    assert "rows of a single cell were taken as remarks" in notes_of(register)
    assert "田中" not in notes_of(register)


def test_counts_and_records_of_other_days(tmp_path: Path) -> None:
    toml = '[population]\nfile = "people.csv"\n[residents]\nfile = "residents.csv"\n'
    more = "date,area,sex,birth_date\n2018-03-31,A03,女,1985-04-01\n"
    register = read_register(city_of(tmp_path, toml, people=PEOPLE, residents=more))
    people = register["population"].sum(["sex", "age"]).to_dataframe()["population"].unstack()
    assert people.loc["2018-04-01"].to_dict() == {"A01": 0, "A02": 0, "A03": 1}
    assert people["A01"].to_numpy().tolist() == [4008, 4008, 0]
    assert str(register["count_date"].to_numpy()[-1])[:10] == "2018-03-31"
    again = "date,area,sex,birth_date\n2017-03-31,A03,女,1985-04-01\n"
    with pytest.raises(InputError, match=r"some come from both; 1 days .*first 2017-03-31"):
        read_register(city_of(tmp_path, toml, people=PEOPLE, residents=again))


# ---- wards --------------------------------------------------------------------------------------

WARDS = '[areas]\nfile = "areas.csv"\n[ward_events]\nfile = "wards.csv"\nyear_starts = "01-01"\n'
TOWNS = "area,ward,ward_name,district\nA01,101,東区,K1\nA02,102,西区,K2\n"


def test_wards_by_name_or_code(tmp_path: Path) -> None:
    table = (
        "区名,年,出生,死亡\n東区,2015,10,20\n102,2015,11,\n西区(再掲),2015,9,9\n"
        "港市,2015,21,41\n＊合計＊,2015,21,41\n西,2016,12,22\n"
    )
    city = city_of(
        tmp_path,
        '[population]\nfile = "people.csv"\n' + WARDS,
        people=PEOPLE,
        areas=TOWNS,
        wards=table,
    )
    register = read_register(city)
    births = register["ward_births"]
    assert births.dims == ("ward_year", "ward_margin")
    assert births.attrs["year_starts"] == "01-01"
    assert births.sel(ward_year=2015).to_series().to_dict() == {"101": 10, "102": 11}
    assert np.isnan(births.sel(ward_year=2016, ward_margin="101"))
    assert np.isnan(register["ward_deaths"].sel(ward_year=2015, ward_margin="102"))
    assert "memo rows are part of other wards and are left out [1]" in notes_of(register)
    assert "rows for the whole city are left out [2]" in notes_of(register)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("南区,2015,1,1", r'wards\.csv: ward must be a ward of the areas.*"南区".*101, 102'),
        ("東,2015,1,1", r"ward_events: births of a ward and year must stand once"),
        ("西区,2015,-1,1", r"wards\.csv: births must be a number of people, 0 or more"),
    ],
)
def test_faults_of_wards(tmp_path: Path, row: str, message: str) -> None:
    city = city_of(
        tmp_path,
        '[population]\nfile = "people.csv"\n' + WARDS,
        people=PEOPLE,
        areas=TOWNS,
        wards=f"ward,year,births,deaths\n東区,2015,10,20\n{row}\n",
    )
    with pytest.raises(InputError, match=message):
        read_register(city)


# ---- the sample city, whose people are known one by one ----------------------------------------


def test_the_sample_city_closes_and_its_ages_are_recovered(tmp_path: Path) -> None:
    """Ages at the year's end close to the person; ages at the event, split, come near them."""
    invented = sample.simulate(districts=8)
    found = {}
    for age_at in ("year_end", "event"):
        sample.write(invented, tmp_path / age_at, age_at=age_at)
        city = load_city(tmp_path / age_at)
        found[age_at] = read_register(city)
        districts = assign(found[age_at], read_areas(city))
        assert abs(districts["adjustment"].sum(["sex", "age", "district"])).max() < 1e-8
        assert districts["district"].to_numpy().tolist() == sorted(
            invented.places.districts["district"]
        )
    true, split = found["year_end"], found["event"]
    assert (true["adjustment"] == 0).all()
    people = invented.population.transpose("time", "sex", "age", "area").to_numpy()
    np.testing.assert_array_equal(true["population"], people)
    xr.testing.assert_equal(true["births_by_mother"], split["births_by_mother"])
    for name in ("deaths", "in_migrants", "out_migrants"):
        ages = [f[name].sum(["year", "sex", "area"]).to_numpy()[1:100] for f in (true, split)]
        # Each event falls into one of two cells by chance: about a quarter of it is variance.
        noise = np.sqrt((ages[0] + np.roll(ages[0], 1)).clip(4) / 4)
        assert np.sqrt((((ages[1] - ages[0]) / noise) ** 2).mean()) < 1.5
        assert ages[1].sum() == pytest.approx(ages[0].sum(), rel=0.003)


def test_records_of_the_sample_city_are_its_counts(tmp_path: Path) -> None:
    invented = sample.simulate(districts=6)
    sample.write(invented, tmp_path / "counts", age_at="year_end")
    sample.write(invented, tmp_path / "records", records=True)
    counts, records = (read_register(load_city(tmp_path / name)) for name in ("counts", "records"))
    for name in ("population", "births", "births_by_mother", "deaths", "in_migrants", "adjustment"):
        np.testing.assert_array_equal(counts[name], records[name])
    for moves, others in zip(moves_by_cell(counts), moves_by_cell(records), strict=True):
        np.testing.assert_array_equal(moves, others)


# ---- Kobe ---------------------------------------------------------------------------------------


def test_kobes_ward_events(shared_data: Path, tmp_path: Path) -> None:
    table = (shared_data / "kobe/kobe_ward_vital_events_2004-2014.csv").read_bytes()
    (tmp_path / "events.csv").write_bytes(table)
    wards = ["東灘", "灘", "中央", "兵庫", "北", "長田", "須磨", "垂水", "西"]
    towns = "".join(f"A{i},281{i:02d},{w}区,K\n" for i, w in enumerate(wards))
    register = read_register(
        city_of(
            tmp_path,
            '[population]\nfile = "people.csv"\n[areas]\nfile = "areas.csv"\n[ward_events]\n'
            'file = "events.csv"\nyear_starts = "01-01"\ncolumns = { ward = "area" }\n',
            people=PEOPLE,
            areas="area,ward,ward_name,district\n" + towns,
        )
    )
    assert register["ward_births"].sizes == {"ward_year": 11, "ward_margin": 9}
    assert register["ward_births"].sel(ward_year=2014).sum().item() == 12_218
    assert register["ward_deaths"].sel(ward_year=2014).sum().item() == 15_081
    assert "memo rows are part of other wards and are left out [11]" in notes_of(register)

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from popproj import schema
from popproj.schema import Fault, InputError, Note


def stocks(**coords) -> xr.Dataset:
    """A dataset that follows every rule, but for what is given."""
    labels = {
        "time": schema.instants(["2016-03-31", "2017-03-31"]),
        "sex": list(schema.SEXES),
        "age": [0, 1, 2],
        "district": ["01", "02"],
        **coords,
    }
    sizes = [len(labels[dim]) for dim in ("time", "sex", "age", "district")]
    return xr.Dataset(
        {"population": (("time", "sex", "age", "district"), np.ones(sizes))}, coords=labels
    )


# ---- the words --------------------------------------------------------------------------------


def test_every_dimension_of_a_variable_is_known_and_in_order():
    for variable in schema.VARIABLES.values():
        assert set(variable.dims) <= set(schema.DIMENSIONS), variable.name
        assert variable.dims == schema.canonical(variable.dims), variable.name


def test_every_word_is_explained_in_both_languages():
    for variable in schema.VARIABLES.values():
        assert variable.units, variable.name
        assert variable.long_name, variable.name
        assert variable.long_name_ja, variable.name
    for dimension in schema.DIMENSIONS.values():
        assert dimension.meaning, dimension.name
        assert dimension.meaning_ja, dimension.name


def test_canonical_order():
    given_dims = ["district", "age", "time", "sex", "draw", "scenario"]
    assert schema.canonical(given_dims) == ("scenario", "draw", "time", "sex", "age", "district")
    with pytest.raises(ValueError, match=r"tuple\.index"):
        schema.canonical(["year", "colour"])


# ---- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "instant", "year_before"),
    [
        ("2017-12-31", "2018-01-01", 2017),  # the calendar year just ended
        ("2018-01-01", "2018-01-02", 2017),
        ("2017-03-31", "2017-04-01", 2016),  # fiscal 2016 just ended
        ("2016-02-28", "2016-02-29", 2015),
        ("2016-02-29", "2016-03-01", 2015),
    ],
)
def test_a_stock_at_the_close_of_a_day_is_the_next_day_s_instant(day, instant, year_before):
    (time,) = schema.instants([day])
    assert time == np.datetime64(instant, "ns")
    assert time.dtype == "datetime64[ns]"
    last_year = (np.datetime64(instant[:4], "Y") - 1).astype("datetime64[ns]")
    before = last_year + (time - time.astype("datetime64[Y]").astype("datetime64[ns]"))
    times = xr.DataArray([before, time], dims="time")
    assert schema.years_between(times) == year_before


def test_flows_are_labelled_by_the_year_in_which_they_start():
    calendar = schema.time_coordinate(["2015-12-31", "2016-12-31", "2017-12-31"])
    assert schema.years_between(calendar["time"]).tolist() == [2016, 2017]
    fiscal = schema.time_coordinate(["2016-03-31", "2017-03-31", "2018-03-31"])
    assert schema.years_between(fiscal["time"]).tolist() == [2016, 2017]
    assert schema.years_between(fiscal["time"][:1]).size == 0


def test_people_are_shown_the_day_that_was_counted():
    coords = schema.time_coordinate(np.array(["2017-03-31"], dtype="datetime64[s]"))
    counts = xr.Dataset(coords=coords)
    assert counts["count_date"].dims == ("time",)
    assert counts["count_date"].item() == np.datetime64("2017-03-31", "ns").item()


@given(st.dates(min_value=np.datetime64("1900-01-01").item()))
def test_instants_are_one_day_later_whatever_the_day(day):
    (time,) = schema.instants([day])
    assert time - np.datetime64(day, "ns") == np.timedelta64(1, "D")


# ---- faults and notes -------------------------------------------------------------------------


def test_a_fault_has_four_parts():
    fault = Fault(
        "population.csv",
        'age must be a whole number, "100+" or a range',
        "Write ranges as 85-89.",
        broken=3,
        total=31200,
        first='at row 118, column age: "８５〜"',
    )
    assert str(fault) == (
        'population.csv: age must be a whole number, "100+" or a range; 3 of 31,200 rows do not,'
        ' first at row 118, column age: "８５〜". Write ranges as 85-89.'
    )


def test_a_fault_counts_one_as_one_and_may_not_count_at_all():
    assert "; 1 of 9 rows does not." in str(Fault("f", "r", "Do.", broken=1, total=9))
    assert "; 1,234 cells do not." in str(Fault("f", "r", "Do.", broken=1234, unit="cells"))
    assert str(Fault("f", "r must hold", "Do.")) == "f: r must hold. Do."


def test_an_error_carries_every_fault():
    faults = [Fault("a.csv", "x must be", "Do."), Fault("b.csv", "y must be", "Do.")]
    error = InputError(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "a.csv: x must be. Do.\nb.csv: y must be. Do."
    assert InputError(faults[0]).faults == (faults[0],)


def test_notes_travel_with_datasets_each_once():
    blank = Note("a.xls", "rows without figures were left blank", 267, "row 12")
    other = Note("b.xls", "100歳以上 was read as 100+")
    dataset = schema.with_notes(xr.Dataset(), [blank])
    assert schema.notes(xr.Dataset()) == []
    assert schema.notes(dataset, schema.with_notes(dataset, [other, blank])) == [blank, other]
    assert str(blank) == "a.xls: rows without figures were left blank [267] (first: row 12)"
    assert str(other) == "b.xls: 100歳以上 was read as 100+"
    assert "[1,234,567]" in str(Note("a", "b", 1234567.0))


# ---- the check --------------------------------------------------------------------------------


def test_what_follows_the_rules_passes_unchanged():
    dataset = stocks()
    assert schema.check(dataset, need=["population"]) is dataset
    schema.check(dataset.isel(sex=[0]).assign_coords(sex=["total"]))
    schema.check(dataset.rename(district="area"))
    schema.check(dataset.expand_dims(draw=3))
    schema.check(dataset.assign(anything_else=("colour", [1, 2])))
    five = stocks(age=[0, 5, 10]).assign_coords(age_width=("age", [5, 5, 0]))
    schema.check(five)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (stocks().rename(age="years"), r"population has dims .* Drop or rename years"),
        (
            stocks().transpose("district", "age", "sex", "time"),
            r".*in the order .*'time', 'sex', 'age', 'district'.*Use \.transpose\('time', 'sex'",
        ),
        (stocks(sex=["male", "female"]), r"sex must be \('female', 'male'\)"),
        (stocks(age=[0, 1, 3]), "age must be 0, 1, 2, … without gaps"),
        (stocks(age=[1, 2, 3]), "age must be 0, 1, 2, … without gaps"),
        (
            stocks(district=["01", "01", "02", "01"]),
            r"each district must stand once; 2 of 4 labels do not, first 01",
        ),
        (stocks(time=schema.instants(["2016-03-31"] * 2)), "each time must stand once; 1 of 2"),
    ],
)
def test_what_breaks_a_rule_is_refused(dataset, told):
    with pytest.raises(InputError, match=rf"register: {told}"):
        schema.check(dataset, where="register")


def test_every_broken_rule_is_told_at_once():
    dataset = stocks(sex=["m", "f"], age=[3, 4, 5], district=["1", "1"])
    with pytest.raises(InputError) as caught:
        schema.check(dataset, need=["population", "deaths", "births"])
    assert [fault.rule.split()[0] for fault in caught.value.faults] == [
        "variable", "variable", "sex", "age", "each",
    ]  # fmt: skip


def test_describe_names_unit_and_meaning_and_leaves_the_given_alone():
    dataset = stocks()
    described = schema.describe(dataset)
    assert described["population"].attrs["units"] == "people"
    assert described["population"].attrs["lexis"] == "stock"
    assert described["age"].attrs["long_name"] == schema.DIMENSIONS["age"].meaning
    assert dataset["age"].attrs == {}
    assert dataset["population"].attrs == {}

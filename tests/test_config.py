import datetime
import re
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from popproj import config
from popproj.schema import InputError

SMALL = 'name = "Minato"\n[population]\nfile = "people.csv"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text("date,area,sex,age,count\n", encoding="utf-8")
    return tmp_path


def load(folder: Path, text: str, **more: object) -> config.City:
    (folder / "city.toml").write_text(text, encoding="utf-8")
    return config.load_city(folder, **more)


def message(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text)
    return str(caught.value)


# ---- what is read -----------------------------------------------------------------------------


def test_small_city_has_every_default(folder):
    city = load(folder, SMALL)
    assert city.name == "Minato"
    assert city.population[0].paths(city.folder) == [folder / "people.csv"]
    assert city.projection.horizon == 30
    assert city.parameters.mortality == "shrunk"
    assert city.parameters.move_ages == (0, 5, 15, 20, 25, 30, 40, 65)
    assert dict(city.scenarios) == {"baseline": config.BASELINE}
    assert city.text == SMALL


def test_baseline_says_what_its_default_does():
    assert config.BASELINE.mortality_improvement == 0.01
    assert "1 % a year" in config.BASELINE.source


def test_everything_is_frozen(folder):
    city = load(folder, SMALL)
    for section in (city, city.projection, city.population[0], city.scenarios["baseline"]):
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, None)


def test_one_table_or_several(folder):
    one = load(folder, SMALL)
    several = load(folder, SMALL.replace("[population]", "[[population]]"))
    assert one.population == several.population
    both = load(folder, SMALL + '[[events]]\nfile = "people.csv"\nrecords = true\n'
                'year_starts = "04-01"\n[[events]]\nfile = "people.csv"\n'
                'year_starts = "04-01"\nage_at = "event"\n')  # fmt: skip
    assert [t.records for t in both.events] == [True, False]


def test_days_and_years_as_text_or_as_toml_has_them(folder):
    text = SMALL + 'date = {day}\ndates = ["2017-03-31", 2016-03-31]\n[rates.year_weights]\n2014=2'
    quoted = load(folder, text.format(day='"2017-03-31"'))
    plain = load(folder, text.format(day="2017-03-31"))
    assert quoted.population == plain.population
    assert plain.population[0].date == datetime.date(2017, 3, 31)
    assert plain.population[0].dates == (datetime.date(2017, 3, 31), datetime.date(2016, 3, 31))
    assert plain.parameters.year_weights == {2014: 2.0}


def test_fixed_values_by_contract_name(folder):
    city = load(folder, SMALL + 'sex = "total"\ndate = 2017-03-31\nlayout = "kobe"\n')
    assert city.population[0].fixed() == {"sex": "total", "date": datetime.date(2017, 3, 31)}


def test_data_folder_replaces_the_file_s_own(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("data")
    (elsewhere / "people.csv").write_text("", encoding="utf-8")
    (folder / "people.csv").unlink()
    city = load(folder, SMALL, data=elsewhere)
    assert city.population[0].paths(city.folder) == [elsewhere / "people.csv"]


def test_the_record_reads_back_the_same_and_tells_no_folder(folder):
    city = load(folder, SMALL + "[rates]\nyear_weights = { 2014 = 0.5 }\n")
    record = city.model_dump_json()
    assert str(folder) not in record
    again = config.City.model_validate_json(record)
    assert again.model_copy(update={"folder": city.folder}) == city


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_notepad_saves(folder, encoding, newline):
    text = SMALL.replace("Minato", "みなと市").replace("\n", newline)
    (folder / "city.toml").write_bytes(text.encode(encoding))
    assert config.load_city(folder / "city.toml").name == "みなと市"


# ---- files ------------------------------------------------------------------------------------


def table(*files: str) -> config.Table:
    return config.Table(files=files)


def test_files_in_the_order_written_and_patterns_sorted(tmp_path):
    for name in ("b1.xls", "a2.xls", "a1.xls", "~$a1.xls", "note.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a0.xls").touch()
    names = [p.name for p in table("b1.xls", "a*.xls", "*1.xls").paths(tmp_path)]
    assert names == ["b1.xls", "a1.xls", "a2.xls"]
    assert [p.name for p in table("*.xls").paths(tmp_path)] == ["a1.xls", "a2.xls", "b1.xls"]
    deep = tmp_path / "deep" / "a0.xls"
    assert table(r"deep\a*.xls").paths(tmp_path) == [deep]
    assert table("**/a0.xls").paths(tmp_path) == [deep]
    assert table(str(deep)).paths(tmp_path / "elsewhere") == [deep]


def test_name_with_brackets_is_a_name_first(tmp_path):
    (tmp_path / "people[1].csv").touch()
    (tmp_path / "people1.csv").touch()
    assert [p.name for p in table("people[1].csv").paths(tmp_path)] == ["people[1].csv"]


def test_no_match_names_the_nearest(tmp_path):
    (tmp_path / "population.csv").touch()
    with pytest.raises(InputError, match=r'"populaton.csv" in .*nearest there: population.csv'):
        table("populaton.csv").paths(tmp_path)
    with pytest.raises(InputError, match=r"There are: population\.csv"):
        table("x.csv").paths(tmp_path / "nowhere" / "at" / "all")


# ---- faults -----------------------------------------------------------------------------------


def test_every_fault_at_once_each_with_path_and_remedy(folder):
    text = message(folder, """
horizon = 50
[population]
file = "peple.csv"
sex = "femail"
dat = 2017-03-31
columns = { aria = "x" }
[[events]]
file = "people.csv"
year_starts = "13-01"
[[events]]
file = "people.csv"
age_at = "evnt"
name = "Minato"
[projction]
[projection]
horizon = 0
base = "2017-02-30"
[rates]
years = [2014, 2015.5]
mortality = "town"
[scenario.high]
label = "High"
fertility_multiplier = "1.2"
""")  # fmt: skip
    expected = [
        r"city.toml, name: must be given",
        r'population.file: a file must match "peple.csv".*nearest there: people.csv',
        r'population.sex: must be "female", "male" or "total", and is "femail". Write "female"\.',
        r"population.dat: the key must be one that popproj knows.*The nearest is date\.",
        r'population.columns: .* names "aria". The nearest is area\.',
        r'events\[1\].year_starts: must be month and day, and is "13-01"',
        r"events\[1\].age_at: must be given for counts",
        r"events\[2\].year_starts: must be given.*No default",
        r'events\[2\].age_at: .*Write "event"',
        r"events\[2\].name: .*belongs at the top of the file",
        r"horizon: .*It belongs in \[projection\]",
        r"projction: .*The nearest is projection",
        r"projection.horizon: must be at least 1, and is 0",
        r'projection.base: must be a day, and is "2017-02-30"',
        r"rates.years\[2\]: must be a whole number, and is 2015.5",
        r'rates.mortality: must be "shrunk", "district", "ward" or "city"',
        r"scenario.high.source: must be given",
        r'scenario.high.fertility_multiplier: must be a number, and is "1.2"',
    ]
    lines = text.splitlines()
    for pattern in expected:
        assert [line for line in lines if re.search(pattern, line)], pattern
    assert len(lines) == len(expected)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[population]\nfile = 3", "population.file: must be a list|must be text"),
        ("sex = 5", 'population.sex: must be "female", "male" or "total", and is 5'),
        ("area = 101", r'population.area: must be text, and is 101. Write it in quotes: "101"'),
        ("sheet = true", "population.sheet: must be the name of a sheet or its number"),
        ("skip_rows = -1", "population.skip_rows: must be at least 0"),
        ('encoding = "sjis"', 'population.encoding: must be .*"cp932" or "utf-16"'),
        ('files = ["people.csv"]', "population.files: .*It is the same as file: keep one"),
        (
            'columns = { "人口" = "count" }',
            '人口.*The contract\'s name comes first: count = "人口"',
        ),
        ('sex = "total"\ncolumns = {sex = "x"}', "population.sex: must be one value .* or a col"),
        ("dates = 20170331", "population.dates: must be a list"),
        ("dates = [20170331]", r"population.dates\[1\]: must be a day, and is 20170331"),
        ("[projection]\nhorizon = true", "projection.horizon: must be a whole number, and is true"),
        ("[projection]\nhorizon = 101", "projection.horizon: must be at most 100"),
        ("[projection]\ncompress = true", r"projection.compress: .*It belongs in \[result\]"),
        ("[result]\ncompress = 'yes'", "result.compress: must be true or false"),
        ("[rates]\nyear_weights = { a = 1 }", "rates.year_weights.a: must be a whole number"),
        ("[rates]\nyear_weights = { 2014 = -1 }", "rates.year_weights.2014: must be at least 0"),
        (
            "[rates]\nyear_weights = { 2014 = nan }",
            "rates.year_weights.2014: must be a finite number",
        ),
        ("[rates]\nyears = [2014]\nexclude_years = 2014", "rates.exclude_years: must be a list"),
        ("[rates]\nyears = [2014]\nexclude_years = [2014]", "exclude_years: must leave at least"),
        ("[rates]\nmove_ages = [0, 15, 5]", "rates.move_ages: must rise from 0"),
        ("[scenario]", "scenario: must not be empty"),
        ("[scenario.x]\nlabel = ''\nsource = 's'", "scenario.x.label: must not be empty"),
        ("[districts]\nfile = 'people.csv'", 'districts.code: must be given.*code = "A27_003"'),
        ("[districts]\nfile = 'x.shp'\ncode = 'c'", 'districts.file: a file must match "x.shp"'),
        ("[areas]\nfile = 'people.csv'\nevents = 1", r"areas.events: .* section of its own: \[ev"),
        ("[[areas]]\nfile = 'people.csv'", "areas: must be a section"),
        ("[result]\nbanana = 1", "result.banana: .*The keys here are compress, csv_encoding"),
        (
            "[[events]]\nfile='people.csv'\nrecords=true\nage_at='event'\nyear_starts='04-01'",
            r"events\[1\].age_at: must not be given for records",
        ),
    ],
)
def test_fault_and_remedy(folder, line, told):
    base = "" if line.startswith("[population]") else SMALL.split("\n", 1)[1]
    assert re.search(told, message(folder, f'name = "Minato"\n{base}{line}\n'))


def test_somebody_must_live_there(folder):
    assert "population or residents must be given" in message(folder, 'name = "Minato"')
    (folder / "people.csv").touch()
    assert load(folder, SMALL.replace("population", "residents")).population == ()


@pytest.mark.parametrize("key", ["text", "folder"])
def test_what_the_loader_adds_is_no_key(folder, key):
    assert f"city.toml, {key}: the key must be one" in message(folder, f'{key} = "x"\n{SMALL}')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = みなと", "line 1, column 8: .*Put text in quotes"),
        ("a = 1\na = 2", "city.toml, (line 2|at its end).*The key stands twice"),
        ("[a]\n[a]", "line 2, column 3: .*The section stands twice"),
        ("\nname = 'x", "city.toml, (line 2|at its end).*Close the quotation mark"),
        (r'file = "C:\Users\me"', "Write Windows paths with / or in single quotes"),
        (r'file = "C:\data\me"', "Write Windows paths with / or in single quotes"),
        ("x = [1,", "city.toml, at its end"),
        ("町コード = 1", "line 1, column 1: the file must be TOML"),
    ],
)
def test_what_is_not_toml(folder, text, told):
    assert re.search(told, message(folder, text))


@pytest.mark.parametrize(
    ("encoding", "told"), [("cp932", r"Shift_JIS \(cp932\)"), ("utf-16", "in UTF-16")]
)
def test_other_encodings_are_named(folder, encoding, told):
    (folder / "city.toml").write_bytes(SMALL.replace("Minato", "みなと市").encode(encoding))
    with pytest.raises(InputError, match=rf"line 1: .*UTF-8, and is .*{told}.*Save it as UTF-8"):
        config.load_city(folder)


def test_city_file_that_is_not_there(folder):
    (folder / "kobe.toml").touch()
    with pytest.raises(
        InputError, match=r"koba.toml: .*must exist.*init.*nearest there: kobe.toml"
    ):
        config.load_city(folder / "koba.toml")
    with pytest.raises(InputError, match=r"city\.toml: the city file must exist"):
        config.load_city(folder)
    with pytest.raises(InputError, match=r"--data: the folder of the data must exist"):
        load(folder, SMALL, data=folder / "nowhere")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
tables = [kind for kind in vars(config).values() if isinstance(kind, type)]
known_key = st.sampled_from(
    sorted({"rates", "scenario", "file", *(key for table in tables for key in table.model_fields)})
)
section = json_like | st.dictionaries(known_key, json_like, max_size=4)
city_file = st.dictionaries(known_key, section | st.lists(section, max_size=2), max_size=4)


@given(city_file)
def test_nothing_in_a_file_makes_a_traceback(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    values.pop("name", None)  # a city without its name is never right
    lines = []
    for key, value in values.items():
        with suppress(TypeError):  # None has no form in TOML
            lines.append(f"{key} = {config.toml_value(value)}")
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    with pytest.raises(InputError, match=r"any\.toml"):
        config.load_city(path)


# ---- what is written --------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_template_is_a_city_as_it_stands(tmp_path, lang):
    for name in ("population.csv", "areas.csv", "districts.geojson"):
        (tmp_path / name).touch()
    city = load(tmp_path, config.template(lang))
    assert (city.parameters, city.projection) == (config.Parameters(), config.ProjectionOptions())
    assert dict(city.scenarios) == {"baseline": config.BASELINE}


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_template_with_everything_switched_on(lang):
    text = re.sub(r"(?m)^#(?=[\[a-z])", "", config.template(lang))
    raw = tomllib.loads(text)
    config.City.model_validate(raw)
    assert set(raw) == {
        info.alias or name for name, info in config.City.model_fields.items()
    } - {"folder", "text"}  # fmt: skip


def sections(model=config.City):
    for info in model.model_fields.values():
        yield info
        found = re.findall(r"popproj\.config\.\w+\.(\w+)", str(info.annotation))
        for name in found:
            yield from sections(getattr(config, name))


def test_every_key_says_what_it_means_in_both_languages():
    for info in sections():
        assert info.description, info
        has_japanese = any(type(m).__name__ == "Ja" for m in info.metadata)
        assert has_japanese or info.description.split(".")[1].startswith((" Not a key",)), info


@given(json_like)
def test_toml_value_reads_back(value):
    try:
        text = config.toml_value(value)
    except TypeError:
        return
    again = tomllib.loads(f"x = {text}")["x"]
    assert again == value or str(again) == str(value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({}, "ja"),
    ],
)
def test_language_of_the_system(monkeypatch, variables, expected):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("locale.getlocale", lambda: ("Japanese_Japan", "932"))
    assert config.language() == expected


def test_language_of_the_city(folder):
    assert config.language(load(folder, f'lang = "en"\n{SMALL}')) == "en"

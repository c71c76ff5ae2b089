"""The pages say what the code says."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import popproj
from popproj import config

ROOT = Path(__file__).resolve().parent.parent


def test_the_glossary_is_printed_from_the_vocabulary():
    printed = runpy.run_path(str(ROOT / "docs" / "glossary.py"))["glossary"]()
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert page == printed, "run `python docs/glossary.py`"


def test_the_city_file_shown_in_the_docs_is_one():
    page = (ROOT / "docs" / "city.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert config.City.model_validate(tomllib.loads(shown)).projection.horizon == 30


def test_every_section_and_column_is_in_the_input_contract():
    page = (ROOT / "docs" / "input.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", page))))
    for name, info in config.City.model_fields.items():
        table = re.search(r"popproj\.config\.tables\.(\w+)", str(info.annotation))
        if table:
            assert {name, *getattr(getattr(config, table[1]), "names", ())} <= words, name


def test_every_public_function_is_in_the_reference():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    documented = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith(":::")}
    choices = {"City", "Parameters", "Scenario", "BASELINE"}  # on the page of the city file
    assert set(popproj.__all__) - {"__version__"} - choices <= documented


@pytest.mark.parametrize("heading", ["User-facing", "Internal", "Results change"])
def test_the_changelog_has_this_version(heading):
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.split("\n## ")[1]
    assert newest.startswith(popproj.__version__)
    assert f"### {heading}\n" in newest

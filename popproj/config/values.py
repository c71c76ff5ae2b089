"""Types of single values: how each is checked, and how a fault in it is told."""

from __future__ import annotations

import datetime
import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Language = Literal["ja", "en"]
Level = Literal["district", "ward", "city"]
SharedLevel = Literal["shrunk", "district", "ward", "city"]
Kind = Literal["birth", "death", "in", "out", "move", "other"]


@dataclass(frozen=True)
class Ja:
    """What a key means, in Japanese."""

    text: str


def must(rule: str, remedy: str) -> PydanticCustomError:
    """Fault that a validator raises: what must hold, and what to do."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "remedy": remedy})


# ---- showing and finding ---------------------------------------------------------------------


def toml_value(value: Any) -> str:
    """Write a value as TOML.

    Raises
    ------
    TypeError
        For what TOML has no form for (None among them).

    Examples
    --------
    >>> print(toml_value({"area": "町コード", "sheets": (1, 2), "on": True}))
    { area = "町コード", sheets = [1, 2], on = true }
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's strings are TOML's basic strings, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(str(k))} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def shown(value: Any) -> str:
    """Show a value as it would stand in the file."""
    try:
        text = toml_value(value)
    except TypeError:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def nearest(word: str, words: Sequence[str]) -> str:
    """Sentence naming the likeliest word that was meant; empty where none is near."""
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    return f"The nearest is {near[0]}. " if near else ""


# ---- files ------------------------------------------------------------------------------------


def matching_files(pattern: str, folder: Path) -> list[Path]:
    """Files of a name or pattern, sorted."""
    # A city file travels between Windows and Linux, so "\" separates as "/" does.
    pattern = pattern.replace("\\", "/")
    exact = folder / pattern
    if exact.is_file():
        return [exact]
    found = (folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True))
    # While a workbook is open, Excel keeps a lock file "~$name.xlsx" beside it.
    return sorted(p for p in found if p.is_file() and not p.name.startswith("~$"))


def no_match(pattern: str, folder: Path) -> tuple[str, str]:
    """Rule and remedy where nothing matches."""
    pattern = pattern.replace("\\", "/")
    wanted = folder / pattern
    while not wanted.parent.is_dir() and wanted != wanted.parent:
        wanted = wanted.parent
    return (
        f'a file must match "{pattern}" in {folder}, and none does',
        f"Correct the name, or put the file there. {near_names(wanted.name, wanted.parent)}",
    )


def near_names(name: str, place: Path, suffix: str = "") -> str:
    """Sentence naming the files in a folder that were likely meant."""
    try:
        names = sorted(p.name for p in place.iterdir() if p.name.endswith(suffix))
    except OSError:
        names = []
    names = [n for n in names if not n.startswith((".", "~$"))]
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"The nearest there: {', '.join(near)}."
    return f"There are: {', '.join(names[:5])}." if names else "Nothing is there."


# ---- types of single values -------------------------------------------------------------------


def as_tuple(value: Any) -> Any:
    """Take one thing where several may stand; TOML arrays become tuples."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str | dict) else value


def _as_day(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value.strip())
        except ValueError:
            pass
    elif isinstance(value, datetime.date):
        return value
    raise must(
        f"must be a day, and is {shown(value)}", 'Write year-month-day: "2017-03-31".'
    ) from None


def _as_year(value: Any) -> Any:
    """Keys of TOML tables are always text: years among them are numbers all the same."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{4}", value) else value


def _month_day(value: str) -> str:
    try:
        datetime.date.fromisoformat(f"2001-{value}")
    except ValueError:
        raise must(
            f"must be month and day, and is {shown(value)}",
            'Write the first day of the year in which the events were counted: "04-01", "01-01".',
        ) from None
    return value


def _sheet(value: Any) -> Any:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise must(
        f"must be the name of a sheet or its number, and is {shown(value)}",
        'Write sheet = "Sheet1", or sheet = 0 for the first.',
    )


def _group_ages(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or value[0] != 0 or any(b <= a for a, b in pairwise(value)):
        raise must(
            f"must rise from 0, and is {shown(value)}",
            "Write the lowest age of each group: [0, 15, 30, 65].",
        )
    return value


Day = Annotated[datetime.date, BeforeValidator(_as_day)]
Days = Annotated[tuple[Day, ...], BeforeValidator(as_tuple)]
Year = Annotated[int, Field(ge=1850, le=2200), BeforeValidator(_as_year)]
Years = Annotated[tuple[Year, ...], BeforeValidator(as_tuple)]
MonthDay = Annotated[str, AfterValidator(_month_day)]
Text = Annotated[str, Field(min_length=1)]
Sheet = Annotated[str | int | None, BeforeValidator(_sheet)]
GroupAges = Annotated[
    tuple[Annotated[int, Field(ge=0, le=120)], ...],
    BeforeValidator(as_tuple),
    AfterValidator(_group_ages),
]
Encoding = Literal["utf-8", "utf-8-sig", "cp932", "utf-16"]


class Section(BaseModel):
    """A table of city.toml. Maps are typed Mapping: frozen for every reader, and still plain."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

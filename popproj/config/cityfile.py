"""city.toml: read, refused with every fault at once, and written with its comments."""

from __future__ import annotations

import os
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from popproj.config.city import BASELINE, City, Scenario, language
from popproj.config.tables import DistrictsFile, Table
from popproj.config.values import Ja, Language, Section, near_names, shown, toml_value
from popproj.schema import Fault, InputError


def load_city(path: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> City:
    r"""Read a city file.

    Parameters
    ----------
    path
        The city file, or the folder that holds a ``city.toml``.
    data
        Folder that relative file names start from. Default: where the city file lies.

    Returns
    -------
    City
        Frozen; every default filled in, every named file present.

    Raises
    ------
    InputError
        With every fault at once: each with its TOML path, the rule, and what to write instead.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = pathlib.Path(folder)
    ...     _ = (place / "people.csv").write_text("date,area,sex,age,count", encoding="utf-8")
    ...     _ = (place / "city.toml").write_text(
    ...         'name = "Minato"\n[population]\nfile = "people.csv"\n', encoding="utf-8"
    ...     )
    ...     city = load_city(place)
    >>> city.name, city.projection.horizon
    ('Minato', 30)
    """
    path = Path(path)
    if path.is_dir():
        path = path / "city.toml"
    folder = path.parent if data is None else Path(data)
    text = _read_text(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(_syntax_fault(path.name, str(error))) from None
    faults = []
    if data is not None and not folder.is_dir():
        faults.append(
            Fault(
                "--data", f"the folder of the data must exist, and {folder} does not", "Correct it."
            )
        )
    for key in ("folder", "text"):
        if key in raw:
            del raw[key]
            faults.append(_unknown_key(path.name, (key,), raw))
    given = {**raw, "folder": folder, "text": text}
    try:
        city = City.model_validate(given, context={"folder": folder} if not faults else None)
    except ValidationError as error:
        faults += [_fault(path.name, details, raw) for details in error.errors(include_url=False)]
    if faults:
        raise InputError(dict.fromkeys(faults))
    return city


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        near = near_names(path.name, path.parent, ".toml")
        raise InputError(
            Fault(
                str(path),
                "the city file must exist, and does not",
                f"Correct the name, or let `popproj init` write one. {near}",
            )
        ) from None
    except OSError as error:
        raise InputError(
            Fault(
                str(path),
                f"the city file must be readable, and is not ({error.strerror})",
                "Give the name of a file that you may read.",
            )
        ) from None
    try:
        # Windows' Notepad writes a byte-order mark; TOML itself knows none.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            Fault(
                f"{path.name}, line {line}",
                f"the file must be written in UTF-8, and is {_probable_encoding(content)}",
                "Save it as UTF-8 (in Notepad: Save as, Encoding: UTF-8).",
            )
        ) from None


def _probable_encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "in UTF-16"
    try:
        content.decode("cp932")
    except UnicodeDecodeError:
        return "not"
    return "in Shift_JIS (cp932), it seems"


def _syntax_fault(name: str, message: str) -> Fault:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    where = name
    if place:
        message = message[: place.start()]
        where += f", line {place[1]}, column {place[2]}" if place[1] else ", at its end"
    remedies = {
        "Unescaped '\\'": "Write Windows paths with / or in single quotes: 'data\\people.csv'.",
        "Invalid hex value": "Write Windows paths with / or in single quotes: 'data\\users.csv'.",
        "Cannot overwrite": "The key stands twice: keep one. A table that repeats is [[name]].",
        "Cannot declare": "The section stands twice: merge the two, or write [[name]] for each.",
        "Invalid value": 'Put text in quotes: name = "みなと市"; true and false are lower case.',
        "Expected '=' after": 'Write key = value; quote keys in Japanese: "町コード" = "area".',
        "Expected '\"'": "Close the quotation mark.",
        'Expected "\'"': "Close the quotation mark.",
        "Unterminated string": "Close the quotation mark.",
        "Illegal character": "Close the quotation mark before the end of the line.",
    }
    remedy = next((r for start, r in remedies.items() if message.startswith(start)), "")
    return Fault(
        where,
        f"the file must be TOML: {message[:1].lower()}{message[1:]}",
        remedy or 'Write key = value, text in quotes ("…"), lists as [1, 2], sections as [name].',
    )


# ---- telling faults ---------------------------------------------------------------------------


def _fields(section: type[Section]) -> dict[str, FieldInfo]:
    """Fields by the key that is written; of City, not what the loader adds."""
    return {
        info.alias or name: info
        for name, info in section.model_fields.items()
        if section is not City or name not in ("folder", "text")
    }


def _field(section: type[Section], key: str) -> FieldInfo | None:
    """Field of a key, by the name that is written or by the one that programs use."""
    return _fields(section).get(key) or section.model_fields.get(key)


def _section_of(annotation: Any) -> type[Section] | None:
    """Find the section type inside ``X | None``, ``tuple[X, ...]`` or ``Mapping[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((s for part in get_args(annotation) if (s := _section_of(part))), None)


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for key, info in _fields(City).items():
        section = _section_of(info.annotation)
        if section is not None:
            yield key, section


def _walk(location: Sequence[str | int], raw: Any) -> tuple[str, type[Section]]:
    """Path as a person would write it, and the section that holds its last part."""
    path = ""
    holder: type[Section] = City
    within: type[Section] = City
    for part in location:
        if isinstance(part, int):
            # One table may stand where several could: then there is nothing to count.
            if isinstance(raw, list):
                path += f"[{part + 1}]"
                raw = raw[part]
        elif part != "[key]":
            path += f".{part}" if path else part
            raw = raw.get(part) if isinstance(raw, dict) else None
            holder = within
            info = _field(within, part)
            within = (_section_of(info.annotation) if info else None) or within
    return path, holder


def _unknown_key(name: str, location: Sequence[str | int], raw: Any) -> Fault:
    path, section = _walk(location, raw)
    key = str(location[-1])
    keys = list(_fields(section))
    sections = dict(_sections())
    near = get_close_matches(key, keys, n=1, cutoff=0.6)
    homes = [f"[{title}]" for title, other in sections.items() if key in _fields(other)]
    if key in section.model_fields and section.model_fields[key].alias:
        remedy = f"It is the same as {section.model_fields[key].alias}: keep one."
    elif section is not City and key in sections:
        remedy = f"Write it as a section of its own: [{key}]."
    elif section is not City and key in _fields(City):
        remedy = f"{key} belongs at the top of the file, above the first [section]."
    elif near:
        remedy = f"The nearest is {near[0]}."
    elif homes:
        remedy = f"It belongs in {' or '.join(homes)}."
    else:
        remedy = f"The keys here are {', '.join(keys)}."
    return Fault(f"{name}, {path}", "the key must be one that popproj knows, and is not", remedy)


_TYPES = {
    "string_type": ("text", 'Write it in quotes: "…".'),
    "int_type": ("a whole number", "Write digits without quotes."),
    "float_type": ("a number", "Write digits without quotes."),
    "bool_type": ("true or false", "Write true or false without quotes."),
    "tuple_type": ("a list", "Write it in brackets: [1, 2]."),
    "mapping_type": ("a section of keys and values", "Write it as { key = value } or [section]."),
    "model_type": ("a section", 'Write it as [section] with keys below: file = "…".'),
    "finite_number": ("a finite number", "Write digits."),
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}


def _fault(name: str, error: Mapping[str, Any], raw: Any) -> Fault:
    """One pydantic error as rule and remedy."""
    kind, location, value = error["type"], error["loc"], error["input"]
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(name, location, raw)
    path, section = _walk(location, raw)
    where = f"{name}, {path}" if path else name
    is_shown = f", and is {shown(value)}"
    if kind == "rule":
        return Fault(where, context["rule"], context["remedy"])
    if kind == "missing":
        key = str(location[-1])
        info = _field(section, key)
        example = shown(info.examples[0]) if info and info.examples else '"…"'
        about = " ".join((info.description or "").split()) if info else ""
        return Fault(
            where, "must be given, and is not", f"Write {key} = {example}. {about}".strip()
        )
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        *some, last = map(shown, allowed)
        rule = f"must be {', '.join(some)} or {last}{is_shown}"
        near = get_close_matches(str(value), allowed, n=1, cutoff=0.6)
        return Fault(where, rule, f"Write {shown(near[0])}." if near else "Write one of these.")
    if kind in _TYPES:
        what, remedy = _TYPES[kind]
        if kind == "string_type" and isinstance(value, int | float):
            remedy = f'Write it in quotes: "{value}".'
        return Fault(where, f"must be {what}{is_shown}", remedy)
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return Fault(where, f"must be {words} {context[key]:g}{is_shown}", "Correct the number.")
    if kind in ("string_too_short", "too_short"):
        return Fault(where, "must not be empty", "Write a value, or take the line out.")
    return Fault(where, f"{error['msg'][:1].lower()}{error['msg'][1:]}{is_shown}", "Correct it.")


# ---- writing ----------------------------------------------------------------------------------


_TAKEN_FOR_GRANTED = {
    "population": "population.csv",
    "areas": "areas.csv",
    "districts": "districts.geojson",
}
"""Files that the template switches on; the other tables are written commented out."""


def template(lang: Language | None = None) -> str:
    """Write the commented city.toml that ``popproj init`` starts a city with.

    Prose is commented ``# so``; what may be switched on is commented ``#key = value``.

    Parameters
    ----------
    lang
        Language of the comments. Default: the system's.

    Examples
    --------
    >>> print(template("en").splitlines()[0])
    # Everything that is chosen for one city. Files are named relative to this file.
    """
    lang = lang or language()
    lines = {
        "ja": [
            "# 市ごとの設定。ファイル名はこのファイルのある場所からの相対パス。",
            "# 行頭の # を外すと有効になる。[[ ]] の節は繰り返し書ける。",
        ],
        "en": [
            "# Everything that is chosen for one city. Files are named relative to this file.",
            "# Take the # away from a line to switch it on. A section in [[ ]] may repeat.",
        ],
    }[lang]
    sections = dict(_sections())
    for key, info in _fields(City).items():
        if key not in sections:
            lines += ["", *_template_key(key, info, lang, {}, "" if info.is_required() else "#")]
    for title, section in sections.items():
        info = _fields(City)[title]
        values: dict[str, Any] = {}
        header, off = f"[{title}]", ""
        if issubclass(section, Table | DistrictsFile):
            values = {"file": _TAKEN_FOR_GRANTED.get(title, f"{title}.csv")}
            off = "" if title in _TAKEN_FOR_GRANTED else "#"
        elif section is Scenario:
            values = BASELINE.model_dump(exclude_defaults=True)
            header = "[scenario.baseline]"
        if get_origin(info.annotation) is tuple:
            header = f"[{header}]"
        lines += ["", "", *_comment(info, lang), off + header]
        for key, field in _fields(section).items():
            # Every table takes these keys: the first one shows them for all.
            if title != "population" and key != "file" and key in _fields(Table):
                continue
            is_on = not off and (field.is_required() or key in values)
            lines += _template_key(key, field, lang, values, "" if is_on else "#")
    return "\n".join(lines) + "\n"


def _comment(info: FieldInfo, lang: Language) -> list[str]:
    text = info.description or ""
    if lang == "ja":
        text = next((m.text for m in info.metadata if isinstance(m, Ja)), text)
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 96)]


def _template_key(
    key: str, info: FieldInfo, lang: Language, values: Mapping[str, Any], off: str
) -> list[str]:
    value = values.get(key, info.examples[0] if info.examples else info.get_default())
    return [*_comment(info, lang), f"{off}{key} = {toml_value(value)}"]

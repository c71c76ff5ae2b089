"""What the text in a cell means: ages, sexes, dates of three calendars, counts, codes.

A column is parsed by its distinct texts, so a table of a million rows costs as much as its few
hundred different words. Text is normalised (NFKC) for matching only: what is shown, and what stays
text, stands as in the file.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popproj.schema import Fault, Note

Texts = pd.Series  # of text, blank where empty
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

UNKNOWN_AGE = -1
ALL_AGES = -2
MEMO = -3
OLDEST = 130
"""No age above is a person's: 2015 in the place of an age is a year."""

# Dashes and waves that NFKC leaves apart, among them cp932's minus and the phone hyphen U+2010.
_ALIKE = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣", "-") | dict.fromkeys("〜∼", "~"))


def normal(text: str) -> str:
    """Text as it is compared: NFKC, lower case, no spaces, one kind of dash and of wave.

    Examples
    --------
    >>> normal("０〜４ 歳"), normal("Ｍan1")
    ('0~4歳', 'man1')
    """
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).translate(_ALIKE).lower()


@dataclass(frozen=True)
class Parser:
    """How one kind of cell is read.

    Parameters
    ----------
    rule
        What must hold, after the name of the column: "must be …".
    remedy
        What to do where it does not.
    read
        Value of one normalised text, never blank; None where it breaks the rule. A pair of value
        and remark where something had to be interpreted.
    blank
        Value of a blank cell.
    dtype
        Of the array.
    """

    rule: str
    remedy: str
    read: Callable[[str], Any]
    blank: Any
    dtype: Any = object


@dataclass(frozen=True)
class Parsed:
    """A parsed column, by its distinct texts.

    Parameters
    ----------
    codes
        Which distinct text stands in each row.
    distinct
        Value of each distinct text; the parser's blank where it breaks the rule.
    is_broken, is_blank
        Of each distinct text.
    remarks
        What had to be interpreted, and in which of them.
    """

    codes: Ints
    distinct: NDArray[Any]
    is_broken: Bools
    is_blank: Bools
    remarks: Mapping[str, Sequence[int]]

    @property
    def values(self) -> NDArray[Any]:
        """Value of each row."""
        return np.asarray(self.distinct[self.codes])

    @property
    def broken(self) -> Bools:
        """Rows that break the rule."""
        return np.asarray(self.is_broken[self.codes])

    @property
    def blank(self) -> Bools:
        """Rows without text."""
        return np.asarray(self.is_blank[self.codes])


def parse(texts: Texts, parser: Parser) -> Parsed:
    """Parse a column by its distinct texts."""
    codes, distinct = pd.factorize(texts)
    values = np.empty(len(distinct), dtype=object)
    broken = np.zeros(len(distinct), dtype=bool)
    blank = np.zeros(len(distinct), dtype=bool)
    remarks: dict[str, list[int]] = {}
    for i, text in enumerate(distinct):
        word = normal(text)
        value = parser.read(word) if word else parser.blank
        if isinstance(value, Remarked):
            remarks.setdefault(value.remark, []).append(i)
            value = value.value
        blank[i] = not word
        broken[i] = value is None
        values[i] = parser.blank if value is None else value
    if parser.dtype is not object:
        values = np.array(values.tolist(), dtype=parser.dtype)
    return Parsed(np.asarray(codes, dtype=np.int64), values, broken, blank, remarks)


@dataclass(frozen=True)
class Remarked:
    """A value that had to be interpreted, and how."""

    value: Any
    remark: str


# ---- ages -------------------------------------------------------------------------------------

_AGE = re.compile(
    r"(?:人口_?|age_?|a_?|満)?(\d{1,3})(?:歳|才)?"
    r"(?:(?P<open>\+|以上|plus|andover)|(?P<under>未満)|(?:[-~_]|to)(?P<last>\d{1,3})(?:歳|才)?)?(?:児)?"
)
_UNKNOWN = {
    "年齢不詳",
    "不詳",
    "不明",
    "年齢不明",
    "不詳者",
    "unknown",
    "人口_年齢不詳",
    "人口_不詳",
}
_ALL = {"総数", "合計", "計", "総計", "年齢計", "全年齢", "年齢総数", "total", "all", "人口_総数"}
_MEMO = re.compile(r"[(\[【]?再(?:掲)?[)\]】_:].*")


def age_group(text: str) -> tuple[int, int] | None:
    """Lowest age and width of a normalised text: 0 wide is open, None is no age.

    Examples
    --------
    >>> [age_group(t) for t in ("7歳", "100+", "0~4", "人口_85歳以上", "85~", "年齢不詳")]
    [(7, 1), (100, 0), (0, 5), (85, 0), None, (-1, 0)]
    """
    if text in _UNKNOWN:
        return UNKNOWN_AGE, 0
    if text.strip("*") in _ALL:
        return ALL_AGES, 0
    if _MEMO.fullmatch(text):
        return MEMO, 0
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    lower = int(match[1])
    if match["open"]:
        width = 0
    elif match["under"]:
        lower, width = 0, lower
        if width == 0:
            return None
    elif match["last"]:
        width = int(match["last"]) - lower + 1
        if width < 1:
            return None
    else:
        width = 1
    return (lower, width) if lower + width <= OLDEST else None


AGE = Parser(
    'must be a whole number, "100+" or a range',
    "Write single years as 7, ranges as 85-89, the last as 100+ or 100歳以上.",
    age_group,
    (UNKNOWN_AGE, 0),
)


def parse_age(texts: Texts) -> tuple[Ints, Ints, Bools]:
    """Ages as groups.

    Parameters
    ----------
    texts
        ``7``, ``７歳``, ``0-4``, ``0〜4歳``, ``100+``, ``100歳以上``, ``年齢不詳``, ``計``, …

    Returns
    -------
    lower
        Lowest age [completed years]; UNKNOWN_AGE, ALL_AGES or MEMO where it is none.
    width
        Ages in the group: 1 a single year, 5 five years, 0 open at the top.
    broken
        Which texts are no age. Blank cells are unknown ages, and not broken.

    Examples
    --------
    >>> lower, width, broken = parse_age(pd.Series(["０歳", "5-9", "100歳以上", "85〜"]))
    >>> lower, width, broken
    (array([  0,   5, 100,  -1]), array([1, 5, 0, 0]), array([False, False, False,  True]))
    """
    parsed = parse(texts, AGE)
    pairs = np.array(parsed.distinct.tolist(), dtype=np.int64).reshape(-1, 2)[parsed.codes]
    return pairs[:, 0], pairs[:, 1], parsed.broken


# ---- sexes ------------------------------------------------------------------------------------

_CODED = "sex codes were read as 1 male, 2 female"
_SEX: dict[str, Any] = {
    **dict.fromkeys(("女", "女性", "女子", "female", "f", "woman", "women"), "female"),
    **dict.fromkeys(("男", "男性", "男子", "male", "m", "man", "men"), "male"),
    **dict.fromkeys(
        ("計", "総数", "合計", "総計", "男女計", "男女", "total", "both", "t", "総人口"), "total"
    ),
    "1": Remarked("male", _CODED),
    "2": Remarked("female", _CODED),
}

SEX = Parser(
    "must be female, male or total (女, 男, 計)",
    "Correct the cells, or leave the rows out.",
    lambda text: _SEX.get(text.strip("*")),
    "",
)


def parse_sex(texts: Texts) -> tuple[NDArray[np.object_], Bools]:
    """Sexes as ``female``, ``male``, ``total``; blank stays blank.

    Examples
    --------
    >>> parse_sex(pd.Series(["女", "Ｍ", "＊合計＊", "3"]))
    (array(['female', 'male', 'total', ''], dtype=object), array([False, False, False,  True]))
    """
    parsed = parse(texts, SEX)
    return parsed.values, parsed.broken


# ---- dates ------------------------------------------------------------------------------------

_ERAS = {
    "明治": 1867, "大正": 1911, "昭和": 1925, "平成": 1988, "令和": 2018,
    "m": 1867, "t": 1911, "s": 1925, "h": 1988, "r": 2018,
}  # fmt: skip
_ERA = r"(?P<era>明治|大正|昭和|平成|令和|[mtshr])"
_ERA_DAY = re.compile(_ERA + r"\.?(?P<n>元|\d{1,2})[年./-](?P<m>\d{1,2})[月./-](?P<d>\d{1,2})日?")
_ERA_MONTH = re.compile(_ERA + r"\.?(?P<n>元|\d{1,2})[年./-](?P<m>\d{1,2})月?")
_ERA_YEAR = re.compile(_ERA + r"\.?(?P<n>元|\d{1,2})(?:年度?)?")
# normal() takes the space between day and hour out.
_DAY = re.compile(
    r"(\d{4})[年./-](\d{1,2})[月./-](\d{1,2})日?(?:t?\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?"
    r"|(\d{4})(\d{2})(\d{2})"
)
_MONTH = re.compile(r"(\d{4})[年./-](\d{1,2})月?|(\d{4})(\d{2})")
_YEAR = re.compile(r"(\d{4})(?:年度?)?")
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")


def _era_year(match: re.Match[str]) -> int:
    return _ERAS[match["era"]] + (1 if match["n"] == "元" else int(match["n"]))


def read_date(text: str) -> Any:
    """Day that a normalised text names; None where it names none.

    Examples
    --------
    >>> print(read_date("平成29年12月31日"), read_date("r7.5.1"), read_date("20250331"))
    2017-12-31 2025-05-01 2025-03-31
    """
    try:
        if match := _DAY.fullmatch(text):
            return datetime.date(*(int(part) for part in match.groups() if part is not None))
        if match := _ERA_DAY.fullmatch(text):
            return datetime.date(_era_year(match), int(match["m"]), int(match["d"]))
        if match := _AMERICAN.fullmatch(text):
            day = datetime.date(int(match[3]), int(match[1]), int(match[2]))
            return Remarked(day, "dates like 11/1/2018 were read month first")
    except ValueError:
        pass
    return None


def _read_month(text: str) -> Any:
    try:
        if match := _MONTH.fullmatch(text):
            year, month = (int(part) for part in match.groups() if part is not None)
            return datetime.date(year, month, 1)
        if match := _ERA_MONTH.fullmatch(text):
            return datetime.date(_era_year(match), int(match["m"]), 1)
    except ValueError:
        return None
    day = read_date(text)
    if isinstance(day, Remarked):
        return Remarked(day.value.replace(day=1), day.remark)
    return day and day.replace(day=1)


def _read_year(text: str) -> Any:
    if match := _YEAR.fullmatch(text):
        year = int(match[1])
    elif match := _ERA_YEAR.fullmatch(text):
        year = _era_year(match)
    else:
        return None
    return year if 1850 <= year <= 2200 else None


_WRITE_DAY = "Write 2025-03-31, 2025/3/31 or 令和7年3月31日."
DATE = Parser("must be a day", _WRITE_DAY, read_date, np.datetime64("NaT"), "datetime64[D]")
MONTH = Parser(
    "must be a month",
    "Write 2025-03, 2025年3月 or 令和7年3月.",
    _read_month,
    np.datetime64("NaT"),
    "datetime64[D]",
)
YEAR = Parser("must be a year", "Write 2025, 2025年度 or 令和7年.", _read_year, -1, np.int64)


def parse_date(texts: Texts) -> tuple[NDArray[np.datetime64], Bools]:
    """Days, of the common and the Japanese calendar; blank is NaT.

    Examples
    --------
    >>> parse_date(pd.Series(["2025/1/1", "平 成 16 年 3 月 1 日", "2025/2/30"]))
    (array(['2025-01-01', '2004-03-01', 'NaT'], dtype='datetime64[D]'),
     array([False, False,  True]))
    """
    parsed = parse(texts, DATE)
    return parsed.values, parsed.broken


def parse_month(texts: Texts) -> tuple[NDArray[np.datetime64], Bools]:
    """Months, each as its first day; blank is NaT.

    Examples
    --------
    >>> parse_month(pd.Series(["2025-03", "H29.4"]))[0]
    array(['2025-03-01', '2017-04-01'], dtype='datetime64[D]')
    """
    parsed = parse(texts, MONTH)
    return parsed.values, parsed.broken


def parse_year(texts: Texts) -> tuple[Ints, Bools]:
    """Years; blank is -1.

    Examples
    --------
    >>> parse_year(pd.Series(["2024", "令和6年度", "平成元年", "24"]))
    (array([2024, 2024, 1989,   -1]), array([False, False, False,  True]))
    """
    parsed = parse(texts, YEAR)
    return parsed.values, parsed.broken


# ---- numbers and codes ------------------------------------------------------------------------

_NUMBER = re.compile(r"(?P<minus>[-▲△])?(?P<digits>\d+(?:\.\d+)?(?:e[-+]?\d+)?)人?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# 統計表の記号: a dash is "no such people", the others "withheld" or "not available".
_NONE = re.compile(r"-+")
_WITHHELD = re.compile(r"[xχ]|\*+|…|\.{2,}|秘匿|na|n/a|nan|null|none")


def _read_number(text: str) -> Any:
    match = _NUMBER.fullmatch(_THOUSANDS.sub("", text))
    if match:
        number = float(match["digits"])
        return -number if match["minus"] else number
    if _NONE.fullmatch(text):
        return Remarked(0.0, 'a dash "-" was read as 0')
    if _WITHHELD.fullmatch(text):
        return Remarked(np.nan, "marks such as X and *** were read as withheld, like blank cells")
    return None


def _read_count(text: str) -> Any:
    number = _read_number(text)
    return None if isinstance(number, float) and number < 0 else number


COUNT = Parser(
    "must be a number of people, 0 or more",
    "Correct the cells; leave them blank where the figure is withheld.",
    _read_count,
    np.nan,
    np.float64,
)
NUMBER = Parser("must be a number", "Correct the cells.", _read_number, np.nan, np.float64)


def parse_count(texts: Texts) -> tuple[Floats, Bools]:
    """Numbers of people; blank and withheld (X, ***) are NaN, "-" is 0.

    Examples
    --------
    >>> parse_count(pd.Series(["1,234", "１２", "", "-", "X", "-3"]))
    (array([1234., 12., nan, 0., nan, nan]), array([False, False, False, False, False,  True]))
    """
    parsed = parse(texts, COUNT)
    return parsed.values, parsed.broken


def parse_code(texts: Texts) -> NDArray[np.object_]:
    """Codes as text: zeros kept, full-width digits made narrow, Excel's 28101.0 made 28101.

    Examples
    --------
    >>> parse_code(pd.Series(["０１０１", "28101.0", " K001 ", ""]))
    array(['0101', '28101', 'K001', ''], dtype=object)
    """
    codes, distinct = pd.factorize(texts)
    clean = [unicodedata.normalize("NFKC", text).strip() for text in distinct]
    values = np.array([re.sub(r"^(\d+)\.0+$", r"\1", text) for text in clean], dtype=object)
    return np.asarray(values[codes]) if len(values) else np.empty(len(texts), dtype=object)


# ---- columns of a table -----------------------------------------------------------------------


def column(
    frame: pd.DataFrame,
    name: str,
    parser: Parser,
    faults: list[Fault],
    notes: list[Note] | None = None,
    *,
    required: bool = True,
) -> NDArray[Any]:
    """Parse a column of a table that ``tables.open_table`` gave, and tell what is wrong with it.

    Parameters
    ----------
    frame
        With ``_file`` and ``_row``.
    name
        Its column.
    parser
        AGE, SEX, DATE, MONTH, YEAR, COUNT or NUMBER.
    faults, notes
        What is wrong, and what was interpreted, is added to these.
    required
        Whether a blank cell breaks the rule.

    Returns
    -------
    ndarray
        One value a row; that of a blank cell where the text breaks the rule.
    """
    parsed = parse(frame[name], parser)
    tell(frame, name, parser, parsed, faults, notes, required=required)
    return parsed.values


def tell(
    frame: pd.DataFrame,
    name: str,
    parser: Parser,
    parsed: Parsed,
    faults: list[Fault],
    notes: list[Note] | None = None,
    *,
    required: bool = True,
) -> None:
    """Add what is wrong with a parsed column, and what was interpreted in it."""
    wrong = parsed.is_broken | parsed.is_blank if required else parsed.is_broken
    if wrong.any():
        faults += row_faults(frame, name, wrong[parsed.codes], parser.rule, parser.remedy)
    if notes is not None:
        for remark, at in parsed.remarks.items():
            notes += row_notes(frame, name, np.isin(parsed.codes, at), remark)


def row_faults(
    frame: pd.DataFrame, name: str, broken: Bools, rule: str, remedy: str
) -> list[Fault]:
    """Tell which rows of which files break a rule: one fault a file.

    Parameters
    ----------
    frame
        With ``_file`` and ``_row``.
    name
        Column that the rule is about: the rule reads "`name` `rule`".
    broken
        Rows that break it.
    rule, remedy
        As in ``schema.Fault``.
    """
    if not broken.any():
        return []
    files = np.asarray(frame["_file"], dtype=object)
    shown = frame.attrs.get("columns", {}).get(name, name)
    faults = []
    for file in dict.fromkeys(files[broken]):
        here = files == file
        first = int(np.flatnonzero(broken & here)[0])
        faults.append(
            Fault(
                str(file),
                f"{name} {rule}",
                remedy,
                broken=int((broken & here).sum()),
                total=int(here.sum()),
                first=_place(frame, shown, name, first),
            )
        )
    return faults


def row_notes(frame: pd.DataFrame, name: str, rows: Bools, what: str) -> list[Note]:
    """Tell what was interpreted in some rows: one note a file."""
    if not rows.any():
        return []
    files = np.asarray(frame["_file"], dtype=object)
    shown = frame.attrs.get("columns", {}).get(name, name)
    found = []
    for file in dict.fromkeys(files[rows]):
        here = rows & (files == file)
        first = int(np.flatnonzero(here)[0])
        found.append(Note(str(file), what, int(here.sum()), _place(frame, shown, name, first)))
    return found


def _place(frame: pd.DataFrame, shown: str, name: str, position: int) -> str:
    row = int(frame["_row"].iloc[position])
    text = f': "{frame[name].iloc[position]}"' if name in frame else ""
    return f"at row {row:,}, column {shown}{text}"

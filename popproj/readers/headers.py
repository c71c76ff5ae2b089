"""What a table of residents says above its figures: which columns hold whom, and which day."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from popproj.readers.cells import ALL_AGES, MEMO, UNKNOWN_AGE, age_group, normal, read_date
from popproj.schema import Fault, Note

Group = tuple[int, int]
"""Lowest age and number of ages; 0 ages: open at the top."""


# ---- ages -------------------------------------------------------------------------------------


def show_group(group: Group) -> str:
    """Write an age group as it should stand in a file.

    Examples
    --------
    >>> [show_group(g) for g in ((7, 1), (85, 5), (100, 0))]
    ['7', '85-89', '100+']
    """
    lower, width = group
    if width == 0:
        return f"{lower}+"
    return f"{lower}" if width == 1 else f"{lower}-{lower + width - 1}"


def age_chain(groups: Iterable[Group]) -> tuple[list[Group], list[Group], str]:
    """Groups that follow each other from 0, the memo groups they add up to, and what is wrong.

    The narrowest groups win: among 0, 1, …, 100+, an extra 65+ or 15-64 is a memo.

    Examples
    --------
    >>> age_chain([(0, 5), (5, 5), (10, 0), (5, 0)])
    ([(0, 5), (5, 5), (10, 0)], [(5, 0)], '')
    >>> age_chain([(0, 5), (6, 5)])[2]
    'nothing after 0-4'
    """
    by_lower: dict[int, list[Group]] = {}
    for group in sorted(set(groups), key=lambda g: (g[0], g[1] or 999)):
        by_lower.setdefault(group[0], []).append(group)
    chain: list[Group] = []
    lower: int | None = 0
    while lower is not None and lower in by_lower:
        chain.append(by_lower[lower][0])
        lower = lower + chain[-1][1] if chain[-1][1] else None
    rest = [g for group in by_lower.values() for g in group if g not in chain]
    if not chain:
        return [], rest, "no group from 0"
    edges = {g[0] for g in chain} | {lower}
    end = None if lower is None else lower
    for group in rest:
        last = group[0] + group[1] if group[1] else end
        if group[0] not in edges or last not in edges:
            if lower is not None and group[0] >= lower:
                return chain, rest, f"nothing after {show_group(chain[-1])}"
            return chain, rest, f"{show_group(group)} cuts across the others"
    return chain, rest, ""


def find_chain(
    where: str,
    groups: Iterable[Group],
    faults: list[Fault],
    notes: list[Note],
    *,
    is_long: bool = False,
) -> list[Group]:
    """Groups that follow each other from 0 to an open one; tell what was left out or is wrong.

    Parameters
    ----------
    where
        The table.
    groups
        That occur in it, in any order.
    faults, notes
        What is wrong, and what was interpreted, is added to these.
    is_long
        Whether ages stand in rows: a table of single years then may lack those that nobody has.
    """
    given = {group for group in groups if group[0] >= 0}
    singles = {lower for lower, width in given if width == 1}
    if is_long and len(singles) > 50:
        top = max((lower for lower, width in given if not width), default=max(singles) + 1)
        gaps = sorted(set(range(top)) - singles)
        given |= {(age, 1) for age in gaps}
        if gaps:
            what = "ages without rows were taken to be nobody's"
            notes.append(Note(where, what, len(gaps), str(gaps[0])))
    chain, memo, wrong = age_chain(given)
    if not wrong and len(chain) < 3:
        wrong = f"only {' and '.join(map(show_group, chain))}"
    if not wrong and chain[-1][1]:
        end = sum(chain[-1])
        if end <= 80:
            wrong = f"nothing after {show_group(chain[-1])}"
        else:
            chain.append((end, 0))
            notes.append(Note(where, f"no open age group: nobody was taken to be {end} or older"))
    if wrong:
        faults.append(
            Fault(
                where,
                "age groups must follow each other from 0 to an open last one, without gap or"
                " overlap",
                "Correct the groups; write memo items as 再掲_65歳以上, or leave them out.",
                first=wrong,
            )
        )
    elif memo:
        shown = ", ".join(map(show_group, memo[:5]))
        what = "age groups beside the finer ones were left out"
        notes.append(Note(where, what, len(memo), shown))
    return chain


# ---- headers ----------------------------------------------------------------------------------

_SEX_WORDS = {
    "男性": "male", "女性": "female", "男子": "male", "女子": "female", "男": "male",
    "女": "female", "female": "female", "male": "male", "women": "female", "woman": "female",
    "men": "male", "man": "male", "総数": "total", "合計": "total", "計": "total",
    "total": "total", "f": "female", "m": "male",
}  # fmt: skip
_LEADING = re.compile(f"({'|'.join(_SEX_WORDS)})の?[_/]?(.+)")
_TRAILING = re.compile(f"(.+?)の?[_/]?({'|'.join(_SEX_WORDS)})(?:人口|数)?")
_MARGINS = {
    **{word: sex for word, sex in _SEX_WORDS.items() if len(word) > 1 or word in "男女計"},
    **dict.fromkeys(
        ("総人口", "人口総数", "人口計", "人口", "男女計", "totalpopulation", "population"), "total"
    ),
    "男性人口": "male", "女性人口": "female", "男人口": "male", "女人口": "female",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Columns that hold people: by sex and age group, of unknown age, and all ages together."""

    cells: Mapping[tuple[str, Group], str]
    unknown: Mapping[str, str]
    margins: Mapping[str, str]
    memo: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    numbered: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether the ages stand side by side."""
        return len(self.cells) > 2

    @property
    def has_sexes(self) -> bool:
        """Whether both sexes, all ages together or the row's one, stand side by side."""
        return {"female", "male"} <= set(self.margins)

    @property
    def holds(self) -> set[str]:
        """Columns of the contract that these columns hold, so that none is looked for."""
        if self.is_wide:
            sexes = {sex for sex, _ in self.cells}
            return {"age", "count"} | ({"sex"} if {"female", "male"} <= sexes else set())
        return {"count", "sex"} if self.has_sexes else set()


def read_header(names: Sequence[str]) -> Header:
    """Find the columns that hold people.

    Examples
    --------
    >>> header = read_header(["町名", "総人口", "男性", "女性", "0-4歳の男性", "0-4歳の女性"])
    >>> header.cells
    {('male', (0, 5)): '0-4歳の男性', ('female', (0, 5)): '0-4歳の女性'}
    >>> header.margins
    {'total': '総人口', 'male': '男性', 'female': '女性'}
    """
    cells: dict[tuple[str, Group], str] = {}
    unknown: dict[str, str] = {}
    margins: dict[str, str] = {}
    memo, twice = [], []
    for name in names:
        word = normal(name)
        if word in _MARGINS:
            if margins.setdefault(_MARGINS[word], name) != name and name in margins.values():
                twice.append(name)
            continue
        found = _people(word)
        if found is None:
            continue
        sex, group = found
        if group[0] == MEMO:
            memo.append(name)
        elif group[0] == ALL_AGES:
            margins.setdefault(sex, name)
        elif group[0] == UNKNOWN_AGE:
            unknown[sex] = name
        elif (sex, group) in cells:
            twice.append(name)
        else:
            cells[sex, group] = name
    numbered = _is_numbered(cells)
    if numbered:
        last = max(lower for _, (lower, _) in cells)
        cells = {
            (sex, ((lower - 1) * 5, 5 if lower < last else 0)): name
            for (sex, (lower, _)), name in cells.items()
        }
    return Header(cells, unknown, margins, tuple(memo), tuple(twice), numbered)


def _people(word: str) -> tuple[str, Group] | None:
    group = age_group(word)
    if group is not None:
        return "total", group
    if (match := _LEADING.fullmatch(word)) and (group := age_group(match[2])) is not None:
        return _SEX_WORDS[match[1]], group
    if (match := _TRAILING.fullmatch(word)) and (group := age_group(match[1])) is not None:
        return _SEX_WORDS[match[2]], group
    return None


def _is_numbered(cells: Mapping[tuple[str, Group], str]) -> bool:
    """Whether columns are numbered from 1 (man1 … woman18) rather than named by the age."""
    lowers = {lower for _, (lower, _) in cells}
    return (
        {sex for sex, _ in cells} == {"female", "male"}
        and all(width == 1 for _, (_, width) in cells)
        and lowers == set(range(1, len(lowers) + 1))
        and 17 <= len(lowers) <= 24
    )


def header_likeness(row: Sequence[str], known: set[str]) -> float:
    """How many cells of a row look like names of columns."""
    names = sum(normal(cell) in known for cell in row if cell)
    header = read_header(row)
    if header.is_wide and not header.twice:
        chain, _, wrong = age_chain(group for _, group in header.cells)
        # A row of figures reads as ages too, but hardly as 0, 1, 2, … up to an open one.
        if not wrong and (chain[-1][1] == 0 or len(chain) > 14):
            names += len(header.cells)
    return float(names)


# ---- dates in titles and names ----------------------------------------------------------------

_DATES = re.compile(
    r"(?:明治|大正|昭和|平成|令和)(?:元|\d{1,2})年\d{1,2}月\d{1,2}日|\d{4}年\d{1,2}月\d{1,2}日"
    r"|(?<!\d)\d{4}[-_.]\d{2}[-_.]\d{2}(?!\d)|(?<!\d)(?:19|20)\d{6}(?!\d)"
)
_MONTHS = re.compile(r"(?<!\d)((?:19|20)\d{2})[-_.]?(0[1-9]|1[0-2])(?!\d)")
_HEISEI = re.compile(r"zensi(\d{2})(0[1-9]|1[0-2])")


def date_in(text: str) -> datetime.date | None:
    """Day that a title or a file name tells; of a month alone its last day.

    Examples
    --------
    >>> print(date_in("人口統計　平成２５年３月３１日現在"), date_in("202306opendata.csv"))
    2013-03-31 2023-06-30
    >>> print(date_in("zensi2503.xls"))
    2013-03-31
    """
    word = normal(text)
    for found in _DATES.findall(word):
        day = read_date(found.replace("_", "-"))
        if isinstance(day, datetime.date):
            return day
    if match := _HEISEI.search(word):
        return _month_end(1988 + int(match[1]), int(match[2]))
    if match := _MONTHS.search(word):
        return _month_end(int(match[1]), int(match[2]))
    return None


def _month_end(year: int, month: int) -> datetime.date:
    return datetime.date(year, month, calendar.monthrange(year, month)[1])

"""Counts as they stand in a table, put in their places of a cube; every total in it is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popproj.readers.cells import ALL_AGES, UNKNOWN_AGE, Bools, Floats, Ints, normal, row_faults
from popproj.readers.headers import Group, show_group
from popproj.schema import Fault, InputError, Note

SEX_ORDER = ("female", "male", "total")
ASK = "Ask the office which figure holds."
_WHOLE = re.compile(r"\*?(?:[総合]?計|総合計|総数|全[市町村区域体]|市計)\*?|")


@dataclass(frozen=True)
class Places:
    """Where the people of each row of a table live.

    Parameters
    ----------
    area, name, ward, ward_name
        Text, blank where not given.
    is_sum
        Rows that are sums of others.
    label
        What such a row is called, blank where it is not.
    """

    area: NDArray[np.object_]
    name: NDArray[np.object_]
    ward: NDArray[np.object_]
    ward_name: NDArray[np.object_]
    is_sum: Bools
    label: NDArray[np.object_]


@dataclass(frozen=True)
class Entries:
    """Counts one after the other: of which row, sex (in SEX_ORDER), age group, and how many.

    Parameters
    ----------
    row, sex, group
        Positions.
    groups
        Age groups that occur, UNKNOWN_AGE and ALL_AGES among them.
    count
        People; NaN where blank or withheld.
    blank
        Whether the cell is empty.
    """

    row: Ints
    sex: Ints
    group: Ints
    groups: tuple[Group, ...]
    count: Floats
    blank: Bools


@dataclass(frozen=True)
class Listing:
    """A table of counts after its cells were read.

    Parameters
    ----------
    frame
        Its text, with ``_file`` and ``_row``.
    where
        How it is called in messages.
    day
        Of each row.
    places
        Of the rows.
    entries
        The counts.
    chain
        Age groups that follow each other from 0; others among the entries are memo items.
    margins
        Figures ``female`` and ``male`` of each row, all ages together, where the ages come for
        both sexes together.
    is_merged
        Whether withheld areas are in the figures of others, so that the areas make up the totals.
    notes
        What was interpreted; more is added.
    """

    frame: pd.DataFrame
    where: str
    day: NDArray[np.datetime64]
    places: Places
    entries: Entries
    chain: Sequence[Group]
    margins: Mapping[str, Floats] = field(default_factory=dict)
    is_merged: bool = False
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Counts of residents from one table.

    Parameters
    ----------
    where
        The file.
    dates
        Days of the count, in order.
    areas
        Table with the columns ``area`` (unique, in order), ``name``, ``ward``, ``ward_name``.
    sexes
        Female and male, one of them, or ``total``.
    groups
        Age groups, one after the other from 0.
    people
        Dims (date, sex, group, area) [people]; NaN where withheld, 0 where `present` is false.
    present
        Dims (date, area): whether the table has the area on that day.
    by_sex
        Dims (date, female and male, area) [people], all ages, where the groups come for both sexes
        together.
    notes
        What was interpreted.
    listed
        Dims (date, area): place of the area's first row in the table; NaN where it has none.
    """

    where: str
    dates: NDArray[np.datetime64]
    areas: pd.DataFrame
    sexes: tuple[str, ...]
    groups: tuple[Group, ...]
    people: Floats
    present: Bools
    by_sex: Floats | None
    notes: tuple[Note, ...]
    listed: Floats


def pivot(listing: Listing) -> Block:
    """Counts in their places; totals in the table are checked and left out.

    Raises
    ------
    InputError
        Where rows say the same twice, or totals are not the sums of their parts.
    """
    places, entries, chain = listing.places, listing.entries, listing.chain
    n_groups = len(chain)
    own_row = ~places.is_sum
    date_of, dates = pd.factorize(listing.day, sort=True)
    area = places.area.copy()
    area[places.is_sum] = None
    area_of, codes = pd.factorize(area, sort=True)
    sex_codes = np.unique(entries.sex)
    sex = np.searchsorted(sex_codes, entries.sex)
    position = {group: i for i, group in enumerate(chain)}
    position |= {(UNKNOWN_AGE, 0): n_groups, (ALL_AGES, 0): n_groups + 1}
    group = np.array([position.get(g, -1) for g in entries.groups])[entries.group]
    used = (group >= 0) & ~entries.blank
    shape = (len(dates), len(sex_codes), n_groups + 2, len(codes))
    size = int(np.prod(shape))

    own = used & own_row[entries.row]
    row = entries.row[own]
    count = entries.count[own]
    at = (date_of[row], sex[own], group[own], area_of[row])
    flat = np.ravel_multi_index(at, shape)
    times = _times(listing, flat, row, size)
    withheld = np.isnan(count)
    people = np.bincount(flat, np.where(withheld, 0.0, count), size).astype(np.float64)
    people[flat[withheld]] = np.nan
    people = people.reshape(shape)
    given = (np.bincount(flat, minlength=size) > 0).reshape(shape)[:, :, :n_groups]
    present = np.zeros((len(dates), len(codes)), dtype=bool)
    present[date_of[own_row], area_of[own_row]] = True
    listed = np.full(present.shape, np.nan)
    rows = np.flatnonzero(own_row)[::-1]
    listed[date_of[rows], area_of[rows]] = rows
    is_blank = present & ~given.any(axis=(1, 2))

    faults = [*_repeated(listing, row, times)]
    faults += _check_ages(listing, people, at, row)
    faults += _check_sexes(listing, sex_codes, people, at, row)
    faults += _check_whole(listing, people, used, date_of, sex, group, is_blank)
    if faults:
        raise InputError(faults)

    if len(sex_codes) == len(SEX_ORDER):
        people, given, sex_codes = people[:, :2], given[:, :2], sex_codes[:2]
    _note_unknown(listing, people, n_groups)
    people = np.ascontiguousarray(people[:, :, :n_groups])
    _note_blanks(listing, codes, is_blank, (present & ~is_blank)[:, None, None] & ~given)
    people[np.broadcast_to(is_blank[:, None, None], people.shape)] = np.nan
    by_sex = None
    if listing.margins:
        by_sex = np.zeros((len(dates), 2, len(codes)))
        for i, name in enumerate(SEX_ORDER[:2]):
            by_sex[date_of[own_row], i, area_of[own_row]] = listing.margins[name][own_row]
    last = _last_rows(area_of, date_of, len(codes))
    areas = {name: getattr(places, name)[last] for name in ("area", "name", "ward", "ward_name")}
    return Block(
        where=str(listing.frame["_file"].iloc[0]),
        dates=np.asarray(dates, dtype="datetime64[D]"),
        areas=pd.DataFrame(areas, dtype=object),
        sexes=tuple(SEX_ORDER[s] for s in sex_codes),
        groups=tuple(chain),
        people=people,
        present=present,
        by_sex=by_sex,
        notes=tuple(listing.notes),
        listed=listed,
    )


def sum_by_ward(block: Block) -> Block:
    """Put branch offices (支所・出張所) together to wards."""
    ward_of, wards = pd.factorize(block.areas["ward"], sort=True)
    member = (ward_of[:, None] == np.arange(len(wards))).astype(np.float64)
    first = np.unique(ward_of, return_index=True)[1]
    return replace(
        block,
        areas=block.areas.iloc[first].assign(area=wards).reset_index(drop=True),
        people=block.people @ member,
        present=(block.present @ member) > 0,
        by_sex=None,
        listed=block.listed[:, first],
    )


# ---- what is wrong ----------------------------------------------------------------------------


def _times(listing: Listing, flat: Ints, row: Ints, size: int) -> Ints:
    """How often each count is given; counts of several nationalities add up."""
    if "nationality" not in listing.frame:
        return np.asarray(np.bincount(flat, minlength=size)[flat])
    codes, names = pd.factorize(listing.frame["nationality"])
    listing.notes.append(Note(listing.where, f"nationalities were added up: {', '.join(names)}"))
    key = flat * len(names) + codes[row]
    return np.asarray(np.bincount(key, minlength=size * len(names))[key])


def _rows(listing: Listing, rows: Ints) -> Bools:
    mask = np.zeros(len(listing.frame), dtype=bool)
    mask[rows] = True
    return mask


def _repeated(listing: Listing, row: Ints, times: Ints) -> list[Fault]:
    rows = _rows(listing, row[times > 1])
    rule = "must stand once only for each date, sex and age"
    return row_faults(listing.frame, "area", rows, rule, "Take the repeated rows out.")


_Places = tuple[Ints, Ints, Ints, Ints]


def _check_ages(listing: Listing, people: Floats, at: _Places, row: Ints) -> list[Fault]:
    """Rows of all ages must be the sums of the ages, of unknown ones too."""
    everyone = at[2] == people.shape[2] - 1
    if not everyone.any():
        return []
    parts = people[:, :, :-1].sum(axis=2)
    date, sex, _, area = (a[everyone] for a in at)
    told = people[date, sex, -1, area]
    with np.errstate(invalid="ignore"):
        wrong = np.abs(told - parts[date, sex, area]) > 0.5
    # Where an area's ages are withheld, only its total may stand.
    wrong &= parts[date, sex, area] > 0
    rows = _rows(listing, row[everyone][wrong])
    return row_faults(
        listing.frame, "count", rows, "of all ages must equal the sum of the ages", ASK
    )


def _check_sexes(
    listing: Listing, sex_codes: Ints, people: Floats, at: _Places, row: Ints
) -> list[Fault]:
    """Rows of both sexes must be the sums of women and men."""
    if len(sex_codes) != len(SEX_ORDER):
        if 2 in sex_codes and len(sex_codes) == 2:
            rule = (
                "the table must have women and men, or both together, and has one sex and the total"
            )
            return [Fault(listing.where, rule, "Add the other sex.")]
        return []
    both = at[1] == 2
    date, _, group, area = (a[both] for a in at)
    with np.errstate(invalid="ignore"):
        gap = np.abs(people[:, 2] - people[:, 0] - people[:, 1])[date, group, area]
        rows = _rows(listing, row[both][gap > 0.5])
    rule = "of both sexes must equal women and men together"
    return row_faults(listing.frame, "count", rows, rule, ASK)


def _check_whole(
    listing: Listing,
    people: Floats,
    used: Bools,
    date_of: Ints,
    sex: Ints,
    group: Ints,
    is_blank: Bools,
) -> list[Fault]:
    """Rows that are sums of areas are left out; those of the whole table must add up."""
    places, where = listing.places, listing.where
    if not places.is_sum.any():
        return []
    labels = dict.fromkeys(places.label[places.is_sum])
    shown = next((label for label in labels if label), "(without area)")
    what = "rows that are sums of others were left out"
    listing.notes.append(Note(where, what, int(places.is_sum.sum()), shown))
    whole = [one for one in labels if len(labels) == 1 or _WHOLE.fullmatch(normal(one))]
    chosen = (
        used
        & (places.is_sum & np.isin(places.label, np.array(whole, dtype=object)))[
            listing.entries.row
        ]
    )
    shape = people.shape[:3]
    size = int(np.prod(shape))
    row = listing.entries.row[chosen]
    flat = np.ravel_multi_index((date_of[row], sex[chosen], group[chosen]), shape)
    told = np.bincount(flat, listing.entries.count[chosen], size).astype(np.float64).reshape(shape)
    found = np.nansum(people, axis=3)
    # Two such rows are of different things, and a sum of all ages may be the only one.
    compared = (np.bincount(flat, minlength=size) == 1).reshape(shape) & (found > 0)
    with np.errstate(invalid="ignore"):
        wrong = compared & (np.abs(told - found) > 0.5)
    if not wrong.any():
        return []
    if is_blank.any() and not listing.is_merged:
        missing = float((told - found)[:, :, :-1][wrong[:, :, :-1]].sum())
        what = "people of withheld areas are in the total and in no area"
        listing.notes.append(Note(where, what, missing, shown))
        return []
    first = tuple(np.argwhere(wrong)[0])
    return [
        Fault(
            where,
            f'the row "{shown}" must equal the sum of the areas',
            "Look for missing or repeated rows.",
            broken=int(wrong.sum()),
            total=int(compared.sum()),
            first=f"{told[first]:,.10g}, where the sum is {found[first]:,.10g}",
            unit="figures",
        )
    ]


# ---- what was interpreted ---------------------------------------------------------------------


def _note_blanks(
    listing: Listing, codes: NDArray[np.object_], is_blank: Bools, implied: Bools
) -> None:
    if is_blank.any():
        what = "areas without figures were kept as withheld (秘匿), not taken for empty"
        first = str(codes[np.argwhere(is_blank)[0][1]])
        listing.notes.append(Note(listing.where, what, int(is_blank.sum()), first))
    if implied.any():
        _, _, group, area = np.argwhere(implied)[0]
        first = f"{codes[area]}, age {show_group(listing.chain[group])}"
        what = "ages without a figure, in areas that have others, were read as 0"
        listing.notes.append(Note(listing.where, what, int(implied.sum()), first))


def _note_unknown(listing: Listing, people: Floats, n_groups: int) -> None:
    unknown = float(np.nansum(people[:, :, n_groups]))
    if unknown:
        share = 100 * unknown / float(np.nansum(people[:, :, : n_groups + 1]))
        what = f"people of unknown age (年齢不詳) were left out, {share:.2g} % of all"
        listing.notes.append(Note(listing.where, what, unknown))


def _last_rows(area_of: Ints, date_of: Ints, n_areas: int) -> Ints:
    """Position of the latest row of each area: its name then is its name."""
    order = np.lexsort((date_of, area_of))
    last = np.searchsorted(area_of[order], np.arange(n_areas), side="right") - 1
    return np.asarray(order[last], dtype=np.int64)

"""Events as flows between stocks: arithmetic on arrays whose labels are already checked.

Counts by age at the event are split over the two Lexis triangles, moves become a long table, and
what then does not close is the adjustment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.schema import EVENT_KINDS, Fault, InputError, Note

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BIRTH, DEATH, IN, OUT, MOVE, OTHER = range(len(EVENT_KINDS))

INFANT_DEATH_AGE = 0.145
"""Mean age at death of those who die under one [years].

The value of Andreev and Kingkade (2015, *Demographic Research* 33:13) at an infant death rate of
0.002, Japan's: 0.1449 for girls, 0.1453 for boys. It is also the share of a birth cohort's infant
deaths that fall into the calendar year after the birth, births being spread evenly.
"""


@dataclass(frozen=True)
class Events:
    """Events as arrays of equal length, one entry a row of the source.

    Parameters
    ----------
    kind
        Position in ``schema.EVENT_KINDS``.
    year
        Calendar year in which the year of the event starts.
    area
        Position of the area: where the event befell, for a move the one that was left.
    other
        For a move the position of the area that was reached, else -1.
    sex
        Position of the sex, of a birth the child's.
    age
        Completed years, the open age and over as the open age; -1: not known. Of a birth the
        mother's, at the birth.
    reached
        Whether `age` is the one at the end of the year, and not at the event. Of births not used.
    count
        People [people]; below zero only where a register took people out by a correction.
    """

    kind: Ints
    year: Ints
    area: Ints
    other: Ints
    sex: Ints
    age: Ints
    reached: Bools
    count: Floats

    def take(self, rows: Bools | Ints) -> Events:
        """Entries chosen by a mask or by position."""
        return Events(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def concat(parts: Sequence[Events]) -> Events:
        """Several tables as one."""
        columns = ([getattr(part, f.name) for part in parts] for f in fields(Events))
        return Events(*map(np.concatenate, columns))


# ---- the Lexis square -------------------------------------------------------------------------


def upper_share(start: Floats, end: Floats, births: Floats, infant: float = 0.5) -> Floats:
    r"""Share of the events at each completed age that befall people who have their birthday ahead.

    In one year people of completed age x belong to two cohorts: those who had that age at the
    start (upper Lexis triangle; they reach x + 1), and those who attain it during the year (lower
    triangle; they reach x). At a constant risk within the age, events divide as the person-years
    of the two triangles, for cohorts that change evenly between the two stocks

    .. math:: E_U(x) = P_t(x)/3 + P_{t+1}(x+1)/6, \qquad E_L(x) = P_t(x-1)/6 + P_{t+1}(x)/3

    with the year's births in the place of :math:`P_t(-1)`. Where an area has nobody of either
    cohort, or its figures are blank, the sum over all areas divides; where that is empty too, half
    and half.

    Parameters
    ----------
    start, end
        Stocks at the two ends of the year, dims (..., age, area) [people]; NaN where blank. The
        last age is open.
    births
        Births of the year, dims (..., area) [people].
    infant
        Weight of the upper triangle at age 0: 0.5 for events spread evenly over the first year of
        life, the mean age at death for infant deaths, which crowd after the birth.

    Returns
    -------
    ndarray
        The share, dims (..., age, area) [1]: 0 at the open age, where both cohorts stay.

    References
    ----------
    Wilmoth et al. (2021), *Methods Protocol for the Human Mortality Database*, version 6, section
    on death rates: the person-years of the triangles are these.

    Examples
    --------
    One cohort of 300 among cohorts of 100, aged 1 at the start: of the events at age 1, three in
    four are theirs, before their birthday; of those at age 2 they have three in four after it.

    >>> start, end = np.array([[100.0, 300, 100, 0], [100, 100, 300, 100]])[:, :, None]
    >>> upper_share(start, end, births=np.array([100.0]))[:, 0]
    array([0.5 , 0.75, 0.25, 0.  ])
    """
    upper = np.zeros_like(start)
    upper[..., :-2, :] = start[..., :-2, :] / 3 + end[..., 1:-1, :] / 6
    # The end of the cohort next to the open age stands among all the open ages.
    upper[..., -2, :] = start[..., -2, :] / 2
    lower = end / 3
    lower[..., 0, :] += births / 6
    lower[..., 1:, :] += start[..., :-1, :] / 6
    upper[..., 0, :] *= infant
    lower[..., 0, :] *= 1 - infant
    both = upper + lower
    known = np.isfinite(both)
    city_upper = np.where(known, upper, 0).sum(axis=-1, keepdims=True)
    city_both = np.where(known, both, 0).sum(axis=-1, keepdims=True)
    share = np.full_like(city_both, 0.5)
    np.divide(city_upper, city_both, out=share, where=city_both > 0)
    share = np.broadcast_to(share, both.shape).copy()
    np.divide(upper, both, out=share, where=known & (both > 0))
    share[..., -1, :] = 0
    return share


def reached(counts: Floats, share: Floats) -> Floats:
    """Counts by age at the event as counts by the age reached at the end of the year.

    Parameters
    ----------
    counts
        Dims (..., age, area) [people], the last age open.
    share
        Of each age, the part that reaches the next one (:func:`upper_share`).

    Examples
    --------
    >>> reached(np.array([[4.0], [2.0], [1.0]]), np.array([[0.25], [0.5], [0.0]]))[:, 0]
    array([3., 2., 2.])
    """
    older = counts * share
    result = counts - older
    result[..., 1:, :] += older[..., :-1, :]
    return result


# ---- years and stocks -------------------------------------------------------------------------


def year_starts_of(dataset: xr.Dataset, years: Sequence[int] | Ints) -> NDArray[np.datetime64]:
    """Instants at which the given years start, by the dataset's ``year_starts``."""
    day = dataset.attrs["year_starts"]
    return np.array([f"{int(year):04d}-{day}" for year in years], dtype="datetime64[ns]")


def ends_of_years(dataset: xr.Dataset, years: Sequence[int] | Ints) -> tuple[Ints, Ints]:
    """Positions on ``time`` of the stocks at the start and at the end of each year, -1: none.

    Examples
    --------
    >>> from popproj.schema import time_coordinate
    >>> stocks = xr.Dataset(coords=time_coordinate(["2016-03-31", "2016-09-30", "2017-03-31"]))
    >>> ends_of_years(stocks.assign_attrs(year_starts="04-01"), [2015, 2016])
    (array([-1,  0]), array([0, 2]))
    """
    index = pd.DatetimeIndex(dataset["time"].to_numpy())
    years = np.asarray(years, dtype=int)
    first, last = (
        index.get_indexer(pd.DatetimeIndex(year_starts_of(dataset, y))) for y in (years, years + 1)
    )
    return np.asarray(first, dtype=int), np.asarray(last, dtype=int)


def _stocks(dataset: xr.Dataset) -> tuple[Floats, Floats]:
    """Stocks at the start and at the end of each year of the flows."""
    first, last = ends_of_years(dataset, dataset["year"].to_numpy())
    people = dataset["population"].to_numpy()
    return people[first], people[last]


def _place(dataset: xr.Dataset) -> str:
    return "district" if "district" in dataset.dims else "area"


def _aged(start: Floats, births: Floats) -> Floats:
    """Who would be there at the end of the year, had nobody died or moved: labels of the end."""
    aged = np.empty_like(start)
    aged[..., 0, :] = births
    aged[..., 1:, :] = start[..., :-1, :]
    aged[..., -1, :] += start[..., -1, :]
    return aged


def moves_by_cell(dataset: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Moves inside the city by cell, from the long table: arrivals and departures.

    Parameters
    ----------
    dataset
        A register, by areas or by districts, with ``move_count``.

    Returns
    -------
    tuple of DataArray
        ``moves_in`` and ``moves_out``, dims (year, sex, age, area or district) [people]; their
        sums over the places are equal.

    Examples
    --------
    >>> register = xr.Dataset(
    ...     {"move_count": ("move", [2.0, 1.0])},
    ...     coords={
    ...         "move_year": ("move", [2016, 2016]),
    ...         "move_sex": ("move", ["male", "male"]),
    ...         "move_age": ("move", [30, 31]),
    ...         "move_origin": ("move", ["A", "B"]),
    ...         "move_destination": ("move", ["B", "A"]),
    ...         "year": [2016], "sex": ["female", "male"], "age": range(101), "area": ["A", "B"],
    ...     },
    ... )
    >>> for moves in moves_by_cell(register):
    ...     print(moves.name, moves.sum(["year", "sex", "age"]).to_numpy())
    moves_in [1. 2.]
    moves_out [2. 1.]
    """
    return _moves_at(dataset, move_positions(dataset), dataset["move_count"].to_numpy())


def _moves_at(
    dataset: xr.Dataset, cell: Sequence[Ints], count: Floats
) -> tuple[xr.DataArray, xr.DataArray]:
    dims = ("year", "sex", "age", _place(dataset))
    shape = tuple(dataset.sizes[d] for d in dims)
    coords = {d: dataset[d] for d in dims}
    *cell, origin, destination = cell
    arriving = xr.DataArray(_sums(shape, (*cell, destination), count), coords, dims, "moves_in")
    leaving = xr.DataArray(_sums(shape, (*cell, origin), count), coords, dims, "moves_out")
    return arriving, leaving


def closing_gap(
    dataset: xr.Dataset, moves: tuple[xr.DataArray, xr.DataArray] | None = None
) -> xr.DataArray:
    """What the books of each year lack to close, cell by cell: ``adjustment``.

    ``population(t+1, a) − [population(t, a−1) − deaths + in − out − moves out + moves in](a)``,
    with the year's births before age 0 and the last two ages together before the open one. Flows
    that the register does not know count as none, so they stand in the gap.

    Parameters
    ----------
    dataset
        A register with stocks at both ends of each ``year``, by areas or by districts.
    moves
        What :func:`moves_by_cell` gives, where it is at hand.

    Returns
    -------
    DataArray
        Dims (year, sex, age, area or district) [people]. NaN where a stock is blank.
    """
    place = _place(dataset)
    start, end = _stocks(dataset)
    if "births" in dataset:
        births = dataset["births"].to_numpy()
    else:
        births = np.zeros((start.shape[0], start.shape[1], start.shape[3]))
    gap = end - _aged(start, births)
    for name, sign in (("deaths", 1), ("in_migrants", -1), ("out_migrants", 1)):
        if name in dataset:
            gap += sign * dataset[name].to_numpy()
    if "move_count" in dataset:
        moves_in, moves_out = moves_by_cell(dataset) if moves is None else moves
        gap += moves_out.to_numpy()
        gap -= moves_in.to_numpy()
    dims = ("year", "sex", "age", place)
    return xr.DataArray(gap, dims=dims, coords={d: dataset[d] for d in dims}, name="adjustment")


# ---- from events to flows ---------------------------------------------------------------------


def add_flows(stocks: xr.Dataset, events: Events) -> xr.Dataset:
    """Stocks and the flows between them, so that the books close in every cell.

    Parameters
    ----------
    stocks
        ``population`` (time, sex, age, area) in single years [people]; attribute ``year_starts``.
    events
        Their positions refer to the sexes and areas of `stocks`.

    Returns
    -------
    Dataset
        With ``births``, ``births_by_mother``, ``deaths``, ``in_migrants``, ``out_migrants`` and the
        long table ``move_count`` for the kinds that occur; ``corrections``, the counts that the
        register itself calls neither of these; and ``adjustment``, corrections included
        (:func:`closing_gap`). Dim ``year``: the years with stocks at both ends.

    Raises
    ------
    InputError
        Where no year of the events has stocks at both ends, or where in the whole city more people
        of a cohort died than can have lived in it.
    """
    dataset, events, notes = _years_between_stocks(stocks, events)
    years, sexes, ages, areas = (dataset.sizes[d] for d in ("year", "sex", "age", "area"))
    shape = (years, sexes, ages, areas)
    start, end = _stocks(dataset)
    given = {kind: events.take(events.kind == kind) for kind in np.unique(events.kind).tolist()}
    for kind, some in given.items():
        missing = dataset["year"].to_numpy()[np.bincount(some.year, minlength=years) == 0]
        if missing.size and kind != OTHER:
            what = f"no event of the kind {EVENT_KINDS[kind]} in {_years_text(missing)}: a file may"
            notes.append(Note("events", f"{what} be missing; the adjustment makes up for it"))

    flow: dict[str, tuple[tuple[str, ...], Floats]] = {}
    births = np.nan_to_num(end[:, :, 0])
    if BIRTH in given:
        birth = given[BIRTH]
        births = _sums((years, sexes, areas), (birth.year, birth.sex, birth.area), birth.count)
        flow["births"] = (("year", "sex", "area"), births)
        by_mother = _births_by_mother(birth, (years, ages, areas), notes)
        flow["births_by_mother"] = (("year", "age", "area"), by_mother)
    share = upper_share(start, end, births)
    young = np.s_[:, :, :3]
    dying = share.copy()
    dying[:, :, 0] = upper_share(start[young], end[young], births, INFANT_DEATH_AGE)[:, :, 0]
    # Those who arrive have not been in the area's stock: the city's cohorts divide them.
    arriving = upper_share(
        np.nansum(start, axis=3, keepdims=True),
        np.nansum(end, axis=3, keepdims=True),
        births.sum(axis=2, keepdims=True),
    )
    for kind, name, part in (
        (DEATH, "deaths", dying),
        (IN, "in_migrants", arriving),
        (OUT, "out_migrants", share),
        (OTHER, "corrections", share),
    ):
        if kind in given:
            flow[name] = (("year", "sex", "age", "area"), _by_age(given[kind], shape, part))
    dataset = dataset.assign(flow)
    moves = None
    if MOVE in given:
        dataset, moves = _with_moves(dataset, given[MOVE], share)
    dataset["adjustment"] = closing_gap(dataset, moves)
    _check_deaths(dataset, start, moves, notes)
    return dataset.assign_attrs(notes=(*dataset.attrs.get("notes", ()), *notes))


def _years_between_stocks(
    stocks: xr.Dataset, events: Events
) -> tuple[xr.Dataset, Events, list[Note]]:
    """Years with a stock at each end, their events, and notes about the others."""
    notes: list[Note] = []
    labels, place = np.unique(events.year, return_inverse=True)
    first, last = ends_of_years(stocks, labels)
    kept = (first >= 0) & (last >= 0)
    days = [str(d)[:10] for d in stocks["count_date"].to_numpy()]
    starts = stocks.attrs["year_starts"]
    if not kept.any():
        counted = ", ".join(days) if len(days) <= 6 else f"{days[0]} … {days[-1]}"
        raise InputError(
            Fault(
                "events",
                f"a year of events needs residents counted at both its ends, and none of "
                f"{_years_text(labels)} has them: years start on {starts}, residents were counted "
                f"at the close of {counted}",
                "Correct year_starts, or give the counts of the day before it.",
            )
        )
    if not kept.all():
        people = np.abs(events.count[~kept[place]]).sum()
        notes.append(
            Note(
                "events",
                f"years without residents counted at both ends (they start on {starts}) are not"
                f" used: {_years_text(labels[~kept])}",
                float(people),
            )
        )
        events = events.take(kept[place])
        place = np.cumsum(kept)[place[kept[place]]] - 1
    used = np.zeros(len(days), dtype=bool)
    used[first[kept]] = used[last[kept]] = True
    if not used.all():
        idle = [day for day, u in zip(days, used, strict=True) if not u]
        notes.append(
            Note(
                "events",
                "days of the count that no year of events starts or ends with: flows do not use"
                " them",
                len(idle),
                idle[0],
            )
        )
    events = Events(**{f.name: getattr(events, f.name) for f in fields(Events)} | {"year": place})
    return stocks.assign_coords(year=labels[kept].astype(int)), events, notes


def _years_text(years: Ints) -> str:
    """Years in words, runs as ranges: 2013-2015, 2017."""
    runs = np.split(years, np.flatnonzero(np.diff(years) != 1) + 1)
    return ", ".join(str(r[0]) if r.size == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _sums(shape: tuple[int, ...], cell: tuple[Ints, ...], count: Floats) -> Floats:
    """Counts added up by cell."""
    flat = np.ravel_multi_index(cell, shape)
    sums = np.bincount(flat, weights=count, minlength=int(np.prod(shape)))
    return sums.astype(np.float64, copy=False).reshape(shape)


def _by_age(events: Events, shape: tuple[int, ...], share: Floats) -> Floats:
    """Counts by cell of the age reached, from both ways to tell the age."""
    total = np.zeros(shape)
    known = events.age >= 0
    for rows, turn in (
        (known & ~events.reached, lambda counts: reached(counts, share)),
        (known & events.reached, lambda counts: counts),
    ):
        if rows.any():
            e = events.take(rows)
            total += turn(_sums(shape, (e.year, e.sex, e.age, e.area), e.count))
    return total


def _births_by_mother(birth: Events, shape: tuple[int, ...], notes: list[Note]) -> Floats:
    """Births by the mother's age at the birth."""
    known = birth.take(birth.age >= 0)
    missing = float(birth.count.sum() - known.count.sum())
    if missing:
        what = "births without the mother's age: they are in births, not in births_by_mother"
        notes.append(Note("events", what, missing))
    return _sums(shape, (known.year, known.age, known.area), known.count)


def _with_moves(
    dataset: xr.Dataset, moves: Events, share: Floats
) -> tuple[xr.Dataset, tuple[xr.DataArray, xr.DataArray]]:
    """Long table of the moves between areas, by the age reached."""
    moves = moves.take(moves.age >= 0)
    older = np.where(moves.reached, 0.0, share[moves.year, moves.sex, moves.age, moves.area])
    key = tuple(
        np.concatenate([k, k]) for k in (moves.year, moves.sex, moves.age, moves.area, moves.other)
    )
    key[2][moves.age.size :] += 1
    count = np.concatenate([moves.count * (1 - older), moves.count * older])
    some = count > 0
    return with_move_table(dataset, tuple(k[some] for k in key), count[some])


def with_move_table(
    dataset: xr.Dataset, cell: tuple[Ints, ...], count: Floats
) -> tuple[xr.Dataset, tuple[xr.DataArray, xr.DataArray]]:
    """Add the long table of moves: equal rows added up, in the order of their labels.

    Parameters
    ----------
    dataset
        Gives the labels.
    cell
        Positions of year, sex, age, origin and destination.
    count
        People [people].

    Returns
    -------
    Dataset
        With ``move_count`` and the coordinates of its rows.
    tuple of DataArray
        What :func:`moves_by_cell` gives for it.
    """
    place = _place(dataset)
    dims = ("year", "sex", "age", place, place)
    shape = tuple(dataset.sizes[d] for d in dims)
    flat, row = np.unique(np.ravel_multi_index(cell, shape), return_inverse=True)
    labels = ("year", "sex", "age", "origin", "destination")
    coords = {
        # Text of fixed width: xarray copies objects one by one, and a row then costs more.
        f"move_{label}": ("move", _labels(dataset, dim)[position])
        for label, dim, position in zip(labels, dims, np.unravel_index(flat, shape), strict=True)
    }
    total = np.bincount(row, weights=count, minlength=flat.size)
    dataset = dataset.assign(move_count=("move", total)).assign_coords(coords)
    return dataset, _moves_at(dataset, cell, count)


def move_positions(dataset: xr.Dataset) -> list[Ints]:
    """Positions of year, sex, age, origin and destination of each row of the long table."""
    place = _place(dataset)
    dims = ("year", "sex", "age", place, place)
    labels = ("year", "sex", "age", "origin", "destination")
    return [
        positions(dataset[dim].to_numpy(), dataset[f"move_{label}"].to_numpy())
        for dim, label in zip(dims, labels, strict=True)
    ]


def positions(labels: NDArray[Any], values: NDArray[Any]) -> Ints:
    """Position of each value among the labels, -1 where it is none of them."""
    # As objects: pandas would first copy text into its own string type, at ten times the cost.
    kind = None if labels.dtype.kind in "iu" else object
    found = pd.Index(labels, dtype=kind).get_indexer(pd.Index(values, dtype=kind))
    return np.asarray(found, dtype=np.int64)


def _labels(dataset: xr.Dataset, dim: str) -> NDArray[np.generic]:
    values = dataset[dim].to_numpy()
    return values if values.dtype.kind in "iu" else values.astype(str)


def _check_deaths(
    dataset: xr.Dataset,
    start: Floats,
    moves: tuple[xr.DataArray, xr.DataArray] | None,
    notes: list[Note],
) -> None:
    """Nobody dies who was neither there at the start nor came: in the city a fault, else noted."""
    if "deaths" not in dataset:
        return
    if "births" in dataset:
        births = dataset["births"].to_numpy()
    else:
        births = np.full_like(start[:, :, 0], np.inf)
    there = _aged(np.nan_to_num(start), births)
    for name in ("in_migrants", "corrections"):
        if name in dataset:
            there = there + np.maximum(dataset[name].to_numpy(), 0)
    deaths = dataset["deaths"].to_numpy()

    def excess(lived: Floats, died: Floats) -> tuple[Bools, str]:
        # Splits over the triangles leave fractions: what counts is a whole person.
        over = died - lived >= 1
        first = np.argwhere(over)[:1]
        if not len(first):
            return over, ""
        at = tuple(first[0])
        dims = ("year", "sex", "age", "area")[: len(at)]
        where = ", ".join(
            f"{'age reached' if d == 'age' else d} {dataset[d].to_numpy()[i]}"
            for d, i in zip(dims, at, strict=True)
        )
        return over, f"{where}: {died[at]:,.6g} deaths, {lived[at]:,.6g} people"

    city, first = excess(there.sum(axis=3), deaths.sum(axis=3))
    if city.any():
        raise InputError(
            Fault(
                "events",
                "no more people of an age can die than lived in the city or came to it",
                "Check year_starts, age_at and whether the files belong to the same city.",
                broken=int(city.sum()),
                total=city.size,
                first=first,
                unit="cells of year, sex and age",
            )
        )
    if moves is not None:
        there = there + moves[0].to_numpy()
    areas, first = excess(there, np.where(np.isfinite(start[..., :1, :]), deaths, 0))
    if areas.any():
        notes.append(
            Note(
                "events",
                "more deaths in an area than people of that age can have lived there; the"
                " adjustment makes up for them",
                int(areas.sum()),
                first,
            )
        )

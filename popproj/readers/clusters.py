"""Areas published together: towns whose figures are withheld (秘匿) on some days and not on others.

Where a town is small, Japanese registers leave its row blank and add its people to the row above or
below; which of the two, the file does not say, and a town may be blank on one day and counted on
the next. Between two days its people then seem to move next door. What was added to what is found
here from the figures themselves, and all days are brought to the merging of one day.

A blank spell of a town is explained in one of three ways: its people stand in the next counted row
above, in the next one below, or in neither (withheld and not merged). Each says which rows together
must have kept their people, cohort by cohort, when the spell began or ended; the way that leaves
least change unexplained is taken (Gaussian likelihood, spread by the change that counted towns show
in the same time).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ABOVE, BELOW, NEITHER = 0, 1, 2
SURE = 0.95
"""Probability from which a neighbour is taken for the one; below it both are."""

_CAP = 9.0  # a cell more than three standard deviations off counts as three: booms happen
_FLOOR = 0.25  # people: variance of a cell without people
_MOST_AT_ONCE = 729  # explanations of one group of towns that are all tried
_PRIOR = 0.1  # people of the towns' own ratio that stand behind the ratio of each cell


@dataclass(frozen=True)
class Clusters:
    """Areas whose people were published together on some days, and in whose row on which day.

    Parameters
    ----------
    area
        Position of each part's area. An area of which the figures do not say where it was added
        has two parts, one for each neighbour; all others have one.
    weight
        Share of the area's people in the part [1].
    holder
        Dims (time, part): the area in whose row the part's people stand; -1 where in none.
    label
        Cluster of each part: 0, 1, 2, …
    undecided, left_out
        Areas with two parts, and areas whose people were in no neighbour's row.
    """

    area: Ints
    weight: Floats
    holder: Ints
    label: Ints
    undecided: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    left_out: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        """Number of clusters."""
        return int(self.label.max()) + 1 if self.label.size else 0

    @property
    def flips(self) -> Ints:
        """Areas that stood in another's row on some day."""
        away = (self.holder != self.area) & (self.holder >= 0)
        return np.unique(self.area[away.any(axis=0)])

    def only(self, keep: Bools) -> Clusters:
        """Some of the clusters, numbered anew."""
        part = keep[self.label]
        label = np.unique(self.label[part], return_inverse=True)[1]
        return replace(
            self,
            area=self.area[part],
            weight=self.weight[part],
            holder=self.holder[:, part],
            label=np.asarray(label, dtype=np.int64),
            undecided=np.intersect1d(self.undecided, self.area[part]),
        )


def find_clusters(register: xr.Dataset) -> Clusters:
    """Find which areas were published together, and in whose row their people stood.

    Parameters
    ----------
    register
        ``population`` (time, sex, age, area) [people], NaN where withheld. Coordinate ``listed``
        (time, area): the place of the area's row in its file, where it is known; else areas are
        taken in the order they stand in. Coordinate ``ward`` (area): nobody is added to a row of
        another ward.

    Returns
    -------
    Clusters
        None where no area is blank on some days and counted on others.

    Notes
    -----
    For a town blank at one end of a step between two counts, the rows that an explanation joins
    have the sum ``b`` of people at the start, aged by the step, and ``a`` at its end, at each age.
    The explanation costs ``Σ min((a − b)²/v, 9) + log v`` with ``v = τ (a + b)/2 + ¼``, where τ is
    what the towns counted on both days show. A row that appears and is expected by none costs as
    much as a count of which nothing is known. Explanations of towns that touch each other are
    weighed together, and those of one blank spell over both its ends.

    Examples
    --------
    >>> from popproj.schema import time_coordinate
    >>> each_age = np.array([[200, 40, 300], [240, np.nan, 300]])
    >>> people = np.broadcast_to(each_age[:, None, None], (2, 1, 9, 3))
    >>> register = xr.Dataset(
    ...     {"population": (("time", "sex", "age", "area"), people)},
    ...     coords={**time_coordinate(["2016-03-31", "2017-03-31"]), "area": ["1", "2", "3"]},
    ... )
    >>> clusters = find_clusters(register)
    >>> clusters.area, clusters.holder
    (array([0, 1]), array([[0, 1],
           [0, 0]]))
    """
    population = register["population"].transpose("time", "sex", "age", "area")
    people = population.to_numpy()
    blank = np.isnan(people).all(axis=(1, 2))
    some = blank.any(axis=0)
    if not some.any() or len(people) < 2:
        return _none(len(people))
    both = np.nan_to_num(np.nansum(people, axis=1))
    given = both.sum(axis=1) > 0
    flips = some & given.any(axis=0)
    if not flips.any():
        return _none(len(people))
    order = np.argsort(register["time"].to_numpy(), kind="stable")
    place = np.broadcast_to(np.arange(blank.shape[1], dtype=np.float64), blank.shape)
    if "listed" in register.coords:
        listed = register["listed"].transpose("time", "area").to_numpy()
        place = np.where(np.isnan(listed) & (blank | given), place, listed)
    wards = np.zeros(blank.shape[1], dtype=np.int64)
    if "ward" in register.coords and register["ward"].dims == ("area",):
        wards = pd.factorize(register["ward"].to_numpy())[0].astype(np.int64)
    beside = np.stack([_beside(g, p, wards) for g, p in zip(given, place, strict=True)], axis=1)

    spell = _spells(blank[order] & flips, given[order])
    cost = np.zeros((int(spell.max()) + 1, 3))
    steps = np.diff(years_of(register)[order])
    for i, step in enumerate(steps):
        first, last = order[i], order[i + 1]
        flow = _Step(both, given, first, last, step, width_of(population))
        turned = (blank[first] & given[last]) | (given[first] & blank[last])
        turned = np.flatnonzero(turned & flips)
        when = np.where(blank[first, turned], first, last)
        number = np.where(blank[first, turned], spell[i, turned], spell[i + 1, turned])
        near = beside[:, when, turned].T
        for group in _groups(turned, near):
            cost[number[group]] += flow.weigh(turned[group], near[group])
    back = np.argsort(order)
    return _decide(cost, spell[back], given, beside)


def _none(times: int) -> Clusters:
    empty = np.zeros(0, dtype=np.int64)
    return Clusters(empty, np.zeros(0), np.zeros((times, 0), dtype=np.int64), empty)


def years_of(dataset: xr.Dataset) -> Floats:
    """Instants in years since the first; close to whole years, whole."""
    time = dataset["time"].to_numpy()
    years = (time - time.min()) / np.timedelta64(1, "D") / 365.2425
    whole = np.round(years)
    return np.asarray(np.where(np.abs(years - whole) < 0.02, whole, years), dtype=np.float64)


def width_of(population: xr.DataArray) -> float:
    """Years in an age group: the usual one."""
    if "age_width" not in population.coords:
        return 1.0
    width = population["age_width"].to_numpy()
    return float(np.median(width[width > 0])) if (width > 0).any() else 1.0


def aged(people: Floats, years: float, width: float = 1.0, axis: int = 0) -> Floats:
    """People some years later (earlier, where negative), of a closed population without deaths.

    Nobody is born; the open group holds all who reach it. Backwards, it stays where it is.
    Parts of a group's width move the same part of its people.
    """
    people = np.moveaxis(people, axis, 0)
    whole = int(np.floor(years / width + 1e-9))
    part = years / width - whole
    if part < 1e-9:
        result = _shifted(people, whole)
    else:
        result = (1 - part) * _shifted(people, whole) + part * _shifted(people, whole + 1)
    return np.moveaxis(result, 0, axis)


def _shifted(people: Floats, by: int) -> Floats:
    last = len(people) - 1
    if by == 0 or last == 0:
        return people
    result = np.zeros_like(people)
    steps = min(abs(by), last)
    if by > 0:
        result[steps:] = people[: last + 1 - steps]
        result[last] = people[last - steps :].sum(axis=0)
    else:
        result[: last - steps] = people[steps:last]
        result[last] = people[last]
    return result


# ---- who may have been added to whom ----------------------------------------------------------


def _beside(given: Bools, place: Floats, wards: Ints) -> Ints:
    """The next counted rows above and below each row of one day; -1 where the ward has none."""
    order = np.lexsort((place, wards))
    order = order[np.isfinite(place[order])]
    found = np.full((2, given.size), -1, dtype=np.int64)
    for side, row in ((ABOVE, order), (BELOW, order[::-1])):
        last = np.maximum.accumulate(np.where(given[row], np.arange(row.size), -1))
        before = np.concatenate([[-1], last[:-1]])
        neighbour = row[np.maximum(before, 0)]
        fits = (before >= 0) & (wards[neighbour] == wards[row])
        found[side, row] = np.where(fits, neighbour, -1)
    return found


def _spells(blank: Bools, given: Bools) -> Ints:
    """Number of the blank spell each area is in at each time; -1 where it is in none."""
    since = np.cumsum(given, axis=0)
    area = np.broadcast_to(np.arange(blank.shape[1]), blank.shape)
    key = (area * (len(blank) + 1) + since)[blank]
    spell = np.full(blank.shape, -1, dtype=np.int64)
    spell[blank] = np.unique(key, return_inverse=True)[1]
    return spell


def _groups(areas: Ints, near: Ints) -> Iterator[Ints]:
    """Positions of towns that touch each other: whose explanations depend on one another."""
    ends = np.concatenate([near[:, ABOVE], near[:, BELOW]])
    known = ends >= 0
    label = _connected(np.tile(areas, 2)[known], ends[known], areas)
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if areas.size else ()


def _connected(one: Ints, other: Ints, asked: Ints) -> Ints:
    """Label of the component of each of the asked nodes of a graph."""
    nodes, ends = np.unique(np.concatenate([one, other, asked]), return_inverse=True)
    a, b = ends[: one.size], ends[one.size : one.size + other.size]
    label = np.arange(nodes.size)
    while True:
        least = np.minimum(label[a], label[b])
        new = label.copy()
        np.minimum.at(new, a, least)
        np.minimum.at(new, b, least)
        if np.array_equal(new, label):
            return np.asarray(label[ends[one.size + other.size :]], dtype=np.int64)
        label = new


class _Step:
    """The change between two counts, and what explanations of it cost."""

    def __init__(
        self, both: Floats, given: Bools, first: int, last: int, step: float, width: float
    ) -> None:
        born = int(np.ceil(step / width - 1e-9))
        self.before = aged(both[first], step, width)[born:]
        self.after = both[last][born:]
        self.was, self.is_now = given[first], given[last]
        stable = self.was & self.is_now
        mean = (self.before + self.after)[:, stable] / 2
        change = (self.after - self.before)[:, stable] ** 2
        spread = np.minimum(change, _CAP * (mean + _FLOOR)).sum()
        self.noise = max(float(spread / max(mean.sum(), 1.0)), 0.02)
        self._known: dict[frozenset[int], float] = {}

    def weigh(self, areas: Ints, near: Ints) -> Floats:
        """Least cost of each explanation of each of some towns that touch, ``(town, way)``."""
        n = areas.size
        least = np.full((n, 3), np.inf)
        ways = [
            [w for w in (ABOVE, BELOW, NEITHER) if w == NEITHER or near[i, w] >= 0]
            for i in range(n)
        ]
        if np.prod([float(len(w)) for w in ways]) <= _MOST_AT_ONCE:
            for chosen in product(*ways):
                cost = self._cost(areas, near, chosen)
                for i, way in enumerate(chosen):
                    least[i, way] = min(least[i, way], cost)
            return least
        # Too many to try all: improve one town after the other, from all above and from all below.
        for side in (ABOVE, BELOW):
            best = [side if side in w else w[0] for w in ways]
            for _ in range(4):
                was = list(best)
                for i in range(n):
                    for way in ways[i]:
                        cost = self._cost(areas, near, (*best[:i], way, *best[i + 1 :]))
                        least[i, way] = min(least[i, way], cost)
                    best[i] = int(np.argmin(least[i]))
                if best == was:
                    break
        return least

    def _cost(self, areas: Ints, near: Ints, chosen: tuple[int, ...]) -> float:
        """Cost of one explanation of all: of each block of rows that it joins."""
        block = {int(a): {int(a)} for a in (*areas, *near[near >= 0])}
        for area, sides, way in zip(areas, near, chosen, strict=True):
            if way != NEITHER:
                joined = block[int(area)] | block[int(sides[way])]
                for member in joined:
                    block[member] = joined
        return sum(self._block(b) for b in {frozenset(b) for b in block.values()})

    def _block(self, block: frozenset[int]) -> float:
        if block not in self._known:
            rows = np.array(sorted(block))
            new = rows[self.is_now[rows] & ~self.was[rows]]
            expected = self.before[:, rows].sum(axis=1)
            cost = 0.0
            if self.is_now[rows].any() and self.was[rows].any():
                found = self.after[:, rows].sum(axis=1)
                spread = self.noise * (found + expected) / 2 + _FLOOR
                off = np.minimum((found - expected) ** 2 / spread, _CAP)
                cost = float((off + np.log(spread)).sum())
                if not (self.was & self.is_now)[rows].any():
                    # Where all rows of a block are new, the sum says what one of them has.
                    new = np.delete(new, np.argmax(self.after[:, new].sum(axis=0)))
            each = self.after[:, new]
            cost += float((1 + np.log(each**2 + each + _FLOOR)).sum())
            self._known[block] = cost
        return self._known[block]


def _decide(cost: Floats, spell: Ints, given: Bools, beside: Ints) -> Clusters:
    """The likelier explanation of each spell; where two are likely, a part for each."""
    chance = np.exp(-(cost - cost.min(axis=1, keepdims=True)) / 2)
    in_one = chance[:, [ABOVE, BELOW]].sum(axis=1)
    neither = chance[:, NEITHER] > in_one
    above = chance[:, ABOVE] / np.where(in_one > 0, in_one, 1)
    above = np.where(above >= SURE, 1.0, np.where(above <= 1 - SURE, 0.0, above))
    area_of = np.zeros(len(cost), dtype=np.int64)
    at = np.nonzero(spell >= 0)
    area_of[spell[at]] = at[1]
    open_ = (above > 0) & (above < 1) & ~neither
    undecided = np.unique(area_of[open_])

    flips = np.unique(area_of)
    parts = []
    for side in (ABOVE, BELOW):
        areas = flips if side == ABOVE else undecided
        # Sure spells go where they go; in the others each part has its side.
        way = np.where(open_, side, np.where(above == 1, ABOVE, BELOW))
        here = spell[:, areas]
        sides = beside[:, np.arange(len(spell))[:, None], areas]
        wanted = np.where(way[here] == ABOVE, sides[0], sides[1])
        other = np.where(way[here] == ABOVE, sides[1], sides[0])
        held = np.where(wanted >= 0, wanted, other)
        held = np.where(neither[here], -1, held)
        weight = np.ones(areas.size)
        share = np.bincount(area_of[open_], above[open_], given.shape[1])
        count = np.bincount(area_of[open_], minlength=given.shape[1])
        twice = np.isin(areas, undecided)
        mean = share[areas[twice]] / count[areas[twice]]
        weight[twice] = mean if side == ABOVE else 1 - mean
        parts.append((areas, weight, np.where(here >= 0, held, areas)))
    area = np.concatenate([p[0] for p in parts])
    holder = np.concatenate([p[2] for p in parts], axis=1)
    hosts = np.setdiff1d(np.unique(holder[holder >= 0]), area)
    area = np.concatenate([area, hosts])
    weight = np.concatenate([*(p[1] for p in parts), np.ones(hosts.size)])
    holder = np.concatenate([holder, np.broadcast_to(hosts, (len(spell), hosts.size))], axis=1)
    known = holder >= 0
    label = _connected(np.broadcast_to(area, holder.shape)[known], holder[known], area)
    # Alone: never in another's row, and no host.
    label = np.unique(label, return_inverse=True)[1]
    several = np.bincount(label)[label] > 1
    order = np.flatnonzero(several)
    order = order[np.lexsort((order, area[order]))]
    label = np.unique(label[order], return_inverse=True)[1]
    return Clusters(
        area[order],
        weight[order],
        holder[:, order],
        np.asarray(label, dtype=np.int64),
        undecided,
        np.unique(area_of[neither]),
    )


# ---- all days as on one -----------------------------------------------------------------------


def rebase(
    values: Floats, clusters: Clusters, reference: int, years: Floats, width: float = 1.0
) -> tuple[Floats, pd.DataFrame]:
    """Put the people of all days into the rows in which they stand on one day.

    Where a town is blank on the day of reference, its own earlier figures are added to the row that
    holds it then: nothing is estimated. Where it is counted then and blank earlier, its people are
    taken out of the row that held them, by its share in the two on the nearest day on which it is
    counted alone, cohort by cohort.

    Parameters
    ----------
    values
        Dims (time, sex, age, area) [people], NaN where blank.
    clusters
        From :func:`find_clusters`, of the same times and areas.
    reference
        Position of the time whose rows hold; its figures do not change.
    years
        Instants [years] (:func:`years_of`).
    width
        Years in an age group.

    Returns
    -------
    values
        The same with each cluster's sum unchanged at every time, sex and age.
    moved
        One row for each time and pair of areas: ``time`` (position), ``origin``, ``target``
        (positions of areas), ``people``, ``estimated`` (of them by a share) [people].
    """
    columns = {"time": np.int64, "origin": np.int64, "target": np.int64}
    nobody = pd.DataFrame({k: np.zeros(0, v) for k, v in columns.items()})
    nobody = nobody.assign(people=0.0, estimated=0.0)
    if not len(clusters):
        return values, nobody
    area, holder = clusters.area, clusters.holder
    target = np.where(holder[reference] >= 0, holder[reference], area)
    own = np.nan_to_num(values[..., area]) * clusters.weight
    changes = (holder != target) & (holder >= 0)
    belongs = clusters.label[:, None] == np.arange(len(clusters))
    label = (changes.astype(np.float64) @ belongs) > 0
    alone = _Profiles(own, clusters, years, width)
    result = values.copy()
    moved = [nobody]
    for time in map(int, np.flatnonzero(label.any(axis=1))):
        part = np.flatnonzero(label[time, clusters.label])
        at, to = holder[time, part], target[part]
        blocks, block = np.unique(at, return_inverse=True)
        member = (block[:, None] == np.arange(blocks.size)).astype(np.float64)
        held = np.nan_to_num(values[time][..., np.maximum(blocks, 0)]) * (blocks >= 0)
        weight = alone(time, part)
        total = weight.sum(axis=(0, 1))
        of_block = (total @ member)[block]
        ratio = np.divide(total, of_block, out=1 / member.sum(axis=0)[block], where=of_block > 0)
        # A cell in which nobody was on the day of the shares takes those of the whole town.
        share = (weight + _PRIOR * ratio) / ((weight @ member)[..., block] + _PRIOR)
        people = held[..., block] * share
        mixed = np.array([np.unique(to[block == b]).size > 1 for b in range(blocks.size)])
        rows = np.unique(np.concatenate([to, area[part], at[at >= 0]]))
        # A row that goes as a whole goes without a rounding error.
        whole = np.flatnonzero(~mixed & (blocks >= 0))
        first = np.array([np.flatnonzero(block == b)[0] for b in whole], dtype=np.int64)
        filled = people @ (mixed[block][:, None] & (to[:, None] == rows)).astype(np.float64)
        filled += held[..., whole] @ (to[first][:, None] == rows).astype(np.float64)
        result[time][..., rows] = np.where(np.isin(rows, to), filled, np.nan)
        each, mixed = people.sum(axis=(0, 1)), mixed[block]
        away = (at != to) & (each > 0)
        moved.append(
            pd.DataFrame(
                {
                    "time": time,
                    "origin": at[away],
                    "target": to[away],
                    "people": each[away],
                    "estimated": np.where(mixed, each, 0.0)[away],
                }
            )
        )
    table = pd.concat([m for m in moved if len(m)] or [nobody], ignore_index=True)
    return result, table.groupby(["time", "origin", "target"], as_index=False).sum()


class _Profiles:
    """People of each part as on the nearest day on which it was counted alone, aged to a time."""

    def __init__(self, own: Floats, clusters: Clusters, years: Floats, width: float) -> None:
        self.years, self.width = years, width
        area, holder = clusters.area, clusters.holder
        per_area = np.bincount(area)[area]
        here = (holder == area) & (own.sum(axis=(1, 2)) > 0)
        together = np.stack(
            [np.bincount(h[h >= 0], (1 / per_area)[h >= 0], area.max() + 1)[area] for h in holder]
        )
        alone = here & (together < 1.5)
        self.own, self.days = own, alone
        rest = np.flatnonzero(~alone.any(axis=0) & here.any(axis=0))
        if rest.size:
            # Never alone: what stays of its row when the known others are taken out of it.
            self.own, self.days = own.copy(), alone.copy()
            day = here[:, rest].argmax(axis=0)
            for time in np.unique(day):
                mine = rest[day == time]
                block = (holder[time] == area[mine][:, None]) & (area != area[mine][:, None])
                known = alone.any(axis=0)
                others = self(int(time), np.arange(area.size)) * known
                left = own[time][..., mine] - np.einsum("sap,mp->sam", others, block)
                left /= 1 + (block & ~known).sum(axis=1)
                self.own[time][..., mine] = np.maximum(left, 0)
                self.days[time, mine] = True

    def __call__(self, time: int, part: Ints) -> Floats:
        """Dims (sex, age, part) [people]."""
        away = np.abs(self.years - self.years[time])
        nearest = np.where(self.days[:, part], away[:, None], np.inf)
        day = nearest.argmin(axis=0)
        known = np.isfinite(nearest.min(axis=0))
        result = np.zeros((*self.own.shape[1:3], part.size))
        for one in np.unique(day[known]):
            chosen = known & (day == one)
            lag = float(self.years[time] - self.years[one])
            result[..., chosen] = aged(self.own[one][..., part[chosen]], lag, self.width, axis=1)
        return result

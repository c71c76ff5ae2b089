"""Area codes that come and go between two counts, and which of them may be renamings.

A code that vanishes or appears takes its people out of the history of its district, or puts them
in, unless ``[lineage]`` says where they were. Nothing here changes a register: what is found is
told.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from math import comb, log

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.readers.clusters import aged, width_of, years_of
from popproj.schema import Note

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_FEWEST = 20.0
"""People from which a code's ages say anything about where they come from."""
_LEFT = 0.2
"""A code that keeps less than this share has vanished but for a few, who had their reasons."""
_MOST_TOLD = 10
_EVIDENCE = 10.0
"""Log of how much likelier a renaming must make the ages found than chance does."""


@dataclass(frozen=True)
class Turnover:
    """People of codes that vanish and appear in each step between two counts.

    Parameters
    ----------
    times
        Position of the later count of each step, in order of time; `before` of the earlier.
    vanish, appear
        Dims (step, area): people of codes that have none at the other end [people].
    withheld
        Dims (step, area): whether the code is there and blank at the other end.
    """

    before: Ints
    times: Ints
    vanish: Floats
    appear: Floats
    withheld: Bools


def turnover(register: xr.Dataset, lineage: pd.DataFrame | None = None) -> Turnover:
    """People of codes that are there at one end of a step between two counts only.

    Parameters
    ----------
    register
        ``population`` (time, sex, age, area) [people], NaN where withheld.
    lineage
        Columns old_area, new_area: these codes' comings and goings are known, and not counted.
    """
    population = register["population"].transpose("time", "sex", "age", "area")
    people = population.to_numpy()
    total = np.nan_to_num(people).sum(axis=(1, 2))
    blank = np.isnan(people).all(axis=(1, 2))
    order = np.argsort(register["time"].to_numpy(), kind="stable")
    one, two = order[:-1], order[1:]
    vanish = np.where(total[two] > 0, 0.0, total[one])
    appear = np.where(total[one] > 0, 0.0, total[two])
    codes = register.indexes["area"]
    if lineage is not None and len(lineage):
        vanish[:, codes.isin(lineage["old_area"])] = 0
        appear[:, codes.isin(lineage["new_area"])] = 0
    withheld = np.where(vanish > 0, blank[two], blank[one])
    return Turnover(one, two, vanish, appear, withheld)


def by_group(register: xr.Dataset, found: Turnover, member: NDArray[np.float64]) -> pd.DataFrame:
    """Sum a turnover over groups of areas.

    Parameters
    ----------
    member
        Dims (area, group): share of each area in each group.

    Returns
    -------
    DataFrame
        See :func:`popproj.readers.areas.churn`, with ``group`` (position) for the district.
    """
    total = np.nan_to_num(register["population"].transpose("time", "sex", "age", "area"))
    before = total.sum(axis=(1, 2))[found.before] @ member
    vanish, appear = found.vanish @ member, found.appear @ member
    step, group = np.nonzero((vanish > 0) | (appear > 0))
    days = pd.DatetimeIndex(register["count_date"].to_numpy())
    at = (step, group)
    return pd.DataFrame(
        {
            "group": group,
            "year": days.year[found.times[step]],
            "from": days[found.before[step]],
            "to": days[found.times[step]],
            "vanish": vanish[at],
            "appear": appear[at],
            "vanish_withheld": ((found.vanish * found.withheld) @ member)[at],
            "appear_withheld": ((found.appear * found.withheld) @ member)[at],
            "people_before": before[at],
            "net_share": (appear - vanish)[at] / np.maximum(before[at], 1),
        }
    )


def turnover_notes(register: xr.Dataset, found: Turnover) -> list[Note]:
    """How many people are in codes that come or go without lineage, when, and in which."""
    names = register["area_name" if "area_name" in register.coords else "area"].to_numpy()
    days = [str(d)[:10] for d in register["count_date"].to_numpy()]
    notes = []
    for people, when, what in (
        (found.vanish, found.before, "that the next count does not have"),
        (found.appear, found.times, "that the count before does not have"),
    ):
        lost = np.where(found.withheld, 0.0, people)
        if lost.sum() == 0:
            continue
        each = ", ".join(
            f"{days[time]} {row.sum():,.0f} ({(row > 0).sum():,} areas)"
            for time, row in zip(when, lost, strict=True)
            if row.sum() > 0
        )
        top = [np.unravel_index(i, lost.shape) for i in np.argsort(-lost, axis=None)[:3]]
        first = ", ".join(
            f"{names[area]} {lost[step, area]:,.0f}" for step, area in top if lost[step, area] > 0
        )
        notes.append(
            Note(
                "areas",
                f"people in areas {what}, and of which [lineage] says nothing: {each}",
                round(float(lost.sum())),
                first,
            )
        )
    return notes


# ---- what looks like a renaming ---------------------------------------------------------------


def renamings(register: xr.Dataset, lineage: pd.DataFrame | None = None) -> pd.DataFrame:
    """Codes that vanish and codes that appear whose people look like the same ones.

    Within a ward and a step between two counts, the ages of the codes that vanish, aged by the
    step, are laid beside those of the codes that appear. A group is told where being the same
    people explains the ages found far better than chance does. First single codes, then a code and
    several, then what is left of the ward as a whole (住居表示 of a quarter).

    Returns
    -------
    DataFrame
        ``step``, ``from``, ``to`` (positions of times), ``old``, ``new`` (tuples of positions of
        areas), ``people_before``, ``people_after``, ``evidence`` (log likelihood ratio). These are
        suggestions: who lives where is for the office to say.
    """
    population = register["population"].transpose("time", "sex", "age", "area")
    people = np.nan_to_num(population.to_numpy()).sum(axis=1)
    total = people.sum(axis=1)
    wards = np.zeros(total.shape[1], dtype=np.int64)
    if "ward" in register.coords and register["ward"].dims == ("area",):
        wards = pd.factorize(register["ward"].to_numpy())[0].astype(np.int64)
    codes = register.indexes["area"]
    told = np.zeros((2, len(codes)), dtype=bool)
    if lineage is not None and len(lineage):
        told = np.stack([codes.isin(lineage["old_area"]), codes.isin(lineage["new_area"])])
    blank = np.isnan(population.to_numpy()[:, 0, 0])
    order = np.argsort(register["time"].to_numpy(), kind="stable")
    years, width = years_of(register), width_of(population)
    rows = []
    for step, (one, two) in enumerate(pairwise(order)):
        gone = (total[one] >= _FEWEST) & (total[two] < _LEFT * total[one])
        come = (total[two] >= _FEWEST) & (total[one] < _LEFT * total[two])
        gone &= ~blank[two] & ~told[0]
        come &= ~blank[one] & ~told[1]
        for ward in np.intersect1d(wards[gone], wards[come]):
            old = np.flatnonzero(gone & (wards == ward))
            new = np.flatnonzero(come & (wards == ward))
            match = _Match(people[one], people[two], years[two] - years[one], width, wards == ward)
            rows += [
                (step, one, two, tuple(a), tuple(b), *match.sizes(a, b), e)
                for a, b, e in match.groups(old, new)
            ]
    columns = ["step", "from", "to", "old", "new", "people_before", "people_after", "evidence"]
    return pd.DataFrame(rows, columns=columns)


class _Match:
    """How well codes of one ward at the two ends of a step fit each other."""

    def __init__(
        self, first: Floats, last: Floats, years: float, width: float, ward: Bools
    ) -> None:
        born = int(np.ceil(years / width - 1e-9))
        self.before, self.after = aged(first, years, width)[born:], last[born:]
        self.profile = self.after[:, ward].sum(axis=1) + 0.5
        self.profile /= self.profile.sum()
        self.noise = 0.2 * max(years, 0.5)

    def sizes(self, old: list[int], new: list[int]) -> tuple[float, float]:
        return float(self.before[:, old].sum()), float(self.after[:, new].sum())

    def evidence(self, old: list[int], new: list[int]) -> float:
        """Log likelihood of the ages found if they are the same people, less that by chance."""
        expected, found = self.before[:, old].sum(axis=1), self.after[:, new].sum(axis=1)
        chance = found.sum() * self.profile
        by_chance = _cost(found, chance, chance + 0.25)
        return (by_chance - self.misfit(expected, found)) / 2

    def misfit(self, expected: Floats, found: Floats) -> float:
        """What the change of each age, and of all together, costs."""
        spread = self.noise * (found + expected) / 2 + 0.25
        whole = float(found.sum() - expected.sum()) ** 2 / float(spread.sum())
        return _cost(found, expected, spread) + whole

    def groups(self, old: Ints, new: Ints) -> list[tuple[list[int], list[int], float]]:
        """Groups that fit, the best first; each code in one."""
        found: list[tuple[list[int], list[int], float]] = []
        left, right = list(map(int, old)), list(map(int, new))

        def take(a: list[int], b: list[int], e: float) -> None:
            found.append((a, b, e))
            left[:] = [i for i in left if i not in a]
            right[:] = [i for i in right if i not in b]

        while left and right:
            tried = [(self.evidence([a], [b]), a, b) for a in left for b in right]
            best, a, b = max(tried)
            if best < _EVIDENCE:
                break
            take([a], [b], best)
        for one, many, turn in ((right, left, False), (left, right, True)):
            size = (self.before if turn else self.after).sum(axis=0)
            for code in sorted(one, key=lambda i: -float(size[i])):
                if len(many) < 2:
                    break
                some = self._choice(code, many, turn)
                pair = ([code], some) if turn else (some, [code])
                best = self.evidence(*pair)
                # Among many codes some choice of a few fits anything.
                if len(some) > 1 and best >= _EVIDENCE + log(comb(len(many), len(some))):
                    take(*pair, best)
        if left and right and (whole := self.evidence(left, right)) >= _EVIDENCE:
            take(list(left), list(right), whole)
        return found

    def _choice(self, code: int, many: list[int], turn: bool) -> list[int]:
        """The codes that together fit one code best: taken in or out one by one, from both ends."""
        whole, parts = (self.before, self.after) if turn else (self.after, self.before)
        parts = parts[:, many]
        best, best_some = np.inf, np.zeros(len(many), dtype=bool)
        for some in (np.zeros(len(many), dtype=bool), np.ones(len(many), dtype=bool)):
            last = np.inf
            while True:
                totals = parts[:, some].sum(axis=1)[:, None] + np.where(some, -1, 1) * parts
                pairs = [(total, whole[:, code]) for total in totals.T]
                fit = [self.misfit(*(p[::-1] if turn else p)) for p in pairs]
                at = int(np.argmin(fit))
                if fit[at] >= last:
                    break
                last = fit[at]
                some[at] = ~some[at]
            if last < best:
                best, best_some = last, some
        return [code for code, is_in in zip(many, best_some, strict=True) if is_in]


def _cost(found: Floats, expected: Floats, spread: Floats) -> float:
    return float((np.minimum((found - expected) ** 2 / spread, 9.0) + np.log(spread)).sum())


def renaming_notes(register: xr.Dataset, found: pd.DataFrame) -> list[Note]:
    """One note for each suggestion, the surest first, and one for the rest."""
    names = register["area_name" if "area_name" in register.coords else "area"].to_numpy()
    codes = register["area"].to_numpy()
    days = [str(d)[:10] for d in register["count_date"].to_numpy()]

    def told(areas: tuple[int, ...]) -> str:
        some = ", ".join(f"{codes[i]} {names[i]}" for i in areas[:4])
        return some + (f" and {len(areas) - 4} more" if len(areas) > 4 else "")

    found = found.sort_values("evidence", ascending=False, kind="stable")
    columns = (found[c] for c in ("to", "old", "new", "people_before"))
    notes = [
        Note(
            "areas",
            f"{told(new)} on {days[time]} looks like a renaming of {told(old)}:"
            " add to [lineage] if so",
            round(people),
        )
        for time, old, new, people in islice(zip(*columns, strict=True), _MOST_TOLD)
    ]
    if len(found) > _MOST_TOLD:
        what = "more groups of areas look like renamings (popproj.readers.churn.renamings)"
        notes.append(Note("areas", what, len(found) - _MOST_TOLD))
    return notes

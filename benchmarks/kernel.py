"""The kernel against filling memory, and against the fastest numpy we can write, in one run.

The rival takes the kernel's own arguments, works in preallocated arrays, and leaves the
origin-destination products to BLAS, as the kernel does. Both are held to agree to 1e-12.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from popproj.cohort.kernel import Destinations, Fertility, Flows, Moves, Shares, step

SEXES, AGES = 2, 101
BREAKS = (1, 5, 15, 20, 25, 30, 40, 65, AGES)


@dataclass(frozen=True)
class Case:
    """A made-up city in the kernel's own arrays."""

    opening: np.ndarray
    shares: Shares
    arrivals: np.ndarray
    fertility: Fertility
    destinations: Destinations
    years: int

    @property
    def cells(self) -> int:
        """Sexes, ages, districts and years."""
        return self.opening.size * self.years


def made_up(districts: int = 164, years: int = 31, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    shape = (SEXES, AGES, districts)

    def below(most: float) -> np.ndarray:
        return rng.uniform(0, most, shape)

    weight = np.zeros((AGES, districts))
    weight[15:50] = 0.02
    trips = rng.random((len(BREAKS) - 1, districts, districts))
    trips /= trips.sum(axis=2, keepdims=True)
    groups = range(len(BREAKS) - 1)
    return Case(
        opening=below(80),
        shares=Shares(*(below(m) for m in (0.02, 0.05, 0.05, 0.01, 0.02, 0.02, 0.01, 0.02))),
        arrivals=below(3),
        fertility=Fertility(weight, weight, np.full(districts, 0.51), 15, 50, False),
        destinations=Destinations(
            trips,
            tuple((s, BREAKS[g], BREAKS[g + 1], g) for s in range(SEXES) for g in groups),
            (0, 0),
        ),
        years=years,
    )


class Output:
    """Arrays of a whole run, or of one year used again and again."""

    def __init__(self, case: Case, *, every: bool) -> None:
        n = case.years if every else 1
        shape = (n, *case.opening.shape)
        self.every = every
        self.population = np.zeros((n + 1, *case.opening.shape))
        self.population[0] = case.opening
        self.flows = [np.zeros(shape) for _ in Flows._fields] if every else None
        self.moves = [np.zeros(shape) for _ in Moves._fields]
        self.births = np.zeros((n, SEXES, case.opening.shape[2]))
        self.by_mother = np.zeros((n, AGES, case.opening.shape[2]))

    def last(self, years: int) -> np.ndarray:
        """People at the end of the run."""
        return self.population[years if self.every else years % 2]


def kernel(case: Case, out: Output, *, moves: bool) -> None:
    """The years of a run through the kernel."""
    if not out.every:
        out.population[0] = case.opening
    for t in range(case.years):
        i, before, after = (t, t, t + 1) if out.every else (0, t % 2, 1 - t % 2)
        step(
            out.population[before],
            case.shares,
            case.arrivals,
            None,
            case.fertility,
            case.destinations if moves else None,
            out.births[i],
            out.by_mother[i] if out.every else None,
            Moves(out.moves[0][i], out.moves[1][i]) if moves else None,
            Flows(*(f[i] for f in out.flows)) if out.flows is not None else None,
            out.population[after],
        )


class Numpy:
    """The same in numpy: whole-array operations into arrays allocated once."""

    def __init__(self, case: Case) -> None:
        self.start, self.a, self.b = (np.empty_like(case.opening) for _ in range(3))
        self.scratch = [np.empty_like(case.opening) for _ in range(4)]

    def _leave(self, case, rows, out, i, closing, *, moves: bool, every: bool) -> None:
        s, start, c = case.shares, self.start[:, rows], case.arrivals[:, rows]
        a = self.a[:, rows]
        end = closing[:, rows]
        deaths, leaving = (
            (out.flows[0][i][:, rows], out.flows[2][i][:, rows])
            if every
            else (self.scratch[0][:, rows], self.scratch[1][:, rows])
        )
        np.multiply(start, s.resident_deaths[:, rows], out=deaths)
        np.multiply(c, s.arrival_deaths[:, rows], out=a)
        deaths += a
        np.multiply(start, s.resident_out[:, rows], out=leaving)
        np.multiply(c, s.arrival_out[:, rows], out=a)
        leaving += a
        np.add(start, c, out=end)
        end -= deaths
        end -= leaving
        if every:
            np.copyto(out.flows[1][i][:, rows], c)
        if moves:
            moved = out.moves[0][i][:, rows]
            np.multiply(start, s.resident_moves[:, rows], out=moved)
            np.multiply(c, s.arrival_moves[:, rows], out=a)
            moved += a
            end -= moved

    def _arrive(self, case, rows, out, i, closing, *, every: bool) -> None:
        s, a, end = case.shares, self.a[:, rows], closing[:, rows]
        came = out.moves[1][i][:, rows]
        end += came
        for share, flow in ((s.mover_deaths, 0), (s.mover_out, 2)):
            np.multiply(came, share[:, rows], out=a)
            end -= a
            if every:
                out.flows[flow][i][:, rows] += a

    def _cut(self, rows, out, i, closing, *, every: bool) -> None:
        end, a = closing[:, rows], self.b[:, rows]
        np.maximum(end, 0.0, out=a)
        if every:
            np.subtract(a, end, out=out.flows[4][i][:, rows])
        np.copyto(end, a)

    def run(self, case: Case, out: Output, *, moves: bool) -> None:
        """The years of a run."""
        every, f, d = out.every, case.fertility, case.destinations
        grown, born = slice(1, None), slice(0, 1)
        if not every:
            out.population[0] = case.opening
        for t in range(case.years):
            i, before, after = (t, t, t + 1) if every else (0, t % 2, 1 - t % 2)
            opening, closing = out.population[before], out.population[after]
            np.copyto(self.start[:, 1:], opening[:, :-1])
            self.start[:, -1] += opening[:, -1]
            self._leave(case, grown, out, i, closing, moves=moves, every=every)
            if moves:
                for s, lo, hi, g in d.runs:
                    np.matmul(out.moves[0][i][s, lo:hi], d.share[g], out=out.moves[1][i][s, lo:hi])
                self._arrive(case, grown, out, i, closing, every=every)
            self._cut(grown, out, i, closing, every=every)
            fertile = slice(f.youngest, f.oldest)
            mothers = f.start[fertile] * opening[0, fertile] + f.end[fertile] * closing[0, fertile]
            out.by_mother[i, fertile] = mothers
            total = mothers.sum(axis=0)
            np.multiply(total, f.male_share, out=out.births[i, 1])
            np.subtract(total, out.births[i, 1], out=out.births[i, 0])
            self.start[:, 0] = out.births[i]
            self._leave(case, born, out, i, closing, moves=moves, every=every)
            if moves:
                for s, g in enumerate(d.newborns):
                    np.matmul(out.moves[0][i][s, :1], d.share[g], out=out.moves[1][i][s, :1])
                self._arrive(case, born, out, i, closing, every=every)
            self._cut(born, out, i, closing, every=every)


def paired(actions: dict[str, Callable[[], None]], repeats: int = 15) -> dict[str, list[float]]:
    """Seconds of each action, taken in turns so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(repeats):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - begin)
    return times


def differences(case: Case, *, moves: bool, every: bool) -> float:
    """Largest relative difference between the kernel and its rival."""
    ours, theirs = Output(case, every=every), Output(case, every=every)
    kernel(case, ours, moves=moves)
    Numpy(case).run(case, theirs, moves=moves)
    pairs = [(ours.last(case.years), theirs.last(case.years))]
    if every:
        pairs += [(ours.population, theirs.population), (ours.births, theirs.births)]
        pairs += [(ours.by_mother, theirs.by_mother)]
        pairs += list(zip(ours.flows or [], theirs.flows or [], strict=True))
        pairs += list(zip(ours.moves, theirs.moves, strict=True)) if moves else []
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1)) for a, b in pairs)


JOBS = {
    "moves, births, all flows stored": (True, True),
    "no moves, all flows stored": (False, True),
    "moves, last year only": (True, False),
    "no moves, last year only": (False, False),
}


def measure(
    districts: int = 164, years: int = 31, repeats: int = 15
) -> list[dict[str, float | str]]:
    """One row a job: milliseconds, and ratios to the rival and to filling the same bytes."""
    case = made_up(districts, years)
    rows: list[dict[str, float | str]] = []
    with threadpool_limits(limits=1, user_api="blas"):
        for name, (moves, every) in JOBS.items():
            out, other, rival = Output(case, every=every), Output(case, every=every), Numpy(case)
            arrays = [out.population, *(out.flows or []), *(out.moves if moves else [])]
            times = paired(
                {
                    "kernel": lambda o=out, m=moves: kernel(case, o, moves=m),
                    "numpy": lambda o=other, m=moves, r=rival: r.run(case, o, moves=m),
                    "fill": lambda a=arrays: [x.fill(1.0) for x in a],
                    "blas": lambda: _products(case),
                },
                repeats,
            )
            ours = float(np.median(times["kernel"]))
            ratios = {
                n: float(np.median(np.array(times[n]) / np.array(times["kernel"])))
                for n in ("numpy", "fill", "blas")
            }
            rows.append(
                {
                    "job": name,
                    "milliseconds": ours * 1e3,
                    "million cells a second": case.cells / ours / 1e6,
                    "numpy / kernel": ratios["numpy"],
                    "fill / kernel": ratios["fill"] if every else float("nan"),
                    "BLAS alone / kernel": ratios["blas"] if moves else float("nan"),
                    "difference": differences(case, moves=moves, every=every),
                }
            )
    return rows


def _products(case: Case) -> None:
    """The origin-destination products alone."""
    moved, arrived = case.arrivals, np.empty_like(case.arrivals)
    for _ in range(case.years):
        for s, lo, hi, g in case.destinations.runs:
            np.matmul(moved[s, lo:hi], case.destinations.share[g], out=arrived[s, lo:hi])

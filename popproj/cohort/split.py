r"""Sexes and ages that the source left together are split, without touching what it counted.

**Ages.** Counts by groups of ages become counts by single years. Each area's cumulated counts are
interpolated by a cubic spline whose slopes are cut back where it would fall (Hyman 1983; Smith,
Hyndman and Wood 2004): totals of the groups stay exact, no count is negative, and a population
that changes linearly with age comes back exactly. An open group that ends too early is spread as
the old ages of a stable population, whose growth rate is chosen so that the whole city's open
group stands to the group before it as counted. Where the ward has a table by single years, the
waves that a spline cannot know (the dent of 1966, 丙午) are put onto it and raked until the areas
add up to the ward.

**Sexes.** Raking to the three margins area × age, area × sex and ward × sex × age
(:mod:`popproj.cohort.raking`), from the ward's own ratio at each age.

What an area counted itself is never changed. Where a ward's table disagrees with the sum of its
areas, its shares are used, not its counts, and a note says by how much.

References
----------
Hyman, J. M. (1983). Accurate monotonicity preserving cubic interpolation. *SIAM Journal on
Scientific and Statistical Computing* 4(4), 645-654.
Smith, L., Hyndman, R. J., Wood, S. N. (2004). Spline interpolation for demographic variables: The
monotonicity problem. *Journal of Population Research* 21(1), 95-98.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from popproj import schema
from popproj.cohort import lifetable
from popproj.cohort.raking import TOLERANCE, Raked, rake_ages, rake_sexes
from popproj.schema import SEXES, Fault, InputError, Note

if TYPE_CHECKING:
    from popproj.config import Parameters

Array = NDArray[np.float64]
Index = NDArray[np.intp]

SEX_SPLIT, AGE_SPLIT = 1, 2
"""Bits of ``split_mark``: the cell was not counted by sex; not by single year of age."""

# Gompertz' law with these modal ages and slopes: e0 = 86.5 and 80.2, Japan in the mid-2010s
_MODAL_AGE = {"female": (91.5, 0.115), "male": (86.0, 0.100)}
_MALES_PER_FEMALE = 1.05


def standard_population(open_age: int = 100) -> xr.DataArray:
    """A stationary population by sex and age for want of a better one.

    Gompertz' law of mortality with modal ages at death of 91.5 and 86 years (expectations of life
    of 86.5 and 80.2 years, as in Japan in the mid-2010s), 1.05 males per female birth.

    Parameters
    ----------
    open_age
        The last age, open.

    Returns
    -------
    DataArray
        Person-years lived ``(sex, age)`` per birth of a girl.

    Examples
    --------
    >>> both = standard_population()
    >>> float(both.sel(sex="male", age=90) / both.sel(sex="female", age=90))
    0.534
    """
    ages = np.arange(131)
    lived = []
    for sex, born in zip(SEXES, (1.0, _MALES_PER_FEMALE), strict=True):
        mode, slope = _MODAL_AGE[sex]
        mx = np.minimum(slope * np.exp(slope * (ages + 0.5 - mode)), 1.5)
        table = lifetable.life_table(mx, sex=sex, radix=born)["Lx"].to_numpy()
        lived.append(np.append(table[:open_age], table[open_age:].sum()))
    coords = {"sex": list(SEXES), "age": np.arange(open_age + 1)}
    return xr.DataArray(np.stack(lived), dims=("sex", "age"), coords=coords)


def graduate(counts: Array, edges: NDArray[np.int64]) -> Array:
    """Counts of groups of ages to counts of single years, by a monotone spline of their sums.

    Parameters
    ----------
    counts
        People in each group ``(group, ...)``, not negative.
    edges
        Lower bound of each group and upper bound of the last [years], increasing.

    Returns
    -------
    ndarray
        People by single year ``(age, ...)`` from the first edge to the last: not negative, with
        the totals of the groups; a population linear in age is reproduced.

    References
    ----------
    Hyman (1983); Smith, Hyndman and Wood (2004).

    Examples
    --------
    >>> graduate(np.array([60.0, 35.0, 30.0]), np.array([0, 5, 10, 15]))[:6].round(1)
    array([15. , 13.3, 11.8, 10.5,  9.4,  8.4])
    """
    width = np.diff(edges)
    each = counts / _column(width, counts.ndim)
    slope = np.tensordot(_knot_slopes(width.astype(np.float64)), each, axes=1)
    # the sum may neither fall nor overshoot: de Boor and Swartz' bound, after Hyman
    most = 3 * np.minimum(np.concatenate([each[:1], each]), np.concatenate([each, each[-1:]]))
    slope = np.clip(slope, 0.0, most)
    group = np.repeat(np.arange(width.size), width)
    share = _column((np.arange(edges[0], edges[-1]) - edges[group]) / width[group], counts.ndim)
    step = _column(1 / width[group], counts.ndim)

    def risen(t: Array) -> Array:
        """Cubic Hermite polynomial of the sum, as people since the group's lower edge."""
        total, low, high = counts[group], slope[group] / step, slope[group + 1] / step
        return np.asarray(t * (t * (3 - 2 * t) * total + (1 - t) ** 2 * low - t * (1 - t) * high))

    return np.asarray(np.maximum(risen(share + step) - risen(share), 0.0))


def _column(values: NDArray[np.generic], ndim: int) -> Array:
    """Values along the first of ``ndim`` axes."""
    return np.asarray(values, dtype=np.float64).reshape(-1, *(1,) * (ndim - 1))


def _knot_slopes(width: Array) -> Array:
    """Matrix from the mean slopes between knots to the slopes of the spline at the knots.

    Not-a-knot at both ends, so that a cubic is reproduced; with two intervals the parabola.
    """
    h, n = width, width.size
    if n == 1:
        return np.ones((2, 1))
    if n == 2:
        a, b = h / h.sum()
        return np.array([[1 + a, -a], [b, a], [-b, 1 + b]])
    left, right = np.zeros((n + 1, n + 1)), np.zeros((n + 1, n))
    i = np.arange(1, n)
    left[i, i - 1], left[i, i], left[i, i + 1] = h[i], 2 * (h[i - 1] + h[i]), h[i - 1]
    right[i, i - 1], right[i, i] = 3 * h[i], 3 * h[i - 1]
    for end, a, b in ((0, 0, 1), (n, n - 1, n - 2)):
        both = h[a] + h[b]
        left[end, end], left[end, 1 if end == 0 else n - 1] = h[b], both
        right[end, a] = (h[a] + 2 * both) * h[b] / both
        right[end, b] = h[a] ** 2 / both
    return np.asarray(np.linalg.solve(left, right), dtype=np.float64)


@dataclass(frozen=True)
class _Groups:
    """The source's groups of ages, those from the open age on being one open group."""

    lower: NDArray[np.int64]
    open_age: int
    source: Index  # group of each of the source's ages

    @classmethod
    def read(cls, array: xr.DataArray, dim: str, open_age: int) -> _Groups:
        """Groups of a table's ages: widths are in the coordinate ``{dim}_width``, or follow."""
        lower = array[dim].to_numpy().astype(np.int64)
        upper = np.append(lower[1:], np.iinfo(np.int64).max)
        if f"{dim}_width" in array.coords:
            width = array[f"{dim}_width"].to_numpy()
            upper = np.where(width > 0, lower + width, upper)
        faults = []
        if lower[0] != 0 or not np.array_equal(upper[:-1], lower[1:]):
            rule = "groups of ages must follow each other from 0 without gaps, the last one open"
            got = ", ".join(map(str, lower))
            faults.append(
                Fault(str(array.name), rule, "Complete the ages.", first=f"lower bounds {got}")
            )
        across = (lower < open_age) & (upper > open_age) & (upper < np.iinfo(np.int64).max)
        if across.any():
            first = f"{lower[across][0]}-{upper[across][0] - 1}"
            rule = f"a group of ages must not lie across the open age {open_age}"
            remedy = f"Set open_age to {lower[across][0]} in city.toml."
            faults.append(Fault(str(array.name), rule, remedy, first=first))
        if faults:
            raise InputError(faults)
        source = np.minimum(np.arange(lower.size), np.count_nonzero(lower < open_age))
        return cls(
            np.append(lower[lower < open_age], open_age)[: source.max() + 1], open_age, source
        )

    @property
    def group(self) -> Index:
        """Group of each single age."""
        return np.searchsorted(self.lower, np.arange(self.open_age + 1), side="right") - 1

    @property
    def was_split(self) -> NDArray[np.bool_]:
        """Whether the group of each single age holds others too."""
        return (np.bincount(self.group) > 1)[self.group]

    def collect(self, counts: Array) -> Array:
        """Sum the source's ages ``(age, ...)`` into groups."""
        return np.add.reduceat(counts, np.flatnonzero(np.diff(self.source, prepend=-1)), axis=0)

    def to_single(self, groups: Array, norm: Array) -> Array:
        """Spread groups over single years: a spline, and the tail of a stable population.

        Parameters
        ----------
        groups
            People ``(group, area)``.
        norm
            Stationary population ``(age,)`` for the ages of the open group.
        """
        if not self.was_split.any():
            return np.array(groups)
        start = int(self.lower[-1])
        tail = _tail(np.nansum(groups, axis=1), self.lower, norm)
        old = np.asarray(tail[:, None] * groups[-1])
        if start == 0:
            return old
        # the spline sees the first years of the open group, so that it meets them smoothly
        beyond = np.arange(start, self.open_age + 1, 5)
        more = (
            np.add.reduceat(old[: beyond[-1] - start], beyond[:-1] - start)
            if len(beyond) > 1
            else old[:0]
        )
        edges = np.concatenate([self.lower[:-1], beyond])
        young = graduate(np.concatenate([groups[:-1], more]), edges)[:start]
        return np.concatenate([young, old])


def _tail(city: Array, lower: NDArray[np.int64], norm: Array) -> Array:
    """Shares of the open group's single ages: those of a stable population.

    Its growth rate r is such that the open group of the whole city stands to the group before it
    as it does in the stationary population ``norm`` times exp(-rx).
    """
    start = int(lower[-1])
    x = np.arange(norm.size) - start
    rate = 0.0
    if lower.size > 1 and city[-1] > 0 and city[-2] > 0:
        before = slice(int(lower[-2]), start)
        low, high = -0.5, 0.5
        for _ in range(50):
            rate = (low + high) / 2
            aged = norm * np.exp(-rate * x)
            if aged[start:].sum() * city[-2] > aged[before].sum() * city[-1]:
                low = rate
            else:
                high = rate
    aged = (norm * np.exp(-rate * x))[start:]
    return np.asarray(aged / aged.sum())


class _WardTable(NamedTuple):
    """A ward's people ``(sex, age)``, the groups they were counted in, and what they may serve for.

    ``same_day``: not lent by another day; ``own``: the ward's own, not that of all wards.
    """

    people: Array
    groups: _Groups
    same_day: bool
    own: bool


@dataclass(frozen=True)
class _Wards:
    """The wards' tables by single years, and which areas each ward has."""

    tables: Array  # (time, sex, age, ward), NaN where there is none
    groups: _Groups | None
    codes: tuple[str, ...]
    of_area: NDArray[np.object_]
    time: NDArray[np.float64]

    @classmethod
    def read(cls, register: xr.Dataset, open_age: int, norm: Array) -> _Wards:
        n_areas, time = register.sizes["area"], register["time"].to_numpy().astype(np.float64)
        if "ward_population" not in register:
            empty = np.full((time.size, 2, open_age + 1, 0), np.nan)
            return cls(empty, None, (), np.full(n_areas, "", dtype=object), time)
        given = register["ward_population"].transpose(
            "time", "sex_margin", "age_margin", "ward_margin"
        )
        sexes = tuple(map(str, given["sex_margin"].to_numpy()))
        if sexes != SEXES:
            raise InputError(
                Fault(
                    "ward_population",
                    f"the sexes of a ward table must be {SEXES}",
                    "Give the wards' women and men, or leave the table out.",
                    first=str(sexes),
                )
            )
        codes = tuple(map(str, given["ward_margin"].to_numpy()))
        of_area = np.full(n_areas, codes[0], dtype=object)
        if "ward" in register["population"].coords:
            of_area = register["population"]["ward"].to_numpy().astype(object)
        elif len(codes) > 1:  # nobody says which ward an area is in: the city is one ward
            given = given.sum("ward_margin", skipna=False)
            given = given.expand_dims(ward_margin=["all"], axis=-1)
            codes, of_area = ("all",), np.full(n_areas, "all", dtype=object)
        groups = _Groups.read(given.rename("ward_population"), "age_margin", open_age)
        counts = given.to_numpy()
        tables = np.empty((*counts.shape[:2], open_age + 1, len(codes)))
        for t, s in np.ndindex(*counts.shape[:2]):
            tables[t, s] = groups.to_single(groups.collect(counts[t, s]), norm[s])
        return cls(tables, groups, codes, of_area, time)

    def batches(self) -> Iterator[tuple[str, Index]]:
        """Each ward and its areas; areas of no ward that has a table come last, as ward ``""``."""
        index = np.array([c if c in self.codes else "" for c in self.of_area], dtype=object)
        for code in (*self.codes, ""):
            areas = np.flatnonzero(index == code)
            if areas.size:
                yield code, areas

    def table(self, time: int, code: str) -> _WardTable | None:
        """The ward's table of the time, or of the nearest; for ward ``""`` that of all wards."""
        own = code in self.codes
        people = self.tables[..., self.codes.index(code)] if own else self.tables.sum(axis=-1)
        times = np.flatnonzero(~np.isnan(people).any(axis=(1, 2)))
        if self.groups is None or times.size == 0:
            return None
        nearest = int(times[np.abs(self.time[times] - self.time[time]).argmin()])
        return _WardTable(people[nearest], self.groups, nearest == time, own)


@dataclass
class _Ledger:
    """What was met on the way: how well margins are met, and by how much tables disagree."""

    raked: dict[str, list[tuple[Raked, str]]] = field(default_factory=dict)
    disagree: dict[str, tuple[float, str]] = field(default_factory=dict)

    def rake(self, what: str, raked: Raked, label: str) -> Array:
        """Keep how well and how soon a table was raked; return the table."""
        self.raked.setdefault(what, []).append((raked._replace(table=np.empty(0)), label))
        return raked.table

    def compare(self, what: str, one: Array, other: Array, label: str) -> None:
        """Add up the people by whom two tables of the source disagree, if they do."""
        people = float(np.nansum(np.abs(one - other)))
        if people > TOLERANCE * max(1.0, float(np.nansum(np.abs(one)))):
            total, first = self.disagree.get(what, (0.0, label))
            self.disagree[what] = (total + people, first)

    def notes(self) -> list[Note]:
        """Each finding as a note."""
        found = []
        for what, done in self.raked.items():
            label = max(done, key=lambda d: max(d[0].area_miss, d[0].age_miss))[1]
            areas, ages = (max(d[0][i] for d in done) for i in (1, 2))
            steps = max(d[0].steps for d in done)
            text = (
                f"{what}: raked in at most {steps} steps, missing no area by more than {areas:.1g}"
                f" and no age of a ward by more than {ages:.1g} people; tables"
            )
            found.append(Note("split", text, count=len(done), first=f"{label}, the worst"))
        return found + [
            Note("split", what, count=people, first=first)
            for what, (people, first) in self.disagree.items()
        ]


def split(
    register: xr.Dataset,
    parameters: Parameters | None = None,  # noqa: ARG001 - none of them bears on the split yet
    *,
    standard: xr.DataArray | None = None,
) -> xr.Dataset:
    """Split ``population`` into both sexes and single years of age, as far as the source did not.

    Parameters
    ----------
    register
        As read: ``population (time, sex, age, area)`` [people], with sex ``("total",)`` or both,
        in single years or, with a coordinate ``age_width``, in groups. Used where there:
        ``population_by_sex (time, sex_margin, area)``, ``ward_population (time, sex_margin,
        age_margin, ward_margin)`` of single years or groups, the coordinate ``ward(area)``, the
        attribute ``open_age`` (100).
    parameters
        The city's parameters.
    standard
        Stationary population ``(sex, age)``, such as ``Lx`` of the city's life table, for the
        ratio of the sexes and the shape of the oldest ages where the source has no ward table;
        default: :func:`standard_population`.

    Returns
    -------
    Dataset
        The register with ``population`` by sex and single years 0 to ``open_age``, and
        ``split_mark (time, sex, age, area)``: 0 counted, 1 split by sex, 2 by age, 3 by both.
        Where nothing was left together, the register as it is. Areas without figures stay NaN.
        Notes say what was done, how closely each margin is met and where tables disagree.

    Raises
    ------
    InputError
        Ages with gaps or a group across the open age; a ward table without sexes; events for
        both sexes together or in groups of ages.

    Examples
    --------
    >>> population = xr.DataArray(
    ...     np.full((1, 1, 3, 1), 50.0),
    ...     dims=("time", "sex", "age", "area"),
    ...     coords={"sex": ["total"], "age": [0, 5, 10], "age_width": ("age", [5, 5, 0])},
    ... )
    >>> done = split(xr.Dataset({"population": population}, attrs={"open_age": 12}))
    >>> done["population"].sum("sex").values.ravel().round(1)
    array([10. , 10. , 10. , 10. , 10. , 10. , 10. , 10. , 10. , 10. ,  1.8,
            1.1, 47.1])
    """
    population = register["population"].transpose("time", "sex", "age", "area")
    both = tuple(map(str, population["sex"].to_numpy())) != SEXES
    groups = _Groups.read(population, "age", int(register.attrs.get("open_age", 100)))
    grouped = bool(groups.was_split.any())
    aged = not np.array_equal(population["age"], np.arange(groups.open_age + 1))
    if not both and not aged:
        return register
    _refuse_events(register, sex=both, age=aged)
    if standard is None:
        standard = standard_population(groups.open_age)
    norm = standard.sel(sex=list(SEXES)).transpose("sex", "age").to_numpy()
    wards, ledger = _Wards.read(register, groups.open_age, norm), _Ledger()

    given = population.to_numpy()
    collected = np.stack([[groups.collect(sex) for sex in moment] for moment in given])
    blank = np.isnan(collected)
    collected[blank] = 0.0
    whole = np.empty((len(given), len(SEXES), groups.open_age + 1, given.shape[-1]))
    women = _counted_women(register, collected.sum(axis=(1, 2)), ledger) if both else None
    sources = norm.sum(axis=0, keepdims=True) if both else norm
    with threadpool_limits(limits=1, user_api="blas"):  # small systems; the same bits everywhere
        for t, moment in enumerate(collected):
            day = _day(register, t)
            singles = [groups.to_single(c, n) for c, n in zip(moment, sources, strict=True)]
            for code, areas in wards.batches():
                table, label = wards.table(t, code), f"ward {code or '(none)'}, {day}"
                for s, single in enumerate(singles):
                    people = single[:, areas]
                    if grouped and table is not None:
                        at_age = table.people.sum(axis=0) if both else table.people[s]
                        totals = moment[s][:, areas]
                        people = _put_waves(people, groups, totals, table, at_age, ledger, label)
                    whole[t, s][:, areas] = people
                if women is not None:
                    people = whole[t, 0][:, areas]
                    female = _women(people, norm, women[t, areas], table, ledger, label)
                    whole[t, 0][:, areas], whole[t, 1][:, areas] = female, people - female

    whole[np.broadcast_to(blank[:, :, groups.group], whole.shape)] = np.nan
    mark = (SEX_SPLIT * both + AGE_SPLIT * groups.was_split).astype(np.int8)
    kept = {n: c for n, c in population.coords.items() if not {"sex", "age"} & set(c.dims)}
    coords = {**kept, "sex": list(SEXES), "age": np.arange(groups.open_age + 1)}
    result = xr.DataArray(whole, coords, population.dims, attrs=population.attrs)
    flags = {
        "long_name": "what the source did not count but was split",
        "flag_values": np.arange(4, dtype=np.int8),
        "flag_meanings": "counted split_by_sex split_by_age split_by_sex_and_age",
    }
    marked = np.broadcast_to(mark[:, None], whole.shape).copy()
    marks = xr.DataArray(marked, coords, population.dims, attrs=flags)
    gone = [name for name, changed in (("sex", both), ("age", aged)) if changed]
    rest = register.drop_vars("population").drop_dims(gone, errors="ignore")
    rest = rest.drop_vars("age_width", errors="ignore")
    done = rest.assign(population=result, split_mark=marks)
    return schema.with_notes(done, [*_summary(both, grouped, wards), *ledger.notes()])


def _put_waves(
    people: Array,
    groups: _Groups,
    totals: Array,
    table: _WardTable,
    at_age: Array,
    ledger: _Ledger,
    label: str,
) -> Array:
    """Rake single years to the ward's, if it has them, within the areas' own totals of groups."""
    if not table.same_day or bool(table.groups.was_split.any()):
        return people
    in_group = np.add.reduceat(at_age, groups.lower)
    if table.own:
        what = "people by whom wards' tables and the sums of their areas disagree by groups of ages"
        ledger.compare(what, totals.sum(axis=1), in_group, label)
    raked = rake_ages(people, groups.group, totals, at_age)
    return ledger.rake("single years by area × group of ages and ward × age", raked, label)


def _women(
    people: Array,
    norm: Array,
    women: Array,
    table: _WardTable | None,
    ledger: _Ledger,
    label: str,
) -> Array:
    """Women among the people ``(age, area)`` of a ward on one day."""
    share, group = norm[0] / norm.sum(axis=0), np.arange(len(people))
    women_at_age = np.full(len(people), np.nan)
    if table is not None:
        both = table.people.sum(axis=0)
        share = np.divide(table.people[0], both, out=share, where=both > 0)
    if table is not None and table.same_day and table.own:
        # the ward's share of women in each group, of as many people as the areas have there
        group, lower = table.groups.group, table.groups.lower
        female, total = np.add.reduceat([table.people[0], both], lower, axis=1)
        at_age = np.add.reduceat(people.sum(axis=1), lower)
        what = "people by whom wards' tables and the sums of their areas disagree by age"
        ledger.compare(what, at_age, total, label)
        part = np.divide(female, total, out=np.full_like(female, np.nan), where=total > 0)
        women_at_age = np.where(at_age > 0, part * at_age, 0.0)
        if not np.isnan(women).any() and not np.isnan(women_at_age).any():
            what = "women by whom wards' tables and the sums of their areas disagree"
            ledger.compare(what, women.sum(keepdims=True), women_at_age.sum(keepdims=True), label)
            women_at_age = _summing_to(women_at_age, at_age, float(women.sum()))
    if np.isnan(women).all() and np.isnan(women_at_age).all():
        return np.asarray(share[:, None] * people)
    raked = rake_sexes(people, share, women, women_at_age, group)
    return ledger.rake("sexes by area × age, area × sex and ward × sex × age", raked, label)


def _summing_to(women: Array, people: Array, total: float) -> Array:
    """Women at each age with all odds raised alike, so that they sum to a total."""
    if abs(women.sum() - total) <= 1e-12 * max(total, 1.0):
        return women
    share = np.divide(women, people, out=np.full_like(people, 0.5), where=people > 0)
    share = share.clip(1e-13, 1 - 1e-13)
    odds = np.log(share) - np.log1p(-share)
    low, high = -70.0, 70.0
    for _ in range(100):
        middle = (low + high) / 2
        raised = people / (1 + np.exp(-(odds + middle)))
        low, high = (middle, high) if raised.sum() < total else (low, middle)
    return np.asarray(raised)


def _counted_women(register: xr.Dataset, people: Array, ledger: _Ledger) -> Array:
    """Women of each area ``(time, area)`` as counted, as a share of its people; NaN: not known."""
    if "population_by_sex" not in register:
        return np.full(people.shape, np.nan)
    given = register["population_by_sex"].transpose("time", "sex_margin", "area")
    female, male = (given.sel(sex_margin=sex).to_numpy() for sex in SEXES)
    total = female + male
    there = ~np.isnan(total)
    what = "people by whom areas' totals by sex and by age disagree"
    ledger.compare(what, np.where(there, people, 0.0), np.where(there, total, 0.0), "all areas")
    share = np.divide(female, total, out=np.full(people.shape, np.nan), where=there & (total > 0))
    return np.where(people > 0, share * people, 0.0)


def _refuse_events(register: xr.Dataset, *, sex: bool, age: bool) -> None:
    """Refuse events on labels that are about to go: how to split them is another matter."""
    going = {dim for dim, changes in (("sex", sex), ("age", age)) if changes}
    faults = [
        Fault(
            str(name),
            "events must come by both sexes and by single years, as only stocks are split",
            "Leave the events out, or give them in full detail.",
            first=f"dims {tuple(array.dims)}",
        )
        for name, array in register.data_vars.items()
        if name != "population" and going & set(array.dims)
    ]
    if faults:
        raise InputError(faults)


def _day(register: xr.Dataset, time: int) -> str:
    """The day of a count, as text."""
    if "count_date" in register.coords:
        return str(register["count_date"].to_numpy()[time].astype("datetime64[D]"))
    return f"count {time + 1}"


def _summary(both: bool, grouped: bool, wards: _Wards) -> Iterator[Note]:
    """What was done at all."""
    if grouped:
        yield Note(
            "split",
            "groups of ages were split into single years by a monotone spline"
            + (", with the waves of the wards' tables" if wards.codes else "")
            + "; the areas' groups are kept exactly",
        )
    if both:
        by = "the wards' tables by sex and age" if wards.codes else "a standard ratio by age"
        yield Note("split", f"both sexes were split by {by}; the areas' ages are kept exactly")
    if wards.codes:
        without = int(sum(areas.size for code, areas in wards.batches() if not code))
        if without:
            what = "areas whose ward has no table took the pattern of all wards"
            yield Note("split", what, count=without)
        missing = int(np.isnan(wards.tables).any(axis=(1, 2)).sum())
        if missing:
            what = (
                "ward tables missing on a day of count: the ratio of the sexes of the nearest day"
                " was taken, and no margin"
            )
            yield Note("split", what, count=missing)

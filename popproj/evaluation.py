r"""Backtests: what a method would have said, against what came.

A backtest takes the register back to a past day, the launch, hands a method the stocks up to that
day and nothing else, and holds its people of some years on against the count of that day. The same
is done with the simple methods of :mod:`popproj.cohort.simple`: a method is as good as it is better
than the best of them.

With :math:`e_i = (\hat P_i - P_i) / P_i` over the `n` areas of a cell (launch, horizon, age group),
in per cent:

=========  ==================================  =====================================
mape       :math:`\frac1n \sum |e_i|`          mean absolute percentage error
medape     :math:`\mathrm{median} |e_i|`       its median
p90        9 areas of 10 are nearer            90th percentile
malpe      :math:`\frac1n \sum e_i`            mean algebraic error, the bias
wape       :math:`\sum |\hat P_i - P_i| / \sum P_i`  weighted by people
=========  ==================================  =====================================

References
----------
Swanson, D. A., Tayman, J., Bryan, T. M. (2011). MAPE-R: a rescaled measure of accuracy for
cross-sectional subnational population forecasts. *Journal of Population Research* 28, 225-243.
Efron, B., Tibshirani, R. J. (1993). *An Introduction to the Bootstrap*. Chapman & Hall, ch. 13.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.cohort.simple import RIVALS, Method
from popproj.indicators import AgeGroup, age_groups
from popproj.schema import Fault, InputError, Note

Array = NDArray[np.float64]
GROUPS = tuple(map(AgeGroup.parse, ("total", "0-5", "6-11", "12-14", "5-14", "0-4", "65+", "75+")))
"""Age groups scored by default, as far as the ages of the data allow."""
MIN_POPULATION = 500
"""People under whom an area is not scored."""
MIN_GROUP = 30
"""People under whom a group of an area is not scored."""
NEAR = 3
"""Days by which a count may miss the anniversary of the launch."""
SIZES = (2_000, 5_000, 10_000)
"""Bounds [people at the launch] between the size classes of areas."""
SCORES = ("mape", "medape", "p90", "malpe", "wape")
CELL = ["launch", "horizon", "group"]


class _Launch(NamedTuple):
    """One launch: positions on time of its stock, of the yearly ones before, of the targets."""

    year: int
    at: int
    past: list[int]
    targets: list[int]


def backtest(
    stocks: xr.Dataset,
    launches: Iterable[int],
    horizons: Iterable[int],
    groups: Iterable[AgeGroup | str] | None = None,
    methods: Mapping[str, Method] = RIVALS,
    *,
    min_population: float = MIN_POPULATION,
    progress: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Forecasts of some methods from past launches, beside what was counted.

    The launch of a year is the last count date of that calendar year, the target the same day some
    years on (give or take three days), the history every earlier stock on that day of a year. A
    method is handed a copy of these stocks, cut at the launch, of the areas that had people then;
    nothing else of the register goes with it but the areas' ward.

    Parameters
    ----------
    stocks
        ``population`` (time, sex, age, area) [people], as `read_stocks` gives it; ``count_date``
        (time), else the day before ``time``.
    launches
        Calendar years.
    horizons
        Years after the launch.
    groups
        Ages to score; default those of :data:`GROUPS` that begin and end where the data's ages do.
    methods
        Methods by name.
    min_population
        People at launch and at target under whom an area is left out.
    progress
        Told launch and method before each forecast.

    Returns
    -------
    Dataset
        ``forecast`` (method, launch, horizon, group, area) and ``observed``
        (launch, horizon, group, area) [people], both NaN where a group of an area is left out, and
        ``launch_population`` (launch, area) [people]. ``attrs["notes"]`` says what was left out.

    Raises
    ------
    InputError
        If a launch or a target has no count, a launch no earlier one, a group is not on the
        data's ages, or a method does not forecast every area.

    Examples
    --------
    >>> from popproj.schema import time_coordinate
    >>> people = 1000.0 + 100 * np.arange(4)[:, None, None, None] * np.ones((1, 2, 3, 1))
    >>> stocks = xr.Dataset(
    ...     {"population": (("time", "sex", "age", "area"), people)},
    ...     coords={**time_coordinate([f"{y}-12-31" for y in range(2014, 2018)]),
    ...             "sex": ["female", "male"], "age": range(3), "area": ["001"]},
    ... )
    >>> names = ("constant", "linear")
    >>> result = backtest(stocks, [2016], [1], methods={n: RIVALS[n] for n in names})
    >>> scores(result)[["method", "group", "mape", "malpe", "n"]]
         method  group      mape     malpe  n
    0  constant  total  7.692308 -7.692308  1
    1    linear  total  0.000000  0.000000  1
    """
    population = stocks["population"].transpose("time", "sex", "age", "area")
    population = population.isel(time=np.argsort(population["time"].to_numpy(), kind="stable"))
    horizons = sorted(set(map(int, horizons)))
    plan = _plan(_count_dates(population), sorted(set(map(int, launches))), horizons)
    chosen = _groups(population["age"], groups)
    names = [str(g) for g in chosen]
    counted = age_groups(population.sum("sex", skipna=False), chosen)
    counted = counted.transpose("time", "age_group", "area")
    whole = population.sum(["sex", "age"], skipna=False).to_numpy()

    shape = (len(plan), len(horizons), len(chosen), population.sizes["area"])
    observed = np.full(shape, np.nan)
    forecast = np.full((len(methods), *shape), np.nan)
    notes: list[Note] = []
    for i, launch in enumerate(plan):
        there = whole[launch.at] > 0
        for j, target in enumerate(launch.targets):
            scored = _scored(population, counted, launch, target, whole, min_population, notes)
            observed[i, j] = np.where(scored, counted.to_numpy()[target], np.nan)
        for k, (name, method) in enumerate(methods.items()):
            if progress is not None:
                progress(f"launch {launch.year}: {name}")
            said = method(_history(population, launch, there), horizons)
            found = _found(said, name, horizons, population["area"], chosen)
            forecast[k, i] = np.where(np.isnan(observed[i]), np.nan, found)
            _check_complete(name, launch, horizons, names, forecast[k, i], observed[i], population)
    return xr.Dataset(
        {
            "forecast": (("method", "launch", "horizon", "group", "area"), forecast),
            "observed": (("launch", "horizon", "group", "area"), observed),
            "launch_population": (("launch", "area"), whole[[p.at for p in plan]]),
        },
        coords={
            "method": list(methods),
            "launch": [p.year for p in plan],
            "horizon": horizons,
            "group": names,
            "area": population["area"].to_numpy(),
        },
        attrs={"notes": tuple(notes)},
    )


def scores(result: xr.Dataset, *, by_size: bool = False) -> pd.DataFrame:
    """Errors of each method in each cell.

    Parameters
    ----------
    result
        From :func:`backtest`.
    by_size
        Also by the areas' people at the launch, bounds :data:`SIZES`.

    Returns
    -------
    DataFrame
        method, launch, horizon, group, (size,) mape, medape, p90, malpe, wape [%], n [areas];
        without the cells in which no area is scored.
    """
    if not by_size:
        return _scores(result)
    size = np.digitize(result["launch_population"].to_numpy(), SIZES)
    labels = [
        f"under {SIZES[0]:,}",
        *(f"{a:,}-{b - 1:,}" for a, b in pairwise(SIZES)),
        f"{SIZES[-1]:,} and more",
    ]
    tables = []
    for i, label in enumerate(labels):
        inside = xr.DataArray(size == i, dims=("launch", "area"))
        part = _scores(result.assign(observed=result["observed"].where(inside)))
        part.insert(4, "size", label)
        tables.append(part)
    return pd.concat(tables, ignore_index=True)


def rows(result: xr.Dataset) -> list[dict[str, Any]]:
    """Scores as plain rows: method, launch, horizon, group, mape, medape, p90, malpe [%], n."""
    table = _scores(result).drop(columns="wape")
    return [
        {str(k): round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Text of a JSON file that is the list of rows and nothing else, one row a line.

    Examples
    --------
    >>> print(to_json([{"method": "constant", "mape": 5.5}, {"method": "linear", "mape": 4.5}]))
    [
    {"method": "constant", "mape": 5.5},
    {"method": "linear", "mape": 4.5}
    ]
    """
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    return "[\n" + ",\n".join(lines) + "\n]"


def best_naive(result: xr.Dataset, rivals: Iterable[str] | None = None) -> pd.DataFrame:
    """The rival with the lowest MAPE of each cell, chosen with hindsight.

    Parameters
    ----------
    result
        From :func:`backtest`.
    rivals
        Names to choose from; default the simple methods that are in the result.

    Returns
    -------
    DataFrame
        launch, horizon, group, best_naive, mape [%].
    """
    table = _scores(result)
    table = table[table["method"].isin(_rivals(result, rivals))]
    best = table.loc[table.groupby(CELL, sort=False)["mape"].idxmin()]
    best = best.rename(columns={"method": "best_naive"})
    return best[[*CELL, "best_naive", "mape"]].reset_index(drop=True)


def districts(
    result: xr.Dataset,
    rivals: Iterable[str] | None = None,
    *,
    over_launches: bool = False,
) -> pd.DataFrame:
    """Error of each method in each area, and its skill beside the best naive method.

    The best naive method is one for all areas of a cell (:func:`best_naive`), for an area alone
    cannot choose it: of a dozen methods one is always right by chance.

    Parameters
    ----------
    result
        From :func:`backtest`.
    rivals
        Names of the naive methods; default the simple methods that are in the result.
    over_launches
        One row for each method, horizon, group and area with the mean errors over the launches.

    Returns
    -------
    DataFrame
        method, (launch,) horizon, group, area, (forecast, observed [people],) ape [%],
        (best_naive,) ape_best [%], skill = 1 - ape / ape_best: 1 hits, 0 is as near as the naive
        method, below 0 it is nearer. Blank where the naive method hits.
    """
    ape = _ape(result)
    table = xr.Dataset({"forecast": result["forecast"], "observed": result["observed"], "ape": ape})
    long = table.to_dataframe().dropna().reset_index()
    best = best_naive(result, rivals).drop(columns="mape")
    long = long.merge(best, on=CELL, how="left")
    naive = long.loc[long["method"] == long["best_naive"], [*CELL, "area", "ape"]]
    long = long.merge(naive.rename(columns={"ape": "ape_best"}), on=[*CELL, "area"], how="left")
    if over_launches:
        keys = ["method", "horizon", "group", "area"]
        long = long.groupby(keys, sort=False)[["ape", "ape_best"]].mean().reset_index()
    else:
        order = ["method", *CELL, "area", "forecast", "observed", "ape", "best_naive", "ape_best"]
        long = long[order]
    naive_ape = long["ape_best"].where(long["ape_best"] > 0)
    return long.assign(skill=1 - long["ape"] / naive_ape)


def difference(
    result: xr.Dataset,
    method: str,
    against: str | None = None,
    *,
    rivals: Iterable[str] | None = None,
    level: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""By how much a method's MAPE is above another's, with a paired bootstrap interval.

    Areas are drawn with replacement, both methods on the same ones:
    :math:`\Delta = \frac1n \sum_i (|e_i^a| - |e_i^b|)`, percentiles of the draws. Areas of one
    city share the shocks of its years, which no interval from one launch can know.

    Parameters
    ----------
    result
        From :func:`backtest`.
    method
        The method; negative differences are in its favour.
    against
        The other one; None takes the best naive of each cell, without `method`.
    rivals
        Names to choose the best naive from.
    level
        Coverage of the interval.
    draws
        Number of draws.
    seed
        Of the draws; the same seed gives the same interval.

    Returns
    -------
    DataFrame
        launch, horizon, group, against, difference, low, high [percentage points of MAPE], ratio
        of the two MAPEs, nearer [share of areas in which the method is nearer], n.

    Raises
    ------
    InputError
        If a method is not in the result.
    """
    known = _known(result, [method] if against is None else [method, against])
    ape = _ape(result).transpose("method", *CELL, "area").to_numpy()
    if against is None:
        names = [r for r in _rivals(result, rivals) if r != method] or [method]
        best = best_naive(result, names).set_index(CELL)["best_naive"]
    tails = [(1 - level) / 2, (1 + level) / 2]
    cells = [list(result[dim].to_numpy().tolist()) for dim in CELL]
    out = []
    for i, cell in enumerate(product(*cells)):
        errors = ape.reshape(len(known), -1, ape.shape[-1])[:, i]
        own = errors[known.index(method)]
        n = int((~np.isnan(own)).sum())
        if not n:
            continue
        other = against or str(best[cell])
        their = errors[known.index(other)][~np.isnan(own)]
        own = own[~np.isnan(own)]
        # each cell by itself, so that its interval does not hang on which others are there
        random = np.random.default_rng([seed, *map(ord, "/".join(map(str, cell)))])
        weights = random.multinomial(n, np.full(n, 1 / n), size=draws) / n
        low, high = np.quantile(weights @ (own - their), tails)
        out.append(
            {
                **dict(zip(CELL, cell, strict=True)),
                "against": other,
                "difference": float((own - their).mean()),
                "low": float(low),
                "high": float(high),
                "ratio": float(own.mean() / their.mean()) if their.any() else np.nan,
                "nearer": float((own < their).mean()),
                "n": n,
            }
        )
    return pd.DataFrame(out)


def text_table(
    result: xr.Dataset, score: str = "mape", *, rivals: Iterable[str] | None = None
) -> str:
    """One score of all methods, for people to read: a block for each launch and horizon.

    Parameters
    ----------
    result
        From :func:`backtest`.
    score
        One of :data:`SCORES`.
    rivals
        Names of the naive methods; default the simple methods that are in the result.

    Returns
    -------
    str
        ``*`` marks the best naive method of a group, by MAPE.
    """
    table = _scores(result)
    marks = best_naive(result, rivals).set_index(CELL)["best_naive"].to_dict()
    methods = [str(m) for m in result["method"].to_numpy()]
    groups = [str(g) for g in result["group"].to_numpy()]
    wide = max(map(len, (*methods, "areas")))
    lines: list[str] = []
    for (launch, horizon), block in table.groupby(["launch", "horizon"], sort=False):
        values = block.set_index(["method", "group"])[score].to_dict()
        n = block.set_index("group")["n"].to_dict()
        here = [g for g in groups if g in n]
        years = "year" if horizon == 1 else "years"
        lines += ["", f"launch {launch}, {horizon} {years} on: {score.upper()}, %"]
        lines.append(" " * wide + "".join(f"{g:>8} " for g in here).rstrip())
        for name in methods:
            cells = (
                f"{values[name, g]:8.2f}" + ("*" if marks[launch, horizon, g] == name else " ")
                for g in here
            )
            lines.append(f"{name:<{wide}}{''.join(cells)}".rstrip())
        lines.append(f"{'areas':<{wide}}" + "".join(f"{n[g]:8d} " for g in here).rstrip())
    return "\n".join(lines[1:])


def _count_dates(population: xr.DataArray) -> NDArray[np.datetime64]:
    """Days at whose close the people were counted."""
    if "count_date" in population.coords:
        return np.asarray(population["count_date"].to_numpy().astype("datetime64[D]"))
    return np.asarray(population["time"].to_numpy().astype("datetime64[D]") - 1)


def _plan(
    days: NDArray[np.datetime64], launches: Sequence[int], horizons: Sequence[int]
) -> list[_Launch]:
    """Where the stocks of each launch lie on time."""
    where = "backtest"
    span = f"The table has counts from {days[0]} to {days[-1]}."
    if not launches or not horizons or min(horizons) < 1:
        rule = "at least one launch, and horizons of a year or more, must be given"
        raise InputError(Fault(where, rule, "Give a year, and years after it."))
    years = days.astype("datetime64[Y]").astype(int) + 1970
    faults, plan = [], []
    for year in launches:
        (inside,) = np.nonzero(years == year)
        if not inside.size:
            rule = f"launch {year} must have a count date in that calendar year, and has none"
            faults.append(Fault(where, rule, span))
            continue
        at = int(inside[-1])
        launch = pd.Timestamp(days[at])
        targets = [_nearest(days, launch + pd.DateOffset(years=h)) for h in horizons]
        for horizon, target in zip(horizons, targets, strict=True):
            if target is None:
                day = (launch + pd.DateOffset(years=horizon)).date()
                rule = f"launch {days[at]} needs a count within {NEAR} days of {day}, horizon"
                faults.append(Fault(where, f"{rule} {horizon}, and there is none", span))
        back = range(year - int(years[0]) + 1, 0, -1)
        past = [_nearest(days, launch - pd.DateOffset(years=k)) for k in back]
        before = [p for p in past if p is not None]
        if not before:
            rule = f"launch {days[at]} needs an earlier count on the same day of a year"
            faults.append(Fault(where, f"{rule}, and there is none", span))
        plan.append(_Launch(year, at, [*before, at], [t for t in targets if t is not None]))
    if faults:
        raise InputError(faults)
    return plan


def _nearest(days: NDArray[np.datetime64], day: pd.Timestamp) -> int | None:
    """Position of the count nearest to a day, if one is near enough."""
    gap = np.abs((days - np.datetime64(day, "D")).astype(int))
    at = int(gap.argmin())
    return at if gap[at] <= NEAR else None


def _groups(age: xr.DataArray, groups: Iterable[AgeGroup | str] | None) -> tuple[AgeGroup, ...]:
    """Groups asked for, or those of the default that are on the ages of the data."""
    if groups is not None:
        asked = (g if isinstance(g, AgeGroup) else AgeGroup.parse(g) for g in groups)
        chosen = tuple(dict.fromkeys(asked))
        if chosen:
            return chosen
    starts = set(map(int, age.to_numpy()))
    return tuple(
        g for g in GROUPS if g.first in starts and (g.last is None or g.last + 1 in starts)
    )


def _scored(
    population: xr.DataArray,
    counted: xr.DataArray,
    launch: _Launch,
    target: int,
    whole: Array,
    least: float,
    notes: list[Note],
) -> NDArray[np.bool_]:
    """Which groups of which areas are held against the count; the others are noted."""
    areas = population["area"].to_numpy()
    groups = counted["age_group"].to_numpy()
    first, last = whole[launch.at], whole[target]
    day = str(_count_dates(population)[target])
    where = f"launch {launch.year}, target {day}"
    blank = np.isnan(first) | np.isnan(last)
    either = np.nan_to_num(np.fmax(first, last)) > 0
    both = (first > 0) & (last > 0)
    gone = either & ~both & ~blank
    small = both & (np.fmin(first, last) < least)
    for out, what in (
        (blank, "areas without figures at launch or target were left out"),
        (gone, "areas that had people at one of launch and target only were left out"),
        (small, f"areas under {least:,g} people at launch or target were left out"),
    ):
        if out.any():
            notes.append(Note(where, what, int(out.sum()), str(areas[out][0])))
    scored = both & ~small
    people = counted.to_numpy()[target]
    few = scored & (people < MIN_GROUP)
    if few.any():
        group, area = np.argwhere(few)[0]
        what = f"groups under {MIN_GROUP} people at the target were left out"
        notes.append(Note(where, what, int(few.sum()), f"{groups[group]} of {areas[area]}"))
    return np.asarray(scored & ~few)


def _history(population: xr.DataArray, launch: _Launch, there: NDArray[np.bool_]) -> xr.DataArray:
    """Stocks a method may see: a copy, so that neither views nor changes reach beyond it."""
    past = population.isel(time=launch.past, area=np.flatnonzero(there)).copy(deep=True)
    known = {"time", "count_date", "sex", "age", "age_width", "area", "ward", "ward_name"}
    past = past.drop_vars([c for c in past.coords if c not in known]).drop_attrs()
    return past.rename("population")


def _found(
    said: xr.DataArray,
    name: str,
    horizons: Sequence[int],
    areas: xr.DataArray,
    groups: Sequence[AgeGroup],
) -> Array:
    """Forecast of a method on the groups and all areas; NaN where it says nothing."""
    if "sex" in said.dims:
        said = said.sum("sex", skipna=False)
    if set(said.dims) != {"horizon", "age", "area"}:
        raise InputError(
            Fault(
                f"method {name}",
                f"a forecast must have the dims horizon, age and area, and has {said.dims}",
                "Sum or select the others.",
            )
        )
    grouped = age_groups(said, groups).transpose("horizon", "age_group", "area")
    return np.asarray(
        grouped.reindex(horizon=list(horizons), area=areas.to_numpy()).to_numpy(), dtype=np.float64
    )


def _check_complete(
    name: str,
    launch: _Launch,
    horizons: Sequence[int],
    groups: Sequence[str],
    forecast: Array,
    observed: Array,
    population: xr.DataArray,
) -> None:
    """Methods are compared on the same areas: refuse one that says nothing of some."""
    missing = ~np.isfinite(forecast) & ~np.isnan(observed)
    if missing.any():
        h, g, a = np.argwhere(missing)[0]
        raise InputError(
            Fault(
                f"method {name}",
                "a forecast must have a number for every area that was there at the launch",
                "Methods are compared on the same areas.",
                broken=int(missing.sum()),
                total=int((~np.isnan(observed)).sum()),
                first=f"{groups[g]} of {population['area'].to_numpy()[a]}, "
                f"launch {launch.year}, {horizons[h]} years on",
                unit="groups of areas",
            )
        )


def _error(result: xr.Dataset) -> xr.DataArray:
    """Percentage errors (method, launch, horizon, group, area); NaN where left out."""
    observed = result["observed"]
    return 100 * (result["forecast"] - observed) / observed


def _ape(result: xr.Dataset) -> xr.DataArray:
    return abs(_error(result)).rename("ape")


def _scores(result: xr.Dataset) -> pd.DataFrame:
    observed = result["observed"].to_numpy()
    error = _error(result).to_numpy()
    n = (~np.isnan(observed)).sum(axis=-1)
    any_area = n > 0
    signed = error[:, any_area]  # (method, cell, area): no cell is all blank
    absolute = np.abs(signed)
    people = observed[any_area]
    values = {
        "mape": np.nanmean(absolute, axis=-1),
        "medape": np.nanmedian(absolute, axis=-1),
        "p90": np.nanquantile(absolute, 0.9, axis=-1),
        "malpe": np.nanmean(signed, axis=-1),
        "wape": np.nansum(absolute * people, axis=-1) / np.nansum(people, axis=-1),
    }
    methods = result["method"].to_numpy()
    cells = np.argwhere(any_area)
    labels = {dim: result[dim].to_numpy()[cells[:, i]] for i, dim in enumerate(CELL)}
    table = pd.DataFrame({"method": np.repeat(methods, len(cells))})
    for dim, values_of in labels.items():
        table[dim] = np.tile(values_of, len(methods))
    for score in SCORES:
        table[score] = values[score].ravel()
    return table.assign(n=np.tile(n[any_area], len(methods)))


def _known(result: xr.Dataset, names: Iterable[str]) -> list[str]:
    """Methods of a result, when all the names are among them."""
    known = [str(m) for m in result["method"].to_numpy()]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise InputError(
            Fault(
                "backtest",
                f"{wrong[0]!r} must be one of its methods, and is not",
                f"It has {', '.join(known)}.",
            )
        )
    return known


def _rivals(result: xr.Dataset, rivals: Iterable[str] | None) -> list[str]:
    """Naive methods of a result, in its order: those named, else the simple ones, else all."""
    if rivals is None:
        known = _known(result, [])
        return [m for m in known if m in RIVALS] or known
    wanted = set(rivals)
    return [m for m in _known(result, sorted(wanted)) if m in wanted]

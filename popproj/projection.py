"""Labels into the kernel and back: the only caller of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from popproj import schema
from popproj.cohort import conventions
from popproj.cohort.conventions import CONVENTIONS, Convention
from popproj.cohort.kernel import Destinations, Fertility, Flows, Moves, Net, Shares, step

Array = NDArray[np.float64]
CELL = schema.CELL


def project(
    jump_off: xr.DataArray,
    rates: xr.Dataset,
    *,
    keep: Literal["all", "last"] = "all",
    progress: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Project a population through the years of some rates.

    Parameters
    ----------
    jump_off
        People at the start, ``(sex, age, district)`` [people], with the scalar coordinates
        ``time`` (the instant) and ``count_date``.
    rates
        The assumed rates, as `future_rates` returns them: ``year`` is a coordinate and the dim of
        whatever changes from year to year. Attribute ``convention`` says how they act. What is
        not there does not happen.
    keep
        ``"all"``: every year's stocks and flows. ``"last"``: the last stock alone.
    progress
        Called with the number of years done.

    Returns
    -------
    xarray.Dataset
        ``population`` on ``time``, flows on ``year``, labelled by the age reached; for every cell

        ``population(t+1, a) = population(t, a−1) − deaths(a) − out_migrants(a) + in_migrants(a)
        − moves_out(a) + moves_in(a) + net_migrants(a) + adjustment(a)``

        with the year's births as the first term at age 0 and the last two ages together at the
        open one.

    Raises
    ------
    InputError
        If labels do not agree or something is missing or negative.

    Examples
    --------
    A closed population that only ages:

    >>> people = xr.DataArray(
    ...     np.ones((2, 101, 1)),
    ...     dims=("sex", "age", "district"),
    ...     coords={"sex": ["female", "male"], "age": range(101), "district": ["001"],
    ...             "time": np.datetime64("2020-04-01", "ns"),
    ...             "count_date": np.datetime64("2020-03-31", "ns")},
    ...     name="jump_off",
    ... )
    >>> still = xr.Dataset(coords={"year": [2020, 2021], **people.coords},
    ...                    attrs={"convention": "popproj"}).drop_vars(["time", "count_date"])
    >>> future = project(people, still)
    >>> future["population"].sum(["sex", "district"]).isel(age=[0, 1, 2, 99, 100]).values
    array([[2., 2., 2., 2., 2.],
           [0., 2., 2., 2., 4.],
           [0., 0., 2., 2., 6.]])
    """
    jump_off = jump_off.transpose(*CELL)
    _check(jump_off, rates)
    convention = CONVENTIONS[rates.attrs["convention"]]
    years = np.atleast_1d(rates["year"].to_numpy())
    shape = jump_off.shape
    n_sex, n_age, n_place = shape
    source = _Source(rates.transpose(*schema.canonical(map(str, rates.dims))), shape)
    moving = "destination_share" in rates and n_place > 1
    netting = any(name in rates for name in ("net_count", "net_rate", "adjustment", "control"))
    every = keep == "all"
    n_kept = len(years) if every else 1

    population = np.empty((len(years) + 1 if every else 2, *shape))
    population[0] = jump_off.to_numpy()
    births = np.empty((n_kept, n_sex, n_place))
    by_mother = np.zeros((n_kept, n_age, n_place))
    deaths, ins, outs = (np.empty((n_kept, *shape)) for _ in range(3))
    nets, cuts = np.zeros((n_kept, *shape)), np.empty((n_kept, *shape))
    moved, arrived = (np.empty((n_kept, *shape)) if moving else None for _ in range(2))

    shares: Shares | None = None
    destinations: Destinations | None = None
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits on any number of threads
        for i in range(len(years)):
            out = i if every else 0
            before, after = (i, i + 1) if every else (i % 2, 1 - i % 2)
            if shares is None or source.changes(*_RISKS):
                shares = _shares(source, i, convention)
            if moving and (destinations is None or source.changes("destination_share")):
                destinations = _destinations(source, i)
            count = source.cell("net_count", i) if netting else None
            opening = population[before]
            if count is not None and convention.net_at_start:
                early = convention.net_at_start * count
                opening, count = opening + early, count - early
            given = source.cell("adjustment", i) if "adjustment" in rates else None
            net = None
            if count is not None:
                net = Net(count if given is None else count + given, source.cell("net_rate", i))
            step(
                opening,
                shares,
                source.cell("in_count", i),
                net,
                _fertility(source, i, convention),
                destinations,
                births[out],
                by_mother[out],
                Moves(moved[out], arrived[out])
                if moved is not None and arrived is not None
                else None,
                Flows(deaths[out], ins[out], outs[out], nets[out], cuts[out]) if every else None,
                population[after],
            )
            if "control" in rates:
                change = _scaled(population[after], source.array("control", i, ("sex", "age")))
                population[after] += change
                nets[out] += change
            if every and given is not None:
                nets[out] -= given
                cuts[out] += given
            if every and opening is not population[before]:
                nets[out] += _aged(opening - population[before])
            if progress is not None:
                progress(i + 1)

    start, count_date = (pd.Timestamp(jump_off[c].item()) for c in ("time", "count_date"))
    kept = range(len(years) + 1) if every else [len(years)]
    result = xr.Dataset(
        {
            "population": (
                ("time", *CELL),
                population if every else population[len(years) % 2][None],
            )
        },
        coords={
            "time": [start + pd.DateOffset(years=i) for i in kept],
            "count_date": ("time", [count_date + pd.DateOffset(years=i) for i in kept]),
            **{name: c for name, c in jump_off.coords.items() if c.dims and set(c.dims) <= {*CELL}},
        },
        attrs=dict(rates.attrs),
    )
    if every:
        result = result.assign_coords(year=years)
        result["births"] = ("year", "sex", "district"), births
        result["births_by_mother"] = ("year", "age", "district"), by_mother
        flows = {"deaths": deaths, "in_migrants": ins, "out_migrants": outs}
        if moved is not None and arrived is not None:
            flows |= {"moves_in": arrived, "moves_out": moved}
        if netting:
            flows |= {"net_migrants": nets}
        for name, values in {**flows, "adjustment": cuts}.items():
            result[name] = ("year", *CELL), values
    return schema.describe(result)


def with_past(projection: xr.Dataset, books: xr.Dataset) -> xr.Dataset:
    """Put the balanced books of the past in front of a projection.

    Parameters
    ----------
    projection
        From `project`, all years kept.
    books
        From `complete_books`; their last stock is the projection's first.

    Returns
    -------
    xarray.Dataset
        The same variables over past and future years. Attributes ``base_date`` (count date of the
        jump-off) and ``base_year`` (first projected year) say where one becomes the other.
    """
    first = projection["population"].isel(time=0)
    stocks = [books["population"].isel(time=slice(None, -1)), projection["population"]]
    joined = xr.Dataset(coords=projection.coords).drop_dims(["time", "year"])
    joined["population"] = xr.concat(
        stocks, "time", coords="minimal", compat="override", join="exact"
    )
    for name in dict.fromkeys((*projection.data_vars, *books.data_vars)):
        dims = schema.VARIABLES[str(name)].dims if name in schema.VARIABLES else ()
        parts = [ds.get(name) for ds in (books, projection)]
        told = name == "adjustment" or any(p is not None and p.any() for p in parts)
        if "year" not in dims or not told:
            continue
        known = next(p for p in parts if p is not None)
        filled = [
            xr.zeros_like(known.isel(year=0, drop=True)).expand_dims(year=ds["year"])
            if p is None
            else p
            for p, ds in zip(parts, (books, projection), strict=True)
        ]
        flows = [p.transpose(*schema.canonical(dims)) for p in filled]
        joined[name] = xr.concat(flows, "year", coords="minimal", compat="override", join="exact")
    joined.attrs = {
        **projection.attrs,
        "base_date": str(np.datetime_as_string(first["count_date"].to_numpy(), unit="D")),
        "base_year": int(projection["year"][0]),
    }
    return schema.describe(joined)


def replay(books: xr.Dataset, rates: xr.Dataset) -> xr.Dataset:
    """Put the raw rates of a past year on its opening population.

    Parameters
    ----------
    books
        Only ``population`` at the year's start is taken.
    rates
        The raw rates of one year from `raw_rates`, with its ``unexposed_*`` events.

    Returns
    -------
    xarray.Dataset
        Like `project` for that one year; events that met no exposure are added.
    """
    year = int(np.atleast_1d(rates["year"].to_numpy())[0])
    i = int(np.flatnonzero(schema.years_between(books["time"]) == year)[0])
    replayed = project(books["population"].isel(time=i), rates)
    signs = {"deaths": -1, "out_migrants": -1, "moves_out": -1, "moves_in": 1}
    closing = replayed["population"].isel(time=1)
    given = rates["adjustment"].expand_dims(year=[year]).transpose(*schema.FLOW)
    cut = (replayed["adjustment"] - given).isel(year=0, drop=True)
    replayed["adjustment"] = given
    closing = closing - cut  # what seemed too few without the unexposed is not
    with xr.set_options(arithmetic_join="exact"):  # type: ignore[no-untyped-call]
        for flow, sign in signs.items():
            name = f"unexposed_{flow}"
            if name in rates:
                replayed[flow] = replayed[flow] + rates[name]
                closing = closing + sign * rates[name]
        if "unexposed_births_by_mother" in rates:
            extra = rates["unexposed_births_by_mother"]
            replayed["births_by_mother"] = replayed["births_by_mother"] + extra
        if "unexposed_births" in rates:
            replayed["births"] = replayed["births"] + rates["unexposed_births"]
            born = rates["unexposed_births"].expand_dims(age=[0]).reindex_like(closing)
            closing = closing + born.fillna(0.0)
    replayed["population"] = xr.concat(
        [replayed["population"].isel(time=0), closing.transpose(*CELL)],
        dim="time",
        coords="minimal",
        compat="override",
    )
    return replayed


_RISKS = ("mx", "Sx", "out_rate", "move_rate", "move_repeat")


class _Source:
    """The rates of each year as plain arrays."""

    def __init__(self, rates: xr.Dataset, shape: tuple[int, ...]) -> None:
        self.rates = rates
        self.shape = shape
        self._still: dict[str, Array] = {}

    def changes(self, *names: str) -> bool:
        return any(name in self.rates and "year" in self.rates[name].dims for name in names)

    def array(self, name: str, i: int, dims: tuple[str, ...], default: float = 0.0) -> Array:
        """Values of one year on the given dims, contiguous; what is not there is the default."""
        if name in self._still:
            return self._still[name]
        sizes = dict(zip(CELL, self.shape, strict=True))
        if name not in self.rates:
            values = np.full([sizes[d] for d in dims], default)
        else:
            array = self.rates[name]
            if "year" in array.dims:
                array = array.isel(year=i)
            wanted = [d for d in dims if d not in array.dims]
            array = array.expand_dims({d: sizes[d] for d in wanted}).transpose(*dims)
            values = np.ascontiguousarray(array.to_numpy(), dtype=np.float64)
        if not self.changes(name):
            self._still[name] = values
        return values

    def cell(self, name: str, i: int, default: float = 0.0) -> Array:
        return self.array(name, i, CELL, default)


def _shares(source: _Source, i: int, convention: Convention) -> Shares:
    if convention.survival_ratios:
        return conventions.shares_from_survival(source.cell("Sx", i, 1.0))
    return conventions.shares_from_rates(
        conventions.Rates(
            source.cell("mx", i),
            source.cell("out_rate", i),
            source.cell("move_rate", i),
            source.cell("move_repeat", i, 1.0),
        )
    )


def _fertility(source: _Source, i: int, convention: Convention) -> Fertility:
    rate = source.array("asfr", i, ("age", "district"))
    ages = np.flatnonzero(rate.any(axis=1))
    youngest, oldest = (int(ages[0]), int(ages[-1]) + 1) if ages.size else (0, 0)
    srb = source.array("srb", i, ("district",), default=1.05)
    male = 1 / (1 + np.divide(1, srb, out=np.full_like(srb, np.inf), where=srb > 0))
    start, end = conventions.fertility_weights(rate)
    return Fertility(start, end, male, youngest, oldest, before_net=not convention.net_bears)


def _destinations(source: _Source, i: int) -> Destinations:
    rates = source.rates
    share = rates["destination_share"]
    if "year" in share.dims:
        share = share.isel(year=i)
    groups = rates["move_group_of"].transpose("sex", "age").to_numpy()
    runs = []
    for s, row in enumerate(groups):
        edges = [1, *(np.flatnonzero(np.diff(row[1:])) + 2), row.size]
        runs += [(s, int(a), int(b), int(row[a])) for a, b in pairwise(edges)]
    values = np.ascontiguousarray(share.to_numpy(), dtype=np.float64)
    return Destinations(values, tuple(runs), tuple(int(g) for g in groups[:, 0]))


def _scaled(people: Array, totals: Array) -> Array:
    """What districts gain or lose when each sex and age is scaled to its total.

    A sex and age at which nobody lives stays empty: there is nobody to scale.
    """
    there = people.sum(axis=2)
    factor = np.divide(totals, there, out=np.ones_like(there), where=there > 0)
    return np.asarray(people * (factor - 1)[:, :, None])


def _aged(people: Array) -> Array:
    """The same people one row on, the last two together."""
    older = np.zeros_like(people)
    older[:, 1:] = people[:, :-1]
    older[:, -1] += people[:, -1]
    return older


def _foreign(convention: Convention) -> tuple[str, ...]:
    """Rates that a convention would pass over without a word."""
    if convention.survival_ratios:
        return ("mx", "out_rate", "move_rate", "move_repeat", "in_count", "destination_share")
    return ("Sx",)


def _check(jump_off: xr.DataArray, rates: xr.Dataset) -> None:
    """Refuse what the kernel could not see: labels that differ, holes, numbers out of range."""
    schema.check(jump_off.to_dataset(name="jump_off"), where="jump_off")
    schema.check(rates, where="rates")
    faults = []
    name = rates.attrs.get("convention")
    if name not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        faults.append(
            schema.Fault(
                "rates",
                f"attribute 'convention' must be one of {known}, and is {name!r}",
                "Set it to the convention the rates were estimated in.",
            )
        )
    elif foreign := [n for n in _foreign(CONVENTIONS[name]) if n in rates]:
        faults.append(
            schema.Fault(
                "rates",
                f"the convention {name} has no use for {', '.join(foreign)}",
                "Use popproj.scenarios.in_convention to say the rates in another convention.",
            )
        )
    elif CONVENTIONS[name].survival_ratios and "Sx" not in rates:
        faults.append(
            schema.Fault("rates", f"the convention {name} needs Sx, and it is not there", "Add Sx.")
        )
    for coordinate in ("time", "count_date"):
        if coordinate not in jump_off.coords:
            faults.append(
                schema.Fault(
                    "jump_off",
                    f"scalar coordinate {coordinate!r} is needed, and is not there",
                    "Take it from a register with .isel(time=…).",
                )
            )
    if "year" not in rates.coords:
        faults.append(
            schema.Fault("rates", "coordinate 'year' is needed", "Use future_rates to make it.")
        )
    for dim in CELL:
        for other in (dim, "origin") if dim == "district" else (dim,):
            if other in rates.dims and not np.array_equal(
                rates[other].to_numpy(), jump_off[dim].to_numpy()
            ):
                ours, theirs = jump_off.indexes[dim], rates.indexes[other]
                strange = [*ours.difference(theirs), *theirs.difference(ours)]
                faults.append(
                    schema.Fault(
                        "rates",
                        f"{other} must be that of jump_off, in its order",
                        "Reindex the rates by jump_off's labels.",
                        broken=len(strange),
                        total=len(ours),
                        first=str(strange[0]) if strange else "the order",
                        unit="labels",
                    )
                )
    arrays = {"jump_off": jump_off, **rates.data_vars}
    signed = {"net_count", "net_rate", "adjustment"}
    for key, array in arrays.items():
        if key not in schema.VARIABLES or array.dtype.kind not in "fiu":
            continue
        values = array.to_numpy()
        wrong = ~np.isfinite(values) if key in signed else ~(values >= 0)
        if key == "srb":
            wrong &= ~np.isnan(values)
        if wrong.any():
            faults.append(
                schema.Fault(
                    "jump_off" if key == "jump_off" else f"rates, {key}",
                    "every cell must be a number" + ("" if key in signed else ", 0 or more"),
                    "Fill or drop it before projecting.",
                    broken=int(wrong.sum()),
                    total=wrong.size,
                    first=f"{schema.first_place(array, wrong)}: {values[wrong][0]}",
                    unit="cells",
                )
            )
    if "destination_share" in rates:
        totals = rates["destination_share"].sum("district").to_numpy()
        wrong = (np.abs(totals - 1) > 1e-9) & (totals != 0)
        if wrong.any():
            faults.append(
                schema.Fault(
                    "rates, destination_share",
                    "the shares of an origin must sum to one",
                    "Divide each row by its sum.",
                    broken=int(wrong.sum()),
                    total=wrong.size,
                    first=f"a row sums to {totals[wrong][0]:.6g}",
                )
            )
    if faults:
        raise schema.InputError(faults)

"""Numba loops over arrays already checked: one year of a population, people as numbers.

The whole of a year is in :func:`step`: people leave, those who move arrive elsewhere, women give
birth, newborns leave, arrive. Arrays are ``(sex, age, place)`` and C-contiguous, so that age and
place flatten into one long loop and ageing is an offset of one row. The kernel never asks what a
place is: a district, or a district and a nationality. Cells carry the age reached at the end of
the year; the last age is open, and takes the last two ages of the opening population.

There are three kinds of people in a year: *residents*, there at its start (or born in it);
*arrivals* from outside; *movers* from another place. Which share of each dies, leaves and moves
is decided outside, by a convention. A mover dies or leaves, but does not move a second time.

The loops carry no annotations: Numba types each by the arrays it meets, and makes one version with
moves or flows and one without, so that what is None costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Shares(NamedTuple):
    """Shares of a year's people who die, leave the city and move: ``(sex, age, place)`` each."""

    resident_deaths: Array
    resident_out: Array
    resident_moves: Array
    arrival_deaths: Array
    arrival_out: Array
    arrival_moves: Array
    mover_deaths: Array
    mover_out: Array


class Net(NamedTuple):
    """Signed migration: a count a year and a share of the residents, ``(sex, age, place)`` each."""

    people: Array
    share: Array


class Fertility(NamedTuple):
    """Births of a woman: weights for those at the start and at the end of the year.

    ``start`` and ``end`` are ``(age, place)``, ``start`` by the age at the start, ``end`` by the
    age at the end; ``male_share`` is ``(place,)``; ages outside ``[youngest, oldest)`` have none.
    ``before_net``: signed migrants join too late to be mothers this year.
    """

    start: Array
    end: Array
    male_share: Array
    youngest: int
    oldest: int
    before_net: bool


class Destinations(NamedTuple):
    """Where movers go: ``share[g]`` is ``(origin, place)`` with rows that sum to one.

    ``runs`` lists ``(sex, first age, last age + 1, g)`` for ages above 0, ``newborns`` one ``g``
    for each sex.
    """

    share: Array
    runs: tuple[tuple[int, int, int, int], ...]
    newborns: tuple[int, ...]


class Flows(NamedTuple):
    """What a year did, ``(sex, age, place)`` each: caller-owned, filled in place."""

    deaths: Array
    in_migrants: Array
    out_migrants: Array
    net_migrants: Array
    adjustment: Array


class Moves(NamedTuple):
    """Departures to and arrivals from other places, ``(sex, age, place)`` each."""

    out: Array
    arrived: Array


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, and keep the machine code where there is a place to keep it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # installed read-only, and no home to write to
        return njit(**options)(function)  # type: ignore[no-any-return]


@_compiled
def _row(array, s, lo, hi):  # type: ignore[no-untyped-def]
    """Cells ``lo`` to ``hi`` of one sex, age and place flattened."""
    n_sex, n_age, n_place = array.shape
    return array.reshape(n_sex, n_age * n_place)[s, lo:hi]


@_compiled
def _leave(start, s, lo, shares, arrivals, net, moves, flows, closing):  # type: ignore[no-untyped-def]
    """Residents and arrivals of the cells from ``lo`` on: who dies, leaves, moves."""
    hi = lo + start.size
    rd = _row(shares.resident_deaths, s, lo, hi)
    ro = _row(shares.resident_out, s, lo, hi)
    ad = _row(shares.arrival_deaths, s, lo, hi)
    ao = _row(shares.arrival_out, s, lo, hi)
    come = _row(arrivals, s, lo, hi)
    end = _row(closing, s, lo, hi)
    if moves is not None:
        rm = _row(shares.resident_moves, s, lo, hi)
        am = _row(shares.arrival_moves, s, lo, hi)
        moved = _row(moves.out, s, lo, hi)
    if net is not None:
        count = _row(net.people, s, lo, hi)
        share = _row(net.share, s, lo, hi)
    if flows is not None:
        deaths = _row(flows.deaths, s, lo, hi)
        ins = _row(flows.in_migrants, s, lo, hi)
        out = _row(flows.out_migrants, s, lo, hi)
        nets = _row(flows.net_migrants, s, lo, hi)
        cuts = _row(flows.adjustment, s, lo, hi)
    for i in range(start.size):
        n = start[i]
        c = come[i]
        die = n * rd[i] + c * ad[i]
        leave = n * ro[i] + c * ao[i]
        people = n + c - die - leave
        if moves is not None:
            move = n * rm[i] + c * am[i]
            moved[i] = move
            people -= move
        if net is not None:
            signed = count[i] + n * share[i]
            people += signed
        if moves is None:
            kept = max(people, 0.0)
            if flows is not None:
                cuts[i] = kept - people
            people = kept
        if flows is not None:
            deaths[i] = die
            ins[i] = c
            out[i] = leave
            if net is not None:
                nets[i] = signed
        end[i] = people


@_compiled
def _arrive(s, lo, hi, shares, moves, flows, closing):  # type: ignore[no-untyped-def]
    """Movers reach the cells from ``lo`` to ``hi``; cells below zero are cut there."""
    md = _row(shares.mover_deaths, s, lo, hi)
    mo = _row(shares.mover_out, s, lo, hi)
    came = _row(moves.arrived, s, lo, hi)
    end = _row(closing, s, lo, hi)
    if flows is not None:
        deaths = _row(flows.deaths, s, lo, hi)
        out = _row(flows.out_migrants, s, lo, hi)
        cuts = _row(flows.adjustment, s, lo, hi)
    for i in range(came.size):
        c = came[i]
        die = c * md[i]
        leave = c * mo[i]
        people = end[i] + c - die - leave
        kept = max(people, 0.0)
        if flows is not None:
            deaths[i] += die
            out[i] += leave
            cuts[i] = kept - people
        end[i] = kept


@_compiled
def _grown(opening, shares, arrivals, net, moves, flows, closing):  # type: ignore[no-untyped-def]
    """Everybody but the newborn: age by one row, then leave."""
    n_sex, n_age, n_place = opening.shape
    last = (n_age - 1) * n_place
    for s in range(n_sex):
        flat = opening.reshape(n_sex, n_age * n_place)[s]
        _leave(flat[: last - n_place], s, n_place, shares, arrivals, net, moves, flows, closing)
        oldest = flat[last - n_place : last] + flat[last:]
        _leave(oldest, s, last, shares, arrivals, net, moves, flows, closing)


@_compiled
def _bear(opening, closing, fertility, net, births_by_mother, births):  # type: ignore[no-untyped-def]
    """Births by mother's age and by sex; sex 0 is female."""
    births[:] = 0.0
    for x in range(fertility.youngest, fertility.oldest):
        for d in range(births.shape[1]):
            women = closing[0, x, d]
            if net is not None and fertility.before_net:
                women -= net.people[0, x, d] + net.share[0, x, d] * opening[0, x - 1, d]
            born = fertility.start[x, d] * opening[0, x, d] + fertility.end[x, d] * women
            if births_by_mother is not None:
                births_by_mother[x, d] = born
            births[0, d] += born
    for d in range(births.shape[1]):
        boys = births[0, d] * fertility.male_share[d]
        births[1, d] = boys
        births[0, d] -= boys


@_compiled
def _settle(opening, shares, arrivals, net, fertility, births, by_mother, moves, flows, closing):  # type: ignore[no-untyped-def]
    """Movers arrive, women bear, and those born this year live up to its end."""
    n_sex, n_age, n_place = opening.shape
    if moves is not None:
        for s in range(n_sex):
            _arrive(s, n_place, n_age * n_place, shares, moves, flows, closing)
    _bear(opening, closing, fertility, net, by_mother, births)
    for s in range(n_sex):
        _leave(births[s], s, 0, shares, arrivals, net, moves, flows, closing)


@_compiled
def _stay(opening, shares, arrivals, net, fertility, births, by_mother, flows, closing):  # type: ignore[no-untyped-def]
    """A whole year in which nobody moves between places."""
    _grown(opening, shares, arrivals, net, None, flows, closing)
    _settle(opening, shares, arrivals, net, fertility, births, by_mother, None, flows, closing)


def step(
    opening: Array,
    shares: Shares,
    arrivals: Array,
    net: Net | None,
    fertility: Fertility,
    destinations: Destinations | None,
    births: Array,
    births_by_mother: Array | None,
    moves: Moves | None,
    flows: Flows | None,
    closing: Array,
) -> None:
    """Advance a population by one year, writing into the arrays given.

    Parameters
    ----------
    opening
        People at the start of the year, ``(sex, age, place)`` [people].
    shares
        Shares of residents, arrivals and movers who die, leave and move [1].
    arrivals
        People coming from outside, by the age reached, ``(sex, age, place)`` [people].
    net
        Signed migration, or None.
    fertility
        Weights from women to births.
    destinations, moves
        Where movers go, and the arrays for them; both None without moves between places.
    births
        Filled with births, ``(sex, place)`` [people].
    births_by_mother
        Filled with births by mother's age, ``(age, place)`` [people], or None. Ages outside the
        fertile ones are left as they are: give zeros.
    flows
        Filled with what the year did, or None where only stocks are wanted. Without signed
        migration ``net_migrants`` is left as it is: give zeros.
    closing
        Filled with people at the end of the year, ``(sex, age, place)`` [people]. May not be
        ``opening``.
    """
    if moves is None or destinations is None:
        _stay(opening, shares, arrivals, net, fertility, births, births_by_mother, flows, closing)
        return
    _grown(opening, shares, arrivals, net, moves, flows, closing)
    for s, a, b, g in destinations.runs:
        np.matmul(moves.out[s, a:b], destinations.share[g], out=moves.arrived[s, a:b])
    _settle(
        opening, shares, arrivals, net, fertility, births, births_by_mother, moves, flows, closing
    )
    for s, g in enumerate(destinations.newborns):
        np.matmul(moves.out[s, :1], destinations.share[g], out=moves.arrived[s, :1])
        _arrive(s, 0, opening.shape[2], shares, moves, flows, closing)

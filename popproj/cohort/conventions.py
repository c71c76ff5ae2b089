r"""Named pairs of functions, inverse to each other: rates → shares of people, events → rates.

A convention says how central rates and counts act within a year; the kernel knows only shares.
All arrays are ``(sex, age, place)`` with the age **reached at the end of the year**; residents of
age 0 are the births of the year.

``popproj`` (default)
    Central rates and events spread evenly over the year. Residents are exposed for a whole year
    (newborns for half of one), whoever arrives or departs in it for half (newborns: a third, the
    mean rest of a year when birth and event both fall evenly into it). With
    :math:`N` residents, :math:`I` arrivals from outside, :math:`M^+` movers coming in, :math:`h`
    the sum of the rates and :math:`s, r` the exposures named above,

    .. math::

        E_1 = \frac{sN + rI}{1 + r(m + o + kv)}, \qquad E_2 = \frac{rM^+}{1 + r(m + o)},

    deaths are :math:`m(E_1 + E_2)`, departures :math:`o(E_1 + E_2)`, moves :math:`kvE_1`, where
    :math:`m` is the death rate, :math:`o` the out-migration rate, :math:`v` the rate of moving
    and :math:`k = (E_1 + E_2)/E_1` the factor (``move_repeat``) that makes up for movers not
    moving a second time. Then :math:`E_1 + E_2` is, above age 0, the mean of the cohort at the
    start and at the end of the year: the usual exposure. Births are the fertility rate times the
    mean of the women at that age at the start and at the end of the year.
``un_end``, ``un_even``
    Survival ratios and signed net migrants, as in the single-year projections of the United
    Nations: survival acts on those there at the start; births come from the mean of women at the
    start and at the end of the year; net migrants join at the end, too late to bear
    (``un_end``), or half at the start and half at the end (``un_even``).

References
----------
Preston, S. H., Heuveline, P., Guillot, M. (2001). *Demography: Measuring and Modeling Population
Processes*. Blackwell, ch. 1-2, 6.
United Nations, Department of Economic and Social Affairs (2022). *World Population Prospects 2022:
Methodology of the United Nations population estimates and projections*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from popproj.cohort.kernel import Shares

Array = NDArray[np.float64]


class Rates(NamedTuple):
    """Central rates of a year, ``(sex, age, place)`` each [1/person-year]."""

    death: Array
    out: Array
    move: Array
    move_repeat: Array


class Events(NamedTuple):
    """A year's people and what they did, ``(sex, age, place)`` each [people].

    ``residents`` are there at the start (age 0: born in the year), ``arrivals`` come from
    outside, ``movers`` from other places, ``moves`` go to other places.
    """

    residents: Array
    arrivals: Array
    movers: Array
    deaths: Array
    out: Array
    moves: Array


class Exposure(NamedTuple):
    """Person-years of everybody, and of those who may still move (all but movers)."""

    everybody: Array
    may_move: Array


@dataclass(frozen=True)
class Convention:
    """How a named convention treats signed migrants; the formulas are the module's functions.

    Parameters
    ----------
    name
        As written in ``city.toml``.
    survival_ratios
        Survival ratios act on residents alone; False: central rates act on everybody.
    net_at_start
        Share of the signed net migrants who are there from the start of the year.
    net_bears
        Whether those who join at the end count among the mothers of the year.
    """

    name: str
    survival_ratios: bool
    net_at_start: float
    net_bears: bool


CONVENTIONS = {
    c.name: c
    for c in (
        Convention("popproj", survival_ratios=False, net_at_start=0.0, net_bears=True),
        Convention("un_end", survival_ratios=True, net_at_start=0.0, net_bears=False),
        Convention("un_even", survival_ratios=True, net_at_start=0.5, net_bears=True),
    )
}


def person_years(n_age: int) -> tuple[Array, Array]:
    """Years lived in the year by a resident and by one who arrives or departs, ``(age, 1)`` each.

    Examples
    --------
    >>> whole, part = person_years(3)
    >>> whole[:, 0]
    array([0.5, 1. , 1. ])
    >>> part[:, 0]
    array([0.333, 0.5  , 0.5  ])
    """
    whole, part = np.ones((n_age, 1)), np.full((n_age, 1), 0.5)
    whole[0], part[0] = 1 / 2, 1 / 3
    return whole, part


def shares_from_rates(rates: Rates) -> Shares:
    """Shares of a year's people who die, leave and move, from central rates (``popproj``).

    Examples
    --------
    >>> one = np.ones((1, 2, 1))
    >>> shares = shares_from_rates(Rates(0.02 * one, 0.05 * one, 0 * one, one))
    >>> float(shares.resident_deaths[0, 1, 0] * (1 + 0.07 / 2))
    0.02
    """
    whole, part = person_years(rates.death.shape[1])
    move = rates.move * rates.move_repeat
    stay = 1 / (1 + part * (rates.death + rates.out + move))
    resident, arrival = whole * stay, part * stay
    mover = part / (1 + part * (rates.death + rates.out))
    return Shares(
        resident_deaths=rates.death * resident,
        resident_out=rates.out * resident,
        resident_moves=move * resident,
        arrival_deaths=rates.death * arrival,
        arrival_out=rates.out * arrival,
        arrival_moves=move * arrival,
        mover_deaths=rates.death * mover,
        mover_out=rates.out * mover,
    )


def exposure_from_events(events: Events) -> Exposure:
    """Person-years lived in a year (``popproj``) [person-years].

    Negative or zero where more people depart than the convention can expose: movers who move on
    from cells with hardly a resident.
    """
    whole, part = person_years(events.residents.shape[1])
    everybody = whole * events.residents + part * (
        events.arrivals + events.movers - events.deaths - events.out - events.moves
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        exits = np.where(everybody > 0, (events.deaths + events.out) / everybody, 0.0)
    may_move = everybody - part * events.movers / (1 + part * exits)
    return Exposure(everybody, may_move)


def rates_from_events(events: Events) -> tuple[Rates, Exposure]:
    """Central rates that give back a year's events (``popproj``): the inverse of the shares.

    Returns
    -------
    rates
        NaN where there are events and no exposure; 0 where there are neither.
    exposure
        Person-years behind them.
    """
    exposure = exposure_from_events(events)
    return Rates(
        death=ratio(events.deaths, exposure.everybody),
        out=ratio(events.out, exposure.everybody),
        move=np.where(
            (events.moves > 0) & (exposure.may_move <= 0),
            np.nan,
            ratio(events.moves, exposure.everybody),
        ),
        move_repeat=repeat_factor(exposure),
    ), exposure


def repeat_factor(exposure: Exposure) -> Array:
    """Person-years of everybody over those of people who may move; 1 where there are none."""
    possible = (exposure.may_move > 0) & (exposure.everybody > 0)
    return np.divide(
        exposure.everybody, exposure.may_move, out=np.ones_like(exposure.everybody), where=possible
    )


def ratio(events: Array, exposure: Array) -> Array:
    """Events over exposure; NaN for events without exposure, 0 where there are neither.

    Examples
    --------
    >>> ratio(np.array([2.0, 1.0, 0.0]), np.array([100.0, 0.0, 0.0]))
    array([0.02,  nan, 0.  ])
    """
    missing = np.where(events == 0, 0.0, np.nan)
    return np.divide(events, exposure, out=missing, where=exposure > 0)


def shares_from_survival(survival: Array) -> Shares:
    """Shares of a year's people who die, from survival ratios (``un_end``, ``un_even``)."""
    nobody = np.zeros_like(survival)
    return Shares(1 - survival, *(nobody,) * 7)


def survival_from_events(events: Events) -> Array:
    """Survival ratios that give back a year's deaths: the inverse of the shares."""
    return 1 - ratio(events.deaths, events.residents)


def rate_from_survival(survival: Array) -> Array:
    r"""Central death rates by the age reached with the same closed-population survivors.

    Solves :math:`1 - S = sm/(1 + rm)`.

    Parameters
    ----------
    survival
        Survival ratios by the age reached, age on axis -2 [1].

    Examples
    --------
    >>> m = rate_from_survival(np.full((2, 1), 0.98))
    >>> shares = shares_from_rates(Rates(m[None], *(0 * m[None],) * 2, 1 + 0 * m[None]))
    >>> 1 - shares.resident_deaths[0, :, 0]
    array([0.98, 0.98])
    """
    whole, part = person_years(survival.shape[-2])
    return np.asarray((1 - survival) / (whole - part * (1 - survival)))


def survival_from_rate(rate: Array) -> Array:
    """Closed-population survival ratios by the age reached: inverse of ``rate_from_survival``."""
    whole, part = person_years(rate.shape[-2])
    return np.asarray(1 - whole * rate / (1 + part * rate))


def women_years(opening: Array, closing: Array) -> Array:
    """Person-years of women by age at the birth: the mean of those at the start and the end.

    Parameters
    ----------
    opening, closing
        Women by completed age at the start and at the end of the year, ``(age, place)`` [people].
    """
    return (opening + closing) / 2


def fertility_weights(rate: Array) -> tuple[Array, Array]:
    """Births of a woman there at the start and there at the end: the inverse of `women_years`."""
    return rate / 2, rate / 2

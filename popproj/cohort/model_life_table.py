r"""Mortality where no life table is given: a model of one parameter, fitted to the stocks.

The force of mortality is that of a low-mortality population: deaths of infancy that fade, a small
constant, and Gompertz' law in terms of the modal age at death `M`, levelling off at the oldest
ages as Kannisto's does:

.. math::

    \mu(x) = a_1 e^{-b_1 x} + a_2 + \frac{g(x)}{1 + g(x)}, \qquad g(x) = \beta e^{\beta (x - M)}

Only `M` is fitted: so many years earlier or later for both sexes that the deaths at old ages, where
hardly anybody moves, are those that cohorts lost between two stocks. Below those ages mortality
hardly matters for a projection, as what survival does not explain is called migration there.

References
----------
Siler, W. (1979). A competing-risk model for animal mortality. *Ecology* 60(4), 750-757.
Missov, T. I., Lenart, A., Nemeth, L., Canudas-Romo, V., Vaupel, J. W. (2015). The Gompertz force of
mortality in terms of the modal age at death. *Demographic Research* 32(36), 1031-1048.
Thatcher, A. R., Kannisto, V., Vaupel, J. W. (1998). *The Force of Mortality at Ages 80 to 120*.
Odense University Press.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MODE = (91.5, 86.0)
"""Modal ages at death of women and men before the fit [years]: Japan in the mid-2010s."""
SLOPE = (0.115, 0.100)
"""Rise of the force of mortality with age, women and men [1/year]."""
INFANCY = (0.0035, 1.5)
"""Level and decay of the deaths of infancy [1/person-year, 1/year]: some 2 in 1,000 births."""
CONSTANT = 0.0002
"""Deaths that do not depend on age [1/person-year]."""

_SHIFT = (-30.0, 20.0)


def yearly_hazards(shift: float, open_age: int) -> Array:
    """Cumulated force of mortality over a year by the age reached, ``(sex, age)``.

    Parameters
    ----------
    shift
        Years by which people die later than in the standard.
    open_age
        The last age, open; it takes the hazard of two years above its lower bound.

    Returns
    -------
    ndarray
        ``(2, open_age + 1)`` [1]: women and men; survivors are ``exp(-hazard)``. Age 0 is the half
        year that a child born in the year lives in it on average.

    Examples
    --------
    >>> yearly_hazards(0.0, 100)[:, [0, 40, 80]].round(4)
    array([[0.0013, 0.0005, 0.0299],
           [0.0013, 0.0012, 0.0522]])
    """
    age = np.arange(open_age + 1.0)
    age[-1] += 2
    mode, slope = (np.asarray(v)[:, None] for v in (MODE, SLOPE))
    rising = slope * np.exp(slope * (age - mode - shift))
    level, decay = INFANCY
    # residents are half a year older than their age at the start of the year, as at its end
    infancy = level / decay * (np.exp(-decay * (age - 0.5)) - np.exp(-decay * (age + 0.5)))
    hazard = infancy + CONSTANT + rising / (1 + rising)
    hazard[:, 0] = level / decay * (1 - np.exp(-decay / 2)) + CONSTANT / 2
    return np.asarray(hazard)


def fitted_shift(people: Array, survived: Array, oldest: NDArray[np.bool_], years: int) -> float:
    """Years by which people die later than in the standard, from what old cohorts lost.

    Parameters
    ----------
    people
        People at the start by sex and single age ``(2, age)``.
    survived
        Share of the people of each age who were still there after some years, ``(2, age)``.
    oldest
        Ages at the start that are compared ``(age,)``.
    years
        How many years.

    Returns
    -------
    float
        Shift [years] at which the model loses as many people of these ages as were lost.

    Examples
    --------
    >>> people = np.ones((2, 101))
    >>> lived = np.exp(-cohort_hazards(np.stack([yearly_hazards(-3.0, 100)] * 5)))
    >>> fitted_shift(people, lived, np.arange(101) >= 60, 5)
    -3.0
    """
    there = np.where(oldest, people, 0.0)
    wanted = float((there * survived).sum())
    low, high = _SHIFT
    for _ in range(40):
        middle = (low + high) / 2
        yearly = yearly_hazards(middle, people.shape[1] - 1)
        hazard = cohort_hazards(np.stack([yearly] * years))
        low, high = (
            (middle, high) if float((there * np.exp(-hazard)).sum()) < wanted else (low, middle)
        )
    return round((low + high) / 2, 9)


def cohort_hazards(yearly: Array) -> Array:
    """Hazard over some years of those of each age at the start, ``(sex, age)``.

    Parameters
    ----------
    yearly
        Hazards of each of the years by the age reached ``(year, sex, age)``, the last one open.

    Examples
    --------
    >>> cohort_hazards(np.array([[[0.0, 1, 2, 3]], [[0.0, 10, 20, 30]]]))
    array([[21., 32., 33., 33.]])
    """
    last = yearly.shape[2] - 1
    start = np.arange(last + 1)
    reached = (np.minimum(start + 1 + year, last) for year in range(len(yearly)))
    return np.asarray(sum(one[:, at] for one, at in zip(yearly, reached, strict=True)))


def scaled_to(hazard: Array, people: Array, share: Array) -> Array:
    r"""Factor on hazards with which a given share of some people survives.

    Solves :math:`\sum_a N_a e^{-\varphi H_a} = s \sum_a N_a` for :math:`\varphi \ge 0`.

    Parameters
    ----------
    hazard, people
        Hazards and people in each group ``(group, cell)``; cells without people do not count.
    share
        Share of each group's people who survive ``(group,)``, above 0.

    Returns
    -------
    ndarray
        Factor of each group ``(group,)``; 1 for one without people.

    Examples
    --------
    >>> scaled_to(np.array([[0.1, 0.3]]), np.array([[50.0, 50.0]]), np.array([0.8]))
    array([1.1486])
    """
    total = people.sum(axis=1)
    wanted = np.minimum(share, 1.0) * total
    factor = np.zeros(len(total))
    for _ in range(100):  # convex and falling: Newton's method climbs from 0 and never passes
        left = people * np.exp(-factor[:, None] * hazard)
        slope = (left * hazard).sum(axis=1)
        over = left.sum(axis=1) - wanted
        step = np.divide(over, slope, out=np.zeros_like(slope), where=slope > 0)
        factor = np.maximum(factor + step, 0.0)
        if np.all(np.abs(step) <= 1e-12 * factor):
            break
    return np.where(total > 0, factor, 1.0)

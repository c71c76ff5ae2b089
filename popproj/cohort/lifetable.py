r"""Life tables: one column into the next, on whole arrays of tables at once.

The conversions are named by what goes in and what comes out, and give back the shape they were
given. They take arrays with age along ``axis`` (default: the last) and any other dims before or
behind it, so that a thousand tables cost one call. Ages are single years from 0 unless ``width``
(years in each age, one number or one an age) says otherwise; the last one is open. Rates are
central death rates by age (age-period), *not* by the age reached. ``NaN`` stays ``NaN``.

====== ===================================================================== ==============
``mx`` central death rate                                                    1/person-year
``ax`` mean years lived within the age by those who die in it                years
``qx`` probability of dying before the end of the age                        1
``lx`` survivors at the exact age                                            people
``dx`` deaths within the age                                                 people
``Lx`` person-years lived within the age                                     person-years
``Tx`` person-years lived at the age and above                               person-years
``ex`` expectation of life                                                   years
``Sx`` survival ratio, labelled by the age **reached**                       1
====== ===================================================================== ==============

References
----------
Preston, S. H., Heuveline, P., Guillot, M. (2001). *Demography: Measuring and Modeling Population
Processes*. Blackwell, ch. 3.
Andreev, E. M., Kingkade, W. W. (2015). Average age at death in infancy and infant mortality
level: Reconsidering the Coale-Demeny formulas at current levels of low mortality. *Demographic
Research* 33(13), 363-390.
Wilmoth, J. R., Andreev, K., Jdanov, D., Glei, D. A., Riffe, T. (2021). *Methods Protocol for the
Human Mortality Database*, version 6.
Thatcher, A. R., Kannisto, V., Vaupel, J. W. (1998). *The Force of Mortality at Ages 80 to 120*.
Odense University Press.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Table = TypeVar("Table", Array, xr.DataArray)

RADIX = 100_000.0
"""Births a life table starts with, where nothing else is said."""

_LAST_AGE = 130
"""Age up to which extended tables are lived through before they are closed."""

# a0 is piecewise linear in m0: (from this m0, intercept, slope)
_ANDREEV_KINGKADE = {
    "female": ((0.0, 0.14903, -2.05527), (0.01724, 0.04667, 3.88089), (0.06891, 0.31411, 0.0)),
    "male": ((0.0, 0.14929, -1.99545), (0.02300, 0.02832, 3.26021), (0.08307, 0.29915, 0.0)),
}

_COLUMNS = {
    "mx": ("1/person-year", "central death rate"),
    "ax": ("years", "years lived within the age by those who die in it"),
    "qx": ("1", "probability of dying within the age"),
    "lx": ("people", "survivors at the exact age"),
    "dx": ("people", "deaths within the age"),
    "Lx": ("person-years", "person-years lived within the age"),
    "Tx": ("person-years", "person-years lived at the age and above"),
    "ex": ("years", "expectation of life"),
    "Sx": ("1", "survival ratio, labelled by the age reached"),
}


def _age_last(array: ArrayLike, axis: int, name: str = "") -> Array:
    """Age as the last axis, float64, refused where negative."""
    moved = np.moveaxis(np.asarray(array, dtype=np.float64), axis, -1)
    if name and bool((moved < 0).any()):
        raise ValueError(f"{name} must not be negative, and is {np.nanmin(moved):g} somewhere")
    return moved


def _widths(width: ArrayLike, ages: int) -> Array:
    """Width of each age; that of the open one is never used, and set to 1."""
    widths = np.array(np.broadcast_to(np.asarray(width, dtype=np.float64), (ages,)))
    widths[-1] = 1.0
    return widths


def m0_to_a0(m0: ArrayLike, sex: str) -> Array:
    """Years lived in the first year of life by infants who die in it, by Andreev and Kingkade.

    Parameters
    ----------
    m0
        Central death rate at age 0 [1/person-year].
    sex
        ``"female"``, ``"male"``, or ``"total"`` for the mean of both.

    Returns
    -------
    ndarray
        a0 [years], shape of ``m0``.

    Raises
    ------
    ValueError
        Unknown sex.

    References
    ----------
    Andreev and Kingkade (2015), in the form of the Methods Protocol for the Human Mortality
    Database (2021), table 1.

    Examples
    --------
    >>> m0_to_a0([0.002, 0.05, 0.2], "male")
    array([0.1452991, 0.1913305, 0.29915  ])
    """
    if sex == "total":
        return (m0_to_a0(m0, "female") + m0_to_a0(m0, "male")) / 2
    if sex not in _ANDREEV_KINGKADE:
        raise ValueError(f"sex must be 'female', 'male' or 'total', and is {sex!r}")
    m0 = np.asarray(m0, dtype=np.float64)
    starts, intercepts, slopes = np.array(_ANDREEV_KINGKADE[sex]).T
    piece = np.searchsorted(starts, m0, side="right") - 1
    return np.asarray(intercepts[piece] + slopes[piece] * m0)


def mx_to_ax(mx: ArrayLike, sex: str, *, axis: int = -1) -> Array:
    r"""Mean years lived within each age by those who die in it, from rates by single age.

    Age 0 by :func:`m0_to_a0`, the open age :math:`1/m_\omega`, one half elsewhere.

    Parameters
    ----------
    mx
        Central death rates by single age, the last one open [1/person-year].
    sex
        ``"female"``, ``"male"`` or ``"total"``.
    axis
        Where age is.

    Returns
    -------
    ndarray
        ax [years], shape of ``mx``.

    Raises
    ------
    ValueError
        Negative rates, no deaths in the open age, unknown sex.

    Examples
    --------
    >>> mx_to_ax([0.002, 0.001, 0.4], "female")
    array([0.1449, 0.5       , 2.5       ])
    """
    m = _age_last(mx, axis, "mx")
    if bool((m[..., -1] == 0).any()):
        raise ValueError("the death rate of the open age must be positive, and is 0 somewhere")
    a = np.full_like(m, 0.5)
    a[..., 0] = m0_to_a0(m[..., 0], sex)
    a[..., -1] = 1 / m[..., -1]
    return np.moveaxis(a, -1, axis)


def mx_to_qx(mx: ArrayLike, ax: ArrayLike, *, width: ArrayLike = 1.0, axis: int = -1) -> Array:
    r"""Probability of dying within the age: :math:`q = nm / (1 + (n - a)m)`, 1 at the open age.

    Parameters
    ----------
    mx, ax
        Death rates [1/person-year] and years lived by those who die [years]; the last age is open.
    width, axis
        Years in each age (of the open one it does not matter); where age is.

    Raises
    ------
    ValueError
        Negative rates.

    Examples
    --------
    >>> mx_to_qx([0.2, 0.1, 0.4], [0.1, 0.5, 2.5])
    array([0.1695, 0.0952 , 1.        ])
    """
    m, a = _age_last(mx, axis, "mx"), _age_last(ax, axis, "ax")
    n = _widths(width, m.shape[-1])
    # rates beyond 1/a cannot be lived through: everybody dies within the age
    q = np.minimum(n * m / np.maximum(1 + (n - a) * m, np.finfo(float).tiny), 1.0)
    q[..., -1] = 1.0
    return np.moveaxis(q, -1, axis)


def qx_to_mx(qx: ArrayLike, ax: ArrayLike, *, width: ArrayLike = 1.0, axis: int = -1) -> Array:
    r"""Central death rate from the probability of dying: :math:`m = q / (n - (n - a)q)`.

    The inverse of :func:`mx_to_qx`; at the open age, where q = 1, it is 1/a.

    Parameters
    ----------
    qx, ax
        Probabilities of dying and years lived by those who die [years]; the last age is open.
    width, axis
        Years in each age; where age is.

    Raises
    ------
    ValueError
        Probabilities outside 0 to 1.

    Examples
    --------
    >>> qx_to_mx([0.0019966, 0.0009995, 1.0], [0.145, 0.5, 2.5])
    array([0.00200001, 0.001     , 0.4       ])
    """
    q, a = _age_last(qx, axis, "qx"), _age_last(ax, axis, "ax")
    if bool((q > 1).any()):
        raise ValueError(f"qx must not exceed 1, and is {np.nanmax(q):g} somewhere")
    n = _widths(width, q.shape[-1])
    return np.moveaxis(q / (n - (n - a) * q), -1, axis)


def qx_to_lx(qx: ArrayLike, *, radix: float = RADIX, axis: int = -1) -> Array:
    """Survivors at each exact age out of ``radix`` births.

    Parameters
    ----------
    qx
        Probabilities of dying.
    radix
        Births [people].
    axis
        Where age is.

    Examples
    --------
    >>> qx_to_lx([0.5, 0.2, 1.0], radix=100)
    array([100., 50., 40.])
    """
    q = _age_last(qx, axis, "qx")
    survivors = np.empty_like(q)
    survivors[..., 0] = radix
    survivors[..., 1:] = radix * np.cumprod(1 - q[..., :-1], axis=-1)
    return np.moveaxis(survivors, -1, axis)


def lx_to_dx(lx: ArrayLike, *, axis: int = -1) -> Array:
    """Deaths within each age; in the open one, all who reach it.

    Examples
    --------
    >>> lx_to_dx([100, 50, 40])
    array([50., 10., 40.])
    """
    survivors = _age_last(lx, axis)
    deaths = -np.diff(survivors, axis=-1, append=0.0)
    return np.moveaxis(deaths, -1, axis)


def lx_to_Lx(  # noqa: N802
    lx: ArrayLike, ax: ArrayLike, *, width: ArrayLike = 1.0, axis: int = -1
) -> Array:
    r"""Person-years lived within each age: :math:`L_x = n\,l_{x+n} + a_x d_x`.

    Nobody survives the open age, so that its person-years are :math:`l_\omega a_\omega`.

    Parameters
    ----------
    lx, ax
        Survivors [people] and years lived by those who die [years]; the last age is open.
    width, axis
        Years in each age; where age is.

    Examples
    --------
    >>> lx_to_Lx([100, 50, 40], [0.1, 0.5, 2.5])
    array([ 55.,  45., 100.])
    """
    survivors, a = _age_last(lx, axis), _age_last(ax, axis, "ax")
    deaths = lx_to_dx(survivors)
    lived = _widths(width, survivors.shape[-1]) * (survivors - deaths) + a * deaths
    return np.moveaxis(lived, -1, axis)


def Lx_to_Tx(Lx: ArrayLike, *, axis: int = -1) -> Array:  # noqa: N802
    """Person-years lived at each age and above.

    Examples
    --------
    >>> Lx_to_Tx([55, 45, 100])
    array([200., 145., 100.])
    """
    lived = _age_last(Lx, axis)
    return np.moveaxis(np.cumsum(lived[..., ::-1], axis=-1)[..., ::-1], -1, axis)


def Tx_to_ex(Tx: ArrayLike, lx: ArrayLike) -> Array:  # noqa: N802
    """Expectation of life at each age [years]; NaN where nobody survives to the age.

    Examples
    --------
    >>> Tx_to_ex([200, 145, 100], [100, 50, 40])
    array([2. , 2.9, 2.5])
    """
    above, survivors = np.asarray(Tx, dtype=np.float64), np.asarray(lx, dtype=np.float64)
    return np.divide(above, survivors, out=np.full_like(above, np.nan), where=survivors > 0)


def Lx_to_Sx(Lx: ArrayLike, *, radix: float = RADIX, axis: int = -1) -> Array:  # noqa: N802
    r"""Survival ratios by single age, labelled by the age reached at the end of the year.

    .. math:: S_0 = L_0/l_0, \quad S_x = L_x/L_{x-1}, \quad S_\omega = T_\omega/T_{\omega-1}

    The newborns' is the first; the last holds for the last two ages together. A population times
    its survival ratio is the survivors one year later.

    Parameters
    ----------
    Lx
        Person-years lived by single age, the last one open [person-years].
    radix
        Births of the table, :math:`l_0` [people].
    axis
        Where age is.

    References
    ----------
    United Nations, Department of Economic and Social Affairs (2022). *World Population Prospects
    2022: Methodology*. Single-year survivorship ratios.

    Examples
    --------
    >>> Lx_to_Sx([55, 45, 100], radix=100)
    array([0.55      , 0.818, 0.690])
    """
    lived = _age_last(Lx, axis)
    before = np.concatenate(
        [np.full_like(lived[..., :1], radix), lived[..., :-1]],
        axis=-1,
    )
    before[..., -1] = lived[..., -2] + lived[..., -1]
    ratio = np.divide(lived, before, out=np.zeros_like(lived), where=before != 0)
    return np.moveaxis(ratio, -1, axis)


def life_table(
    mx: xr.DataArray | ArrayLike,
    *,
    sex: str | None = None,
    ax: xr.DataArray | ArrayLike | None = None,
    radix: float = RADIX,
) -> xr.Dataset:
    """All columns of the life tables with the given death rates.

    Parameters
    ----------
    mx
        Central death rates by single age 0, 1, …, the last one open [1/person-year]: an array
        with dim ``age`` and any others, or a plain sequence over ages.
    sex
        ``"female"``, ``"male"`` or ``"total"``; not needed where ``mx`` has a coordinate ``sex``
        or ``ax`` is given.
    ax
        Years lived by those who die [years]; default: :func:`mx_to_ax`.
    radix
        Births [people].

    Returns
    -------
    Dataset
        ``mx, ax, qx, lx, dx, Lx, Tx, ex, Sx`` on the dims of ``mx``, with units.

    Raises
    ------
    ValueError
        Ages other than 0, 1, …; negative rates; no deaths in the open age; no sex to be found.

    Examples
    --------
    >>> table = life_table([0.002, 0.001, 0.4], sex="female")
    >>> table["ex"].round(3).values
    array([4.488, 3.497, 2.5  ])
    """
    if not isinstance(mx, xr.DataArray):
        rates = np.asarray(mx, dtype=np.float64)
        if rates.ndim != 1:
            raise ValueError(
                f"mx with {rates.ndim} dimensions must be a DataArray, one of whose dims is 'age'"
            )
        mx = xr.DataArray(rates, dims="age", coords={"age": np.arange(rates.size)}, name="mx")
    if "age" not in mx.dims:
        raise ValueError(f"mx must have a dim 'age', and has {tuple(mx.dims)}")
    if "age" not in mx.coords:
        mx = mx.assign_coords(age=np.arange(mx.sizes["age"]))
    if not np.array_equal(mx["age"], np.arange(mx.sizes["age"])):
        raise ValueError("the ages of mx must be 0, 1, 2, … without gaps")
    axis = mx.get_axis_num("age")
    assert isinstance(axis, int)
    if ax is None:
        a = _ax_by_sex(mx, sex)
    elif isinstance(ax, xr.DataArray):
        a = ax.broadcast_like(mx).transpose(*mx.dims).to_numpy()
    else:
        a = np.broadcast_to(np.asarray(ax, dtype=np.float64), mx.shape)
    m = mx.to_numpy().astype(np.float64)
    q = mx_to_qx(m, a, axis=axis)
    survivors = qx_to_lx(q, radix=radix, axis=axis)
    lived = lx_to_Lx(survivors, a, axis=axis)
    above = Lx_to_Tx(lived, axis=axis)
    columns = {
        "mx": m,
        "ax": a,
        "qx": q,
        "lx": survivors,
        "dx": lx_to_dx(survivors, axis=axis),
        "Lx": lived,
        "Tx": above,
        "ex": Tx_to_ex(above, survivors),
        "Sx": Lx_to_Sx(lived, radix=radix, axis=axis),
    }
    table = xr.Dataset({name: (mx.dims, values) for name, values in columns.items()}, mx.coords)
    for name, (units, meaning) in _COLUMNS.items():
        table[name].attrs = {"units": units, "long_name": meaning}
    return table


def _ax_by_sex(mx: xr.DataArray, sex: str | None) -> Array:
    """Apply each sex's own rule along the coordinate ``sex``, or the one rule that is named."""
    axis = mx.get_axis_num("age")
    assert isinstance(axis, int)
    if "sex" in mx.dims and "sex" in mx.coords:
        along = mx.get_axis_num("sex")
        assert isinstance(along, int)
        each = [
            mx_to_ax(mx.isel(sex=slice(i, i + 1)), str(label), axis=axis)
            for i, label in enumerate(mx["sex"].to_numpy())
        ]
        return np.concatenate(each, axis=along)
    if sex is None and "sex" in mx.coords:
        sex = str(mx["sex"].item())
    if sex is None:
        raise ValueError("say sex='female', 'male' or 'total', or give mx a coordinate 'sex'")
    return mx_to_ax(mx, sex, axis=axis)


def _by_age(mx: Table, axis: int) -> tuple[Array, xr.DataArray | None]:
    """Values with age last, and the labelled array they came from, if any."""
    if isinstance(mx, xr.DataArray):
        labelled = mx.transpose(..., "age")
        return _age_last(labelled.to_numpy(), -1, "mx"), labelled
    return _age_last(mx, axis, "mx"), None


def _like(values: Array, labelled: xr.DataArray | None, original: Any, axis: int) -> Any:
    """Put values with age last back into the form they came in, with ages 0, 1, ….

    The inverse of :func:`_by_age`, for another number of ages.
    """
    if labelled is None:
        return np.moveaxis(values, -1, axis)
    coords = {name: c for name, c in labelled.coords.items() if "age" not in c.dims}
    result = xr.DataArray(
        values,
        dims=labelled.dims,
        coords={**coords, "age": np.arange(values.shape[-1])},
        name=labelled.name,
        attrs=labelled.attrs,
    )
    return result.transpose(*original.dims)


def kannisto(
    mx: ArrayLike, ages: ArrayLike, exposure: ArrayLike, at: ArrayLike, *, axis: int = -1
) -> Array:
    r"""Fit Kannisto's logistic law to old-age death rates and evaluate it at other ages.

    .. math:: m_x = \frac{\alpha e^{\beta x}}{1 + \alpha e^{\beta x}}, \qquad \beta \ge 0

    by maximum likelihood, deaths being Poisson with mean exposure times rate (iteratively
    re-weighted least squares). The law rises as Gompertz' and levels off towards 1.

    Parameters
    ----------
    mx
        Death rates at ``ages`` [1/person-year].
    ages
        The ages they belong to [years].
    exposure
        Person-years each rate rests on; only their proportions matter for the result.
    at
        Ages to evaluate at [years].
    axis
        Where age is.

    Returns
    -------
    ndarray
        Rates at ``at`` [1/person-year]; age is where it was.

    Raises
    ------
    ValueError
        Fewer than two ages, or no deaths at all in some table.

    References
    ----------
    Thatcher, Kannisto and Vaupel (1998); Methods Protocol for the Human Mortality Database
    (2021), section 7.2.

    Examples
    --------
    >>> x = np.arange(80, 96)
    >>> law = 1 / (1 + np.exp(10 - 0.1 * x))
    >>> kannisto(law, x, np.ones(16), [100, 110])
    array([0.5       , 0.7311])
    """
    m, w = _age_last(mx, axis, "mx"), _age_last(exposure, axis, "exposure")
    x = np.asarray(ages, dtype=np.float64)
    if x.size < 2:
        raise ValueError(f"Kannisto's law needs rates at two ages or more, and has {x.size}")
    if bool((np.sum(w * m, axis=-1) == 0).any()):
        raise ValueError(
            f"Kannisto's law cannot be fitted: no deaths at ages {x[0]:g} to {x[-1]:g}"
        )
    w = np.broadcast_to(w, m.shape)
    centre = x.mean()
    z = (x - centre) / 10  # keeps both parameters of the same size
    clipped = np.clip(m, 1e-6, 1 - 1e-6)
    level, slope = _weighted_line(z, np.log(clipped / (1 - clipped)), w * clipped)
    for _ in range(100):
        mu = 1 / (1 + np.exp(-(level[..., None] + slope[..., None] * z)))
        # the score and expected information of Poisson deaths under the logistic link
        weight = w * mu * (1 - mu) ** 2
        step = _weighted_line(z, (m - mu) / (mu * (1 - mu)), weight)
        change = [np.clip(s, -1.0, 1.0) for s in step]
        # a law that falls with age is not one: stay at the best flat one
        flat = slope + change[1] < 0
        pooled = np.sum(weight * ((m - mu) / (mu * (1 - mu)) + slope[..., None] * z), axis=-1)
        pooled = np.clip(pooled / np.sum(weight, axis=-1), -1.0, 1.0)
        level = level + np.where(flat, pooled, change[0])
        new = np.where(flat, 0.0, slope + change[1])
        moved = max(
            float(np.nanmax(np.abs(np.where(flat, pooled, change[0])))),
            float(np.nanmax(np.abs(new - slope))),
        )
        slope = new
        if moved < 1e-12:
            break
    out = (np.asarray(at, dtype=np.float64) - centre) / 10
    rates = 1 / (1 + np.exp(-(level[..., None] + slope[..., None] * out)))
    return np.moveaxis(rates, -1, axis)


def _weighted_line(x: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Level and slope of the weighted least-squares line of ``y`` over ``x``."""
    total = np.sum(weight, axis=-1)
    mean_x = np.sum(weight * x, axis=-1) / total
    mean_y = np.sum(weight * y, axis=-1) / total
    dx = x - mean_x[..., None]
    slope = np.sum(weight * dx * (y - mean_y[..., None]), axis=-1) / np.sum(weight * dx**2, axis=-1)
    return mean_y - slope * mean_x, slope


def extend(
    mx: Table,
    open_age: int = 100,
    *,
    fit_ages: tuple[int, int] = (80, 95),
    first: int | None = None,
    last_is_open: bool = False,
    axis: int = -1,
) -> Table:
    """Extend death rates to old ages by Kannisto's law, and close them at an open age.

    Rates are fitted on ``fit_ages``, weighted by the table's own survivors, and used from
    ``first`` on; the table is lived through to age 130 and the open age gets the rate of
    everybody in it, deaths over person-years.

    Parameters
    ----------
    mx
        Central death rates by single age 0, 1, … [1/person-year]: a DataArray with dim ``age``,
        or an array with age along ``axis``.
    open_age
        The open age of the result.
    fit_ages
        First and last age to fit on; those beyond the given ages are left out.
    first
        First age that takes the law's rates; default: the first that is not given.
    last_is_open
        Whether the last given rate is of an open age, and so of no use.
    axis
        Where age is, if ``mx`` is a plain array.

    Returns
    -------
    DataArray or ndarray
        Rates at ages 0 to ``open_age``, the last one open, in the form of ``mx``.

    Raises
    ------
    ValueError
        Too few ages to fit on, no deaths there, negative rates.

    References
    ----------
    Thatcher, Kannisto and Vaupel (1998); Methods Protocol for the Human Mortality Database
    (2021), section 7.2.

    Examples
    --------
    >>> ages = np.arange(100)
    >>> law = 1 / (1 + np.exp(10 - 0.1 * ages))
    >>> extend(law).shape
    (101,)
    >>> extend(law)[99:].round(3)
    array([0.475, 0.531])
    """
    m, labelled = _by_age(mx, axis)
    if last_is_open:
        m = m[..., :-1]
    given = m.shape[-1]
    first = given if first is None else min(first, given)
    if open_age > _LAST_AGE:
        raise ValueError(f"open_age must not exceed {_LAST_AGE}, and is {open_age}")
    low, high = fit_ages[0], min(fit_ages[1], given - 1)
    ages = np.arange(low, high + 1)
    survivors = qx_to_lx(mx_to_qx(m, np.full_like(m, 0.5)), radix=1.0)[..., low : high + 1]
    old = kannisto(m[..., low : high + 1], ages, survivors, np.arange(first, _LAST_AGE + 1))
    whole = np.concatenate([m[..., :first], old], axis=-1)
    return _like(_closed(whole, open_age), labelled, mx, axis)  # type: ignore[no-any-return]


def close(mx: Table, open_age: int, *, axis: int = -1) -> Table:
    r"""Put all ages from ``open_age`` on into one open age: :math:`m = l_\omega / T_\omega`.

    Parameters
    ----------
    mx
        Central death rates by single age, the last one open [1/person-year].
    open_age
        The open age of the result, among the given ages.
    axis
        Where age is, if ``mx`` is a plain array.

    Returns
    -------
    DataArray or ndarray
        Rates at ages 0 to ``open_age``, in the form of ``mx``. The expectation of life at every
        age is kept.

    Raises
    ------
    ValueError
        ``open_age`` beyond the given ages; no deaths in the last one.

    Examples
    --------
    >>> close(np.array([0.1, 0.2, 0.25, 0.5]), 2)
    array([0.1       , 0.2       , 0.409])
    """
    m, labelled = _by_age(mx, axis)
    if open_age > m.shape[-1] - 1:
        raise ValueError(
            f"open_age must be one of the ages 0 to {m.shape[-1] - 1}, and is {open_age}"
        )
    return _like(_closed(m, open_age), labelled, mx, axis)  # type: ignore[no-any-return]


def _closed(m: Array, open_age: int) -> Array:
    """Rates to ``open_age``, the last being deaths over person-years of all from there on."""
    old = m[..., open_age:]
    a = mx_to_ax(old, "total")
    if open_age > 0 and old.shape[-1] > 1:
        a[..., 0] = 0.5  # the first of the old ages is no infancy
    survivors = qx_to_lx(mx_to_qx(old, a), radix=1.0)
    lived = lx_to_Lx(survivors, a).sum(axis=-1)
    return np.concatenate([m[..., :open_age], (1 / lived)[..., None]], axis=-1)


def shift(mx: Table, years: float | xr.DataArray, improvement: float | Array | xr.DataArray) -> Any:
    r"""Death rates some years later (or, with negative years, earlier), falling steadily.

    .. math:: m_x(t + h) = m_x(t)\,(1 - \rho_x)^h

    Parameters
    ----------
    mx
        Central death rates [1/person-year].
    years
        How many years later; a labelled array over ``year`` gives one table a year.
    improvement
        Yearly relative decline of death rates, one number or by age (and sex).

    Returns
    -------
    DataArray or ndarray
        Rates, broadcast over the given arrays.

    Examples
    --------
    >>> shift(np.array([0.01, 0.4]), 2, 0.1)
    array([0.0081, 0.324 ])
    """
    return mx * (1 - improvement) ** years


def improvement(mx: xr.DataArray) -> xr.DataArray:
    r"""Yearly relative decline of death rates at each age, from tables of two years or more.

    One minus the exponential of the least-squares slope of :math:`\log m_x` over the years; with
    two tables it leads from the one to the other exactly.

    Parameters
    ----------
    mx
        Central death rates with dim ``year`` (and its coordinate) [1/person-year].

    Returns
    -------
    DataArray
        ``improvement`` [1/year] on the other dims of ``mx``: what :func:`shift` takes.

    Raises
    ------
    ValueError
        Fewer than two years, or a rate that is not positive.

    Examples
    --------
    >>> mx = xr.DataArray([[0.01], [0.0081]], dims=("year", "age"), coords={"year": [2018, 2020]})
    >>> improvement(mx).values
    array([0.1])
    """
    if mx.sizes.get("year", 0) < 2:
        raise ValueError("improvement needs death rates of two years or more along dim 'year'")
    if not bool((mx > 0).all()):
        raise ValueError("improvement needs positive death rates: a rate of 0 has no trend")
    time = mx["year"] - mx["year"].mean()
    log_mx = mx.copy(data=np.log(mx.to_numpy()))
    slope = (log_mx * time).sum(dim="year") / (time**2).sum(dim="year")
    decline = slope.copy(data=-np.expm1(slope.to_numpy()))
    return decline.rename("improvement").assign_attrs(units="1/year")

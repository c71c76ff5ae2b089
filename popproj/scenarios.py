"""If: rates of the past and what is assumed of them, for each future year."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from popproj import schema
from popproj.cohort.conventions import CONVENTIONS, survival_from_rate
from popproj.config import Scenario


def future_rates(
    rates: xr.Dataset, scenario: Scenario, jump_off: xr.DataArray, horizon: int
) -> xr.Dataset:
    """Assumed rates of each year after the jump-off.

    Death rates decline by ``mortality_improvement`` a year from the middle of the events they were
    estimated from; fertility and migration across the city boundary keep their level, times the
    scenario's multipliers. Moves between districts go on as they were.

    Parameters
    ----------
    rates
        From `derive_rates`.
    scenario
        What is assumed.
    jump_off
        People at the start; its ``time`` dates the years.
    horizon
        Number of years.

    Returns
    -------
    xarray.Dataset
        Rates with the coordinate ``year``; ``mx`` on it, as it changes from year to year.

    Examples
    --------
    >>> rates = xr.Dataset(
    ...     {"mx": (("sex", "age", "district"), np.full((2, 2, 1), 0.01))},
    ...     coords={"sex": ["female", "male"], "age": [0, 1], "district": ["001"]},
    ...     attrs={"convention": "popproj", "reference_time": "2015-10-01"},
    ... )
    >>> start = xr.zeros_like(rates["mx"]).assign_coords(time=np.datetime64("2017-04-01", "ns"))
    >>> scenario = Scenario(label="Trend", source="None", mortality_improvement=0.02)
    >>> future_rates(rates, scenario, start, 2)["mx"].isel(sex=0, age=0, district=0).values
    array([0.0096, 0.0094])
    """
    start = pd.Timestamp(jump_off["time"].item())
    years = start.year + np.arange(horizon)
    future = rates[[str(n) for n in rates.data_vars if n in _ASSUMED]].assign_coords(year=years)
    if "mx" in future:
        behind = (start - pd.Timestamp(rates.attrs["reference_time"])).days / 365.25
        ahead = xr.DataArray(behind + 0.5 + np.arange(horizon), dims="year", coords={"year": years})
        decline = (1 - scenario.mortality_improvement) ** ahead
        future["mx"] = (rates["mx"] * decline).transpose(*schema.FLOW)
    factors = {"asfr": scenario.fertility_multiplier}
    factors |= dict.fromkeys(
        ("in_count", "out_rate", "net_rate", "net_count"), scenario.migration_multiplier
    )
    for name, factor in factors.items():
        if name in future:
            future[name] = future[name] * factor
    future.attrs = {
        **rates.attrs,
        "scenario": json.dumps(scenario.model_dump(mode="json"), ensure_ascii=False),
    }
    return future


def in_convention(rates: xr.Dataset, name: str) -> xr.Dataset:
    """The same rates as another convention takes them.

    Parameters
    ----------
    rates
        Central rates of the convention ``popproj``.
    name
        ``"popproj"``, or ``"un_end"`` or ``"un_even"``: these take survival ratios and net
        migrants alone, and rates that hold gross migration cannot be told so.

    Raises
    ------
    InputError
        If there is gross migration and the convention has no place for it.
    """
    if not CONVENTIONS[name].survival_ratios:
        return rates.assign_attrs(convention=name)
    gross = [n for n in ("out_rate", "in_count", "move_rate") if n in rates and rates[n].any()]
    if gross:
        raise schema.InputError(
            schema.Fault(
                "city.toml, projection.convention",
                f"{name} takes net migration alone, and the register tells departures from "
                f"arrivals ({', '.join(gross)})",
                'Use convention = "popproj".',
            )
        )
    survival = rates["mx"].copy(data=survival_from_rate(rates["mx"].to_numpy()))
    kept = rates.drop_vars([n for n in (*_GROSS, "mx") if n in rates])
    kept = kept.drop_dims([d for d in ("move_group", "origin") if d in kept.dims])
    return kept.assign(Sx=survival).assign_attrs(convention=name)


_GROSS = ("out_rate", "in_count", "move_rate", "move_repeat", "move_group_of")
_ASSUMED = (
    "mx", "asfr", "srb", "out_rate", "in_count", "net_rate", "net_count",
    "move_rate", "move_repeat", "destination_share", "move_group_of",
)  # fmt: skip

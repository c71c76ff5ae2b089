"""Population projections for small districts: the front door.

The public names are loaded when they are first used, so ``import popproj`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "City": "config",
    "Parameters": "config",
    "BASELINE": "config",
    "Scenario": "config",
    "load_city": "config",
    "InputError": "schema",
    "UNASSIGNED": "schema",
    "read_register": "readers.register",
    "read_areas": "readers.areas",
    "assign": "readers.areas",
    "split": "cohort.split",
    "derive_rates": "cohort.rates",
    "raw_rates": "cohort.rates",
    "future_rates": "scenarios",
    "project": "projection",
    "replay": "projection",
    "read_districts": "geo.districts",
    "age_groups": "indicators",
    "ledger": "indicators",
    "publish": "publish.tables",
    "run": "annual",
    "check": "annual",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"popproj has no public name {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"popproj.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Outside schedules: the life table and fertility rates that a register without events needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from popproj.config import City
from popproj.readers.cells import NUMBER, SEX, YEAR, column, parse_age, row_faults
from popproj.readers.tables import open_table
from popproj.schema import SEXES, Fault, InputError, Note, with_notes


def read_standard(city: City) -> xr.Dataset | None:
    """Read ``[life_table]`` and ``[fertility]`` of a city file.

    Returns
    -------
    Dataset or None
        ``mx`` ``([year,] sex, age)`` and ``asfr`` ``([year,] age)`` [1/person-year] by completed
        age, whichever are named; None where neither is. Life tables start at age 0 and end at the
        city's open age; a longer one is a fault, since its last rates cannot be pooled without
        its population.

    Raises
    ------
    InputError
        With every fault of a file.
    """
    parts, notes = [], []
    if city.life_table is not None:
        frame = open_table(city.life_table, city.folder, need=("age", "mx"))
        table = _rates(frame, "mx", ("sex",) if "sex" in frame else ())
        if "sex" not in table.dims:
            table = table.expand_dims(sex=["total"])
        if tuple(table["sex"].to_numpy()) == ("total",):
            notes.append(Note(_where(frame), "one life table was used for women and men alike"))
            table = xr.concat([table.isel(sex=0, drop=True)] * 2, pd.Index(SEXES, name="sex"))
        table = table.sel(sex=[s for s in SEXES if s in table["sex"]])
        _whole(frame, table, city.open_age)
        parts.append(table.transpose(..., "sex", "age"))
    if city.fertility is not None:
        frame = open_table(city.fertility, city.folder, need=("age", "asfr"))
        parts.append(_rates(frame, "asfr", ()).transpose(..., "age"))
    if not parts:
        return None
    return with_notes(xr.merge(parts, join="outer"), notes)


def _where(frame: pd.DataFrame) -> str:
    return str(frame["_file"].iloc[0]) if len(frame) else "table"


def _rates(frame: pd.DataFrame, value: str, keys: Sequence[str]) -> xr.DataArray:
    """A tidy table of rates as an array, every cell given once."""
    faults: list[Fault] = []
    lower, width, broken = parse_age(frame["age"])
    faults += row_faults(
        frame,
        "age",
        broken | (lower < 0) | (width > 1),
        "must be a single year, or the open last one",
        "Write 0, 1, … and 100+; a table by five years must be made single first.",
    )
    cells = pd.DataFrame({"age": lower, value: column(frame, value, NUMBER, faults)})
    faults += row_faults(
        frame, value, np.asarray(cells[value] < 0), "must be 0 or more", "Correct the cells."
    )
    if "year" in frame:
        cells["year"] = column(frame, "year", YEAR, faults)
    for key in keys:
        cells[key] = column(frame, key, SEX, faults)
    index = [c for c in ("year", *keys, "age") if c in cells]
    twice = np.asarray(cells.duplicated(index))
    if not faults:
        faults += row_faults(
            frame, "age", twice, f"must stand once for each {', '.join(index)}",
            "Drop the repeated rows.",
        )  # fmt: skip
    if faults:
        raise InputError(faults)
    array = cells.set_index(index)[value].to_xarray().rename(value).astype(float)
    gaps = int(array.isnull().sum())
    if gaps:
        raise InputError(
            Fault(
                _where(frame),
                f"every {' and '.join(index)} must have a rate",
                "Complete the table.",
                broken=gaps,
                total=array.size,
                unit="cells",
            )
        )
    return array


def _whole(frame: pd.DataFrame, table: xr.DataArray, open_age: int) -> None:
    ages = table["age"].to_numpy()
    if not np.array_equal(ages, np.arange(open_age + 1)):
        raise InputError(
            Fault(
                _where(frame),
                f"a life table must have the ages 0 to {open_age}, the last one open, and has "
                f"{ages[0]} to {ages[-1]}",
                "Extend it to the open age (popproj.cohort.lifetable.extend), or set open_age.",
            )
        )
    if tuple(table["sex"].to_numpy()) != SEXES:
        raise InputError(
            Fault(
                _where(frame),
                "a life table must be given for female and male, or for both together as total",
                "Add the missing sex.",
            )
        )

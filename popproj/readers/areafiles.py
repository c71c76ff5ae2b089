"""The tables of areas: which district, from when to when; and of what became of former areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from popproj.config import AreasTable, City, LineageTable
from popproj.readers.cells import DATE, NUMBER, column, parse_code, row_faults
from popproj.readers.tables import open_table
from popproj.schema import UNASSIGNED, Fault, Note

Floats = NDArray[np.float64]

COLUMNS = (
    "area",
    "name",
    "ward",
    "ward_name",
    "district",
    "district_name",
    "share",
    "valid_from",
    "valid_to",
)


def areas_table(rows: Sequence[tuple[str, str, float]]) -> pd.DataFrame:
    """Table of ``areas.Areas`` from area, district and share, valid at all times.

    Examples
    --------
    >>> areas_table([("101001001", "K004", 1.0)])[["area", "district", "share"]].to_numpy().tolist()
    [['101001001', 'K004', 1.0]]
    """
    table = pd.DataFrame(rows, columns=["area", "district", "share"])
    return tidy(table.reindex(columns=list(COLUMNS)))


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Text as text, empty where not given; days as days."""
    days = ("valid_from", "valid_to")
    return table.assign(
        **{c: table[c].astype(object).fillna("") for c in COLUMNS if c not in ("share", *days)},
        **{c: pd.to_datetime(table[c]).astype("datetime64[ns]") for c in days},
    )


def read_area_table(
    section: AreasTable, city: City, faults: list[Fault], notes: list[Note]
) -> pd.DataFrame:
    """Read the table of areas; what is wrong or interpreted is added to `faults` and `notes`."""
    frame = open_table(section, city.folder, need=["area", "district"])
    notes += frame.attrs["notes"]
    found: dict[str, NDArray[Any]] = {
        name: parse_code(frame[name]) for name in ("area", "ward", "district") if name in frame
    }
    for name in ("name", "ward_name", "district_name"):
        if name in frame:
            found[name] = frame[name].str.strip().to_numpy(object)
    found["share"] = _read_share(frame, faults, notes)
    days = {n: _read_days(frame, n, faults, notes) for n in ("valid_from", "valid_to")}
    found |= days
    faults += row_faults(
        frame, "area", found["area"] == "", "must be given", "Fill it in, or take the row out."
    )
    faults += row_faults(
        frame,
        "district",
        found["district"] == UNASSIGNED,
        f"must not be {UNASSIGNED!r}, which stands for areas without a district",
        "Leave the cell blank.",
    )
    faults += row_faults(
        frame,
        "valid_to",
        days["valid_to"] < days["valid_from"],
        "must not be earlier than valid_from",
        "Write the last day on which the row holds.",
    )
    table = tidy(pd.DataFrame(found).reindex(columns=list(COLUMNS)))
    if not faults:
        faults += _share_faults(frame, table)
    return table


def _read_days(
    frame: pd.DataFrame, name: str, faults: list[Fault], notes: list[Note]
) -> NDArray[np.datetime64]:
    """Days of a column; NaT where none is given, or no limit."""
    if name not in frame:
        return np.full(len(frame), np.datetime64("NaT"), dtype="datetime64[ns]")
    day = column(frame, name, DATE, faults, notes, required=False)
    # 9999-12-31 and the like are ways to write "no limit".
    limit = (day > np.datetime64("2200-01-01")) | (day < np.datetime64("1800-01-01"))
    return np.asarray(np.where(limit, np.datetime64("NaT"), day).astype("datetime64[ns]"))


def _read_share(frame: pd.DataFrame, faults: list[Fault], notes: list[Note]) -> Floats:
    if "share" not in frame:
        return np.ones(len(frame))
    share = column(frame, "share", NUMBER, faults, notes, required=False)
    # Nothing said means the whole area.
    share = np.where(np.isnan(share), 1.0, share)
    faults += row_faults(
        frame,
        "share",
        (share <= 0) | (share > 1),
        "must lie above 0 and not above 1",
        "Write half of an area as 0.5.",
    )
    return np.asarray(share, dtype=float)


def _share_faults(frame: pd.DataFrame, table: pd.DataFrame) -> list[Fault]:
    """Shares of an area add up to 1 on each day on which it has any row."""
    # Running sums over the days on which rows begin and cease to hold.
    ever, never = np.datetime64("0001-01-01", "D"), np.datetime64("9999-12-30", "D")
    first = table["valid_from"].to_numpy().astype("datetime64[D]")
    last = table["valid_to"].to_numpy().astype("datetime64[D]")
    first = np.where(np.isnat(first), ever, first)
    after = np.where(np.isnat(last), never, last) + 1
    share = table["share"].to_numpy()
    area = pd.factorize(table["area"])[0]
    n = len(table)
    steps = pd.DataFrame(
        {
            "area": np.concatenate([area, area]),
            "day": np.concatenate([first, after]).astype(np.int64),
            "share": np.concatenate([share, -share]),
            "row": np.concatenate([np.arange(n), np.arange(n)]),
        }
    )
    days = steps.groupby(["area", "day"]).agg(share=("share", "sum"), row=("row", "first"))
    total = days.groupby("area")["share"].cumsum()
    wrong = ((total - 1).abs() > 1e-6) & (total.abs() > 1e-6)
    if not wrong.any():
        return []
    broken = wrong.groupby("area").any()
    position = int(days.loc[wrong, "row"].iloc[0])
    day = int(wrong.index[wrong][0][1])
    since = "" if day == int(ever.astype(np.int64)) else f" from {np.datetime64(day, 'D')}"
    row = frame.iloc[position]
    return [
        Fault(
            str(row["_file"]),
            "the shares of an area must add up to 1 on each day",
            "Correct share, or set valid_from and valid_to so that its rows follow each other.",
            broken=int(broken.sum()),
            total=len(broken),
            first=f"{table['area'].iloc[position]}: {total[wrong].iloc[0]:.6g}{since}, at row"
            f" {row['_row']:,}",
            unit="areas",
        )
    ]


def read_lineage(
    section: LineageTable, city: City, faults: list[Fault], notes: list[Note]
) -> pd.DataFrame:
    """Read where the people of areas live under later codes: old_area, new_area, share, date."""
    frame = open_table(section, city.folder, need=["old_area", "new_area"])
    notes += frame.attrs["notes"]
    table = pd.DataFrame(
        {
            "old_area": parse_code(frame["old_area"]),
            "new_area": parse_code(frame["new_area"]),
            "share": _read_share(frame, faults, notes),
            "date": _read_days(frame, "date", faults, notes),
        }
    )
    for name in ("old_area", "new_area"):
        blank = (table[name] == "").to_numpy()
        faults += row_faults(frame, name, blank, "must be given", "Fill it in.")
    total = table.groupby(["old_area", "date"], dropna=False)["share"].transform("sum")
    wrong = ((total - 1).abs() > 1e-6).to_numpy()
    faults += row_faults(
        frame,
        "old_area",
        wrong,
        "must have shares that add up to 1",
        "Correct share, and take renamings that stand twice out.",
    )
    return table

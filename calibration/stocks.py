"""Forecasts from stocks alone beside the simple methods, on named panels.

Panels are read from the folder of public data (``POPPROJ_DATA``, or ``../shared/data`` beside the
checkout); only scores are kept here. Each launch sees the stocks up to its own day and nothing
else. That is not the whole of fairness: a model's numbers are also chosen by somebody who has seen
results. The report says of each launch whether it was open while the model was built.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from popproj import evaluation
from popproj.annual import backtest
from popproj.schema import time_coordinate


@dataclass(frozen=True)
class Panel:
    """A table of yearly stocks of many areas, and the launches to score on it."""

    name: str
    file: str
    launches: tuple[tuple[int, int, str], ...]
    """Launch, horizon, and whether its results were looked at while the model was built."""
    without: tuple[str, ...] = ()


SEEN = "seen while the model was built"
PANELS = (
    Panel(
        "Kobe proxy districts, five-year ages to 80+, both sexes together, 2001-2017",
        "kobe/kobe_district_age5_2001_2017.parquet",
        ((2007, 5, "tuning launch"), (2012, 5, SEEN), (2007, 10, SEEN)),
        without=("K103",),  # founded in 2004: the published figures leave it out
    ),
    Panel(
        "Kobe proxy districts, single ages, both sexes together, 2012-2017",
        "kobe/kobe_district_age1_2012_2017.parquet",
        ((2014, 3, SEEN),),
    ),
)


def data_folder() -> Path:
    """Folder of the public data."""
    given = os.environ.get("POPPROJ_DATA")
    return Path(given) if given else Path(__file__).parents[2] / "shared" / "data"


def read(panel: Panel) -> xr.Dataset:
    """A panel as stocks by area."""
    wide = pd.read_parquet(data_folder() / panel.file)
    wide = wide[~wide["district_id"].isin(panel.without)]
    lower = {
        column: int(column.removeprefix("a").split("-")[0].rstrip("+"))
        for column in map(str, wide.columns)
        if column[0].isdigit() or column.removeprefix("a").isdigit()
    }
    long = wide.rename(columns=lower).melt(
        ["district_id", "year"], list(lower.values()), "age", "population"
    )
    long["age"] = long["age"].astype(int)
    cube = long.set_index(["year", "age", "district_id"])["population"].to_xarray()
    cube = cube.transpose("year", "age", "district_id").astype(float)
    ages = cube["age"].to_numpy()
    stocks = xr.Dataset(
        {"population": (("time", "sex", "age", "area"), cube.to_numpy()[:, None])},
        coords={
            **time_coordinate([f"{y}-12-31" for y in cube["year"].to_numpy()]),
            "sex": ["total"],
            "age": ages,
            "area": cube["district_id"].to_numpy(),
        },
    )
    if (ages[1:] - ages[:-1] == 5).all():
        stocks = stocks.assign_coords(age_width=("age", [5] * (len(ages) - 1) + [0]))
    return stocks


def report() -> str:
    """The study as Markdown."""
    lines = [
        "# Forecasts from stocks alone, beside the simple methods",
        "",
        "Written by `python -m calibration`; do not edit. MAPE in per cent over the areas. *best "
        "simple method*: the best of thirteen, chosen cell by cell with hindsight. *difference*: "
        "in percentage points with its paired 95 % bootstrap interval; below zero popproj is the "
        "nearer. Areas of one city share the shocks of its years, which no interval from one "
        "launch can know.",
        "",
    ]
    for panel in PANELS:
        stocks = read(panel)
        lines += [f"## {panel.name}", ""]
        lines += [f"{stocks.sizes['area']} areas.", ""]
        for launch, horizon, status in panel.launches:
            result = backtest(stocks, [launch], [horizon])
            scores = evaluation.scores(result).set_index(["method", "group"])
            against = evaluation.difference(result, "popproj")
            lines += [
                f"### {launch} to {launch + horizon} ({status})",
                "",
                "| group | popproj | median | p90 | bias | best simple method | MAPE | ratio | "
                "difference | areas |",
                "|---|---|---|---|---|---|---|---|---|---|",
            ]
            for row in against.itertuples():
                own = scores.loc[("popproj", str(row.group))]
                their = scores.loc[(str(row.against), str(row.group))]
                lines.append(
                    f"| {row.group} | {own['mape']:.2f} | {own['medape']:.2f} | {own['p90']:.2f} "
                    f"| {own['malpe']:+.2f} | {row.against} | {their['mape']:.2f} "
                    f"| {row.ratio:.3f} "
                    f"| {row.difference:+.2f} ({row.low:+.2f} to {row.high:+.2f}) | {row.n} |"
                )
            lines.append("")
    return "\n".join(lines)

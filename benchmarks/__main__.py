"""Measure everything and write the table: ``python -m benchmarks [--full] [-o FILE]``.

Times hold for the machine they were taken on; ratios taken in one run travel.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import kernel

HERE = Path(__file__).parent


def process(*words: str, repeats: int = 5, **environment: str) -> float:
    """Median seconds of a Python process."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *words],
            check=True,
            capture_output=True,
            env={**os.environ, **environment},
        )
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def started() -> list[tuple[str, str]]:
    """Starting up and compiling, each in a process of its own."""
    one_step = (
        "from benchmarks.kernel import *; c = made_up(4, 1); "
        "kernel(c, Output(c, every=True), moves=True)"
    )
    with tempfile.TemporaryDirectory() as cache:
        cold = process("-c", one_step, repeats=1, NUMBA_CACHE_DIR=cache)
        warm = process("-c", one_step, repeats=3, NUMBA_CACHE_DIR=cache)
    bare = process("-c", "pass")
    return [
        ("python, nothing else", f"{bare:.3f} s"),
        ("import popproj", f"{process('-c', 'import popproj') - bare:.3f} s more"),
        ("popproj --help", f"{process('-m', 'popproj', '--help'):.3f} s"),
        ("import numpy and numba", f"{process('-c', 'import numpy, numba') - bare:.2f} s more"),
        ("first year, compiling", f"{cold:.1f} s"),
        ("first year, compiled before", f"{warm:.1f} s"),
    ]


def stages(full: bool) -> list[tuple[str, str]]:
    """The stages of an annual run on the sample city, one after the other in this process."""
    import popproj
    from popproj import sample
    from popproj.annual import read
    from popproj.publish.tables import publish

    rows: list[tuple[str, str]] = []

    def timed(what: str, action: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = action()
        rows.append((what, f"{time.perf_counter() - begin:.2f} s"))
        return result

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        city = timed("sample: ten years of persons", lambda: sample.simulate(full))
        residents = int(city.population[-1].sum())
        timed("sample: write the files", lambda: sample.write(city, place / "input"))
        chosen = popproj.load_city(place / "input")
        given = timed("read, split, assign, balance", lambda: read(chosen))
        rates = timed("rates", lambda: popproj.derive_rates(given.books, chosen.parameters))
        start = given.books["population"].isel(time=-1)
        future = timed(
            "future rates",
            lambda: popproj.future_rates(rates, popproj.BASELINE, start, horizon=31),
        )
        timed("project 31 years, first call", lambda: popproj.project(start, future))
        projection = timed("project 31 years", lambda: popproj.project(start, future))
        timed("write all files", lambda: publish(projection, given.districts, place / "out"))
        size = sum(f.stat().st_size for f in (place / "out").iterdir()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows.insert(0, ("residents, districts", f"{residents:,}, {start.sizes['district']}"))
    return [*rows, ("files written", f"{size:.0f} MB"), ("peak memory", f"{peak:.1f} GB")]


def table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"## {title}", "", "| what | measured |", "|---|---|"]
    return "\n".join([*lines, *(f"| {a} | {b} |" for a, b in rows), ""])


def kernel_table(rows: list[dict[str, float | str]]) -> str:
    names = list(rows[0])
    lines = [
        "## Kernel: 164 districts × 31 years, one core, warm",
        "",
        "Ratios are medians over pairs taken in turns: above 1 the kernel is the faster. *fill* "
        "writes the same bytes, *BLAS alone* does the origin-destination products and nothing "
        "else, *difference* is the largest relative one from the numpy rival.",
        "",
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
    ]
    for row in rows:
        cells = [
            str(v)
            if isinstance(v, str)
            else ""
            if v != v
            else f"{v:.1e}"
            if 0 < v < 1e-3
            else f"{v:.3g}"
            for v in row.values()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sample city at full size too")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    import numba
    import xarray

    parts = [
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks --full`; do not edit.",
        f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, "
        f"xarray {xarray.__version__}, {os.cpu_count()} cores, {platform.system()}.",
        "",
        table("Start-up and compiling", started()),
        kernel_table(kernel.measure()),
        table("Annual run, sample city", stages(full=False)),
    ]
    if options.full:
        parts.append(table("Annual run, sample city at full size", stages(full=True)))
    text = "\n".join(parts)
    print(text)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

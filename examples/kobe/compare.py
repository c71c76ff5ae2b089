"""Lay the Kobe example beside what others published.

::

    python examples/kobe/compare.py DATA RESULT

reads ``kobe/ipss_H30_kobe_wards_2015-2045.csv`` below DATA (国立社会保障・人口問題研究所,
日本の地域別将来推計人口 平成30年推計) and ``result.nc`` in the folder RESULT, and prints each
ward's population in 2040 beside the institute's.

The register counts who is registered, the census who lives there; and towns without a district are
in the city's row alone. Each ward's ratio of the census of 1 October 2015 (the institute's base) to
the register of its districts on that day, read off the result's own past, carries the projection
over: it is printed, and assumed to last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

CITY = "28100"
OLD = (65, 75)


def institute(data: Path) -> pd.DataFrame:
    """The institute's people by ward and year: total, 65+ and 75+."""
    table = pd.read_csv(
        data / "kobe" / "ipss_H30_kobe_wards_2015-2045.csv", encoding="utf-8-sig", dtype={0: str}
    )
    table = table.rename(columns={"コード": "ward", "年": "year", "総数": "total"})
    table["year"] = table["year"].str.removesuffix("年").astype(int)
    both = {c: int(c.split("～")[0].split("歳")[0]) for c in table.columns if c.endswith("/a")}
    for first in OLD:
        table[f"{first}+"] = table[[c for c, age in both.items() if age >= first]].sum(axis=1)
    return table.set_index(["ward", "year"])[["total", *(f"{first}+" for first in OLD)]]


def register(stocks: xr.DataArray, wards: pd.Series) -> pd.DataFrame:
    """Registered people by ward and count date; the city's row holds those without a ward too."""
    groups = {"total": stocks.sum(["sex", "age"])}
    groups |= {f"{first}+": stocks.sel(age=slice(first, None)).sum(["sex", "age"]) for first in OLD}
    frames = []
    for name, people in groups.items():
        table = people.to_pandas().set_axis(pd.DatetimeIndex(people["count_date"].to_numpy()))
        by_ward = table.T.groupby(wards.reindex(table.columns).fillna("")).sum()
        by_ward.loc[CITY] = by_ward.sum()
        frames.append(by_ward.drop(index="").stack().rename(name))
    return pd.concat(frames, axis=1)


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    """Print the comparison, and return it."""
    parser = argparse.ArgumentParser(description="Lay the Kobe example beside the institute's.")
    parser.add_argument("data", type=Path)
    parser.add_argument("result", type=Path)
    given = parser.parse_args(arguments)
    official = institute(given.data)
    with xr.open_dataset(given.result / "result.nc") as result:
        wards = pd.Series(result["ward"].to_numpy(), result["district"].to_numpy())
        names = dict(zip(wards, result["ward_name"].to_numpy(), strict=True)) | {CITY: "神戸市"}
        stocks = result["population"].load()
    people = register(stocks, wards)
    # the register on 1 October 2015: half way between the two counts around it
    then = [people.xs(pd.Timestamp(f"{y}-03-31"), level=1) for y in (2015, 2016)]
    ratio = official.xs(2015, level="year") / ((then[0] + then[1]) / 2)
    by_2040 = [people.xs(pd.Timestamp(f"{y}-03-31"), level=1) for y in (2040, 2041)]
    ours = (by_2040[0] + by_2040[1]) / 2
    table = pd.DataFrame(
        {
            "register 2040": ours["total"],
            "census/register": ratio["total"],
            "as census": ours["total"] * ratio["total"],
            "IPSS 2040": official.xs(2040, level="year")["total"],
        }
    ).loc[ours.index]
    table["difference"] = table["as census"] / table["IPSS 2040"] - 1
    for first in OLD:
        share = ours[f"{first}+"] / ours["total"]
        theirs = official.xs(2040, level="year")
        table[f"{first}+ share"] = share
        table[f"IPSS {first}+"] = theirs[f"{first}+"] / theirs["total"]
    table.index = pd.Index([f"{code} {names[code]}" for code in table.index], name="ward")
    whole = dict.fromkeys(("register 2040", "as census", "IPSS 2040"), "{:,.0f}".format)
    signed = {"difference": "{:+.1%}".format, "census/register": "{:.3f}".format}
    shares = {c: "{:.1%}".format for c in table if str(c).endswith(("share", "+"))}
    print("Population on 1 October 2040")
    print(table.to_string(formatters=whole | signed | shares))
    old = people.loc[CITY]["65+"]
    total = people.loc[CITY]["total"]
    base, last = pd.Timestamp("2017-03-31"), total.index.max()
    print(
        f"\n65+: {old[pd.Timestamp('2044-03-31')]:,.0f} on 2044-03-31, most {old.max():,.0f} on "
        f"{old.idxmax():%Y-%m-%d}; the city's own projection (2024): 488,000 in 2044\n"
        f"All ages: {total[base]:,.0f} on 2017-03-31, {total[last]:,.0f} on {last:%Y-%m-%d}"
    )
    return table


if __name__ == "__main__":
    main()

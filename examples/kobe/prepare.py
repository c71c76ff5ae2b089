r"""Turn the open data behind the Kobe example into files of the input contract.

::

    python examples/kobe/prepare.py DATA OUT

reads, below the folder DATA,

- ``rates/japan_wpp2024_mx_both_sexes.csv.gz`` and ``rates/japan_wpp2024_asfr.csv.gz``: Japan's
  death and fertility rates from 2020 (United Nations, World Population Prospects 2024, CC BY 3.0
  IGO);
- ``rates/japan_2018_mx_by_sex.csv``: death rates by sex 2018, of which only the ratio of the sexes
  is used (e-Stat);
- ``kobe/raw/zensi2903.xls``: residents by sex and age on 31 March 2017 (City of Kobe, CC BY 2.1
  JP);
- ``kobe/kobe_PROXY_town_to_school_nearest.csv``: the nearest school of each town,

and writes ``life_table.csv``, ``fertility.csv`` and ``areas.csv`` into OUT, beside copies of the
register's workbooks of 31 March, the wards' births and deaths, and the districts' outlines.

How the life tables come about, as the UN gives both sexes together, ages to 99, from 2020:

1. *Sexes.* At each age the two sexes' rates have the ratio of 2018, and together, weighted with
   Kobe's women and men of that age, the UN's rate. Below age 10, where the table of 2018 is
   interpolated too coarsely, the ratio at age 10 stands for all.
2. *Old ages.* Kannisto's law, fitted on ages 80 to 95, leads beyond 99; the open age is 100.
3. *Back to 2013.* From the rates of 2020 along each age's log-linear trend in the UN's tables of
   2020 to 2050. So these tables know the future of 2017: good for an example, not for a backtest.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import xlrd

from popproj.cohort import lifetable
from popproj.schema import SEXES

BASE_YEAR = 2020
TREND_YEARS = (2020, 2050)
LAST_AGE = 99
FIRST_RATIO_AGE = 10

# Expectation of life at birth, 厚生労働省 簡易生命表 [years]
OFFICIAL_E0 = {2013: {"female": 86.6, "male": 80.2}, 2017: {"female": 87.3, "male": 81.1}}

ESTIMATED = "UN WPP 2024 both sexes x sex ratio of 2018, Kannisto from age 100"
BACKWARD = ESTIMATED + "; extrapolated back from 2020 along the trend 2020-2050"
FERTILITY = "UN WPP 2024, Japan 2020: the shape counts, the level is estimated from the register"

AS_THEY_ARE = (
    "kobe/raw/zensi??03.xls",
    "kobe/kobe_ward_vital_events_2004-2014.csv",
    "kobe/kobe_PROXY_school_districts_voronoi.geojson",
)


def both_sexes(data: Path) -> xr.DataArray:
    """Japan's death rates ``(year, age)`` of both sexes together."""
    table = pd.read_csv(data / "rates" / "japan_wpp2024_mx_both_sexes.csv.gz")
    rates = table.set_index(["year", "age"])["mx_total"].to_xarray()
    return rates.sel(age=slice(0, LAST_AGE)).rename("mx")


def males_to_females(data: Path) -> xr.DataArray:
    """Ratio of the sexes' death rates by age; that of age 10 below it."""
    table = pd.read_csv(data / "rates" / "japan_2018_mx_by_sex.csv", index_col="age")
    ratio = table["male"] / table["female"]
    kept = np.clip(np.arange(LAST_AGE + 1), FIRST_RATIO_AGE, None)
    return xr.DataArray(
        ratio.reindex(kept).to_numpy(), dims="age", coords={"age": np.arange(LAST_AGE + 1)}
    )


def share_of_women(data: Path) -> xr.DataArray:
    """Women among Kobe's residents at each age on 31 March 2017."""
    sheet = xlrd.open_workbook(data / "kobe" / "raw" / "zensi2903.xls").sheet_by_name("神戸市")
    rows = [sheet.row_values(row) for row in range(sheet.nrows)]
    header = next(row for row in rows if "性別" in row)
    sex, first = header.index("性別"), header.index("人口_0歳")
    city = {row[sex]: row[first : first + LAST_AGE + 1] for row in rows if row[2] == "全市"}
    women, men = (np.asarray(city[s], dtype=np.float64) for s in ("女", "男"))
    return xr.DataArray(women / (women + men), dims="age", coords={"age": np.arange(LAST_AGE + 1)})


def by_sex(both: xr.DataArray, ratio: xr.DataArray, women: xr.DataArray) -> xr.DataArray:
    """Death rates by sex with the given ratio, whose mean by people is that of both sexes."""
    female = both / (women + (1 - women) * ratio)
    rates = xr.concat([female, female * ratio], xr.Variable("sex", list(SEXES)))
    return rates.transpose(..., "sex", "age")


def life_tables(data: Path, years: Sequence[int]) -> xr.DataArray:
    """Death rates ``(year, sex, age)`` of the years to 2020, ages to 100 (open)."""
    both = both_sexes(data)
    trend = lifetable.improvement(both.sel(year=slice(*TREND_YEARS)))
    since = xr.DataArray(np.array(years) - BASE_YEAR, dims="year", coords={"year": list(years)})
    past = lifetable.shift(both.sel(year=BASE_YEAR, drop=True), since, trend)
    rates = by_sex(past, males_to_females(data), share_of_women(data))
    return lifetable.extend(rates.transpose("year", "sex", "age"), 100)


def expectations(rates: xr.DataArray) -> str:
    """Expectations of life at birth, those published beside them."""
    e0 = lifetable.life_table(rates)["ex"].sel(age=0)
    lines = ["year   male  official  difference   female  official  difference"]
    for year in e0["year"].to_numpy():
        cells = [f"{year}"]
        for sex in ("male", "female"):
            own = float(e0.sel(year=year, sex=sex))
            official = OFFICIAL_E0.get(int(year), {}).get(sex)
            cells.append(f"{own:7.2f}")
            cells.append(
                " " * 22 if official is None else f"{official:9.1f}{own - official:+13.2f}"
            )
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


def life_table_file(rates: xr.DataArray) -> pd.DataFrame:
    """The life tables as the input contract has them, with what each year rests on."""
    table = rates.rename("mx").to_dataframe().reset_index()
    table["source"] = np.where(table["year"] < BASE_YEAR, BACKWARD, ESTIMATED)
    table["age"] = table["age"].astype(str).replace("100", "100+")
    return table[["year", "sex", "age", "mx", "source"]]


def fertility_file(data: Path) -> pd.DataFrame:
    """Japan's fertility rates of 2020 by the mother's age."""
    table = pd.read_csv(data / "rates" / "japan_wpp2024_asfr.csv.gz")
    table = table.loc[table["year"] == BASE_YEAR, ["year", "age", "asfr"]]
    return table.assign(source=FERTILITY)


def areas_file(data: Path) -> pd.DataFrame:
    """Each town and the district of its nearest school, in the words of the input contract."""
    towns = pd.read_csv(data / "kobe" / "kobe_PROXY_town_to_school_nearest.csv", dtype=str)
    names = {"town_code": "area", "town": "name", "ward_code": "ward", "district_id": "district"}
    table = towns.rename(columns={**names, "school": "district_name"})
    sheet = xlrd.open_workbook(data / "kobe" / "raw" / "zensi2903.xls").sheet_by_name("神戸市")
    rows = [sheet.row_values(row)[:3] for row in range(sheet.nrows)]
    wards = {str(row[0]).removesuffix(".0"): row[2] for row in rows}
    table["ward_name"] = table["ward"].map(wards)
    return table[["area", "name", "ward", "ward_name", "district", "district_name"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, and print the expectations of life."""
    parser = argparse.ArgumentParser(description="Prepare the files of the Kobe example.")
    parser.add_argument("data", type=Path, help="folder with the open data")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--first-year", type=int, default=2013, help="of the life tables (2013)")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    rates = life_tables(given.data, range(given.first_year, BASE_YEAR + 1))
    files = {
        "life_table.csv": life_table_file(rates),
        "fertility.csv": fertility_file(given.data),
        "areas.csv": areas_file(given.data),
    }
    print("Expectation of life at birth [years]; official: the ministry's abridged life tables")
    print(expectations(rates))
    for name, table in files.items():
        table.to_csv(given.out / name, index=False, encoding="utf-8", lineterminator="\n")
        print(f"wrote {given.out / name} ({len(table):,} rows)")
    for path in sorted(p for pattern in AS_THEY_ARE for p in given.data.glob(pattern)):
        shutil.copyfile(path, given.out / path.name)
        print(f"copied {path.name}")


if __name__ == "__main__":
    main()

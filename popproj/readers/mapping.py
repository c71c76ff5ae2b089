"""From areas to districts: the shares of each, their names, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from popproj.readers.clusters import Clusters
from popproj.schema import UNASSIGNED, Note

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mapping:
    """Rows of area (position), district (position) and share, by district."""

    districts: NDArray[np.object_]
    area: Ints
    district: Ints
    share: Floats

    def sums(self, values: Floats) -> Floats:
        """Sum the last dim, areas, to districts; blank areas count as nothing."""
        total = np.zeros((*values.shape[:-1], len(self.districts)))
        if self.area.size:
            present, first = np.unique(self.district, return_index=True)
            parts = np.nan_to_num(values[..., self.area])
            parts *= self.share
            total[..., present] = np.add.reduceat(parts, first, axis=-1)
        # A slice without any figure is not known, rather than nobody.
        total[np.isnan(values).all(axis=-1)] = np.nan
        return total

    def member(self, areas: int) -> Floats:
        """Share of each area in each district, dims (area, district)."""
        found = np.zeros((areas, len(self.districts)))
        np.add.at(found, (self.area, self.district), self.share)
        return found

    def across(self, clusters: Clusters) -> NDArray[np.bool_]:
        """Which clusters have areas that do not all lie in the same district."""
        here = np.isin(self.area, clusters.area)
        rows = pd.DataFrame({"area": self.area, "in": self.district, "share": self.share})
        rows = rows[here].sort_values(["area", "in"])
        # Divided areas lie in the same districts where their shares are the same.
        text = rows["in"].astype(str) + ":" + rows["share"].round(9).astype(str)
        where = text.groupby(rows["area"]).agg(" ".join)
        of_part = pd.factorize(where.reindex(clusters.area))[0]
        pairs = pd.DataFrame({"cluster": clusters.label, "where": of_part})
        return np.asarray(pairs.groupby("cluster")["where"].nunique().to_numpy() > 1)

    def marks(self, values: NDArray[Any]) -> NDArray[Any]:
        """Join the marks of a district's areas, bit by bit."""
        joined = np.zeros((*values.shape[:-1], len(self.districts)), dtype=values.dtype)
        if self.area.size:
            present, first = np.unique(self.district, return_index=True)
            of_rows = values[..., self.area]
            joined[..., present] = np.bitwise_or.reduceat(of_rows, first, axis=-1)
        return joined


def mapping_of(rows: pd.DataFrame, areas: pd.Index) -> Mapping:
    """Shares of areas in districts; those without a district are in the last, the unassigned.

    Parameters
    ----------
    rows
        Columns area, district, share; one day's.
    areas
        Codes of the register, in order.
    """
    rows = rows[["area", "district", "share"]].copy()
    lost = areas[~areas.isin(rows["area"])]
    rows = pd.concat([rows, pd.DataFrame({"area": lost, "district": UNASSIGNED, "share": 1.0})])
    rows["district"] = rows["district"].replace("", UNASSIGNED)
    known = areas.get_indexer(pd.Index(rows["area"]))
    codes = sorted(set(rows["district"]) - {UNASSIGNED})
    if (known[rows["district"].to_numpy() == UNASSIGNED] >= 0).any():
        codes.append(UNASSIGNED)
    rows, known = rows[known >= 0], known[known >= 0]
    district = pd.Index(codes).get_indexer(pd.Index(rows["district"]))
    order = np.lexsort((known, district))
    return Mapping(
        np.array(codes, dtype=object),
        known[order],
        district[order],
        rows["share"].to_numpy(dtype=float)[order],
    )


def names_of(
    register: xr.Dataset,
    rows: pd.DataFrame,
    mapping: Mapping,
    notes: list[Note],
) -> dict[str, Any]:
    """Coordinates that name the districts and their wards."""
    given = rows[rows["district_name"] != ""].groupby("district")["district_name"]
    several = given.nunique()
    if (several > 1).any():
        code = several.index[several > 1][0]
        names = ", ".join(given.get_group(code).unique()[:3])
        notes.append(
            Note(
                "areas",
                "districts with more than one name: the first is taken",
                int((several > 1).sum()),
                f"{code}: {names}",
            )
        )
    districts = pd.Index(mapping.districts)
    name = given.first().reindex(districts)
    name = name.where(name.notna() & (name != ""), districts.to_series())
    coords = {"district_name": ("district", name.to_numpy(object))}
    wards = _wards(register, rows)
    if wards is None:
        return coords
    # The ward with most people at the last count.
    latest = int(np.argmax(register["time"].to_numpy()))
    people = np.nan_to_num(register["population"].isel(time=latest).to_numpy())
    people = people.sum(axis=tuple(range(people.ndim - 1)))
    frame = pd.DataFrame(
        {
            "district": mapping.district,
            "ward": wards["ward"].to_numpy()[mapping.area],
            # Without people the areas themselves are counted.
            "people": people[mapping.area] * mapping.share + 1e-6,
        }
    )
    frame = frame[(frame["ward"] != "") & (districts[frame["district"]] != UNASSIGNED)]
    sums = frame.groupby(["district", "ward"])["people"].sum().reset_index()
    sums = sums.sort_values(["district", "people", "ward"], ascending=[True, False, True])
    most = sums.drop_duplicates("district").set_index("district")["ward"]
    ward = most.reindex(range(len(districts))).fillna("").to_numpy(object)
    double = sums[sums.duplicated("district")]
    if len(double):
        first = int(double["district"].iloc[0])
        notes.append(
            Note(
                "areas",
                "districts in more than one ward: counted in the ward where most of their people"
                " live; people in the other wards",
                round(float(double["people"].sum())),
                f"{districts[first]}: {', '.join(sums.loc[sums['district'] == first, 'ward'])}",
            )
        )
    titles = wards[wards["ward"] != ""].drop_duplicates("ward").set_index("ward")["ward_name"]
    coords["ward"] = ("district", ward)
    coords["ward_name"] = ("district", titles.reindex(ward).fillna("").to_numpy(object))
    return coords


def _wards(register: xr.Dataset, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Ward of each area of the register: the areas' table first, then what the register says."""
    codes = register.indexes["area"]
    table = rows.drop_duplicates("area").set_index("area").reindex(codes)
    found = pd.DataFrame({c: table[c].fillna("").astype(object) for c in ("ward", "ward_name")})
    for name in ("ward", "ward_name"):
        if name in register.coords and register[name].dims == ("area",):
            own = pd.Series(register[name].to_numpy().astype(object), codes)
            found[name] = found[name].where(found[name] != "", own)
    return found if (found["ward"] != "").any() else None


def unassigned_notes(register: xr.Dataset, result: xr.Dataset, mapping: Mapping) -> list[Note]:
    """How many people have no district, when, and where most of them live."""
    if UNASSIGNED not in mapping.districts:
        return []
    lost = mapping.district == len(mapping.districts) - 1
    people = result["population"].to_numpy()
    people = np.nan_to_num(people).sum(axis=(1, 2))
    days = [str(d)[:10] for d in result["count_date"].to_numpy()]
    each = ", ".join(
        f"{day} {row[-1]:,.0f} ({row[-1] / max(row.sum(), 1):.2%})"
        for day, row in zip(days, people, strict=True)
    )
    latest = int(np.argmax(result["time"].to_numpy()))
    there = np.nan_to_num(register["population"].isel(time=latest).to_numpy()).sum(axis=(0, 1))
    weight = there[mapping.area] * mapping.share * lost
    top = [i for i in np.argsort(-weight, kind="stable")[:3] if weight[i] > 0]
    names = register["area_name" if "area_name" in register.coords else "area"].to_numpy()
    most = ", ".join(f"{names[mapping.area[i]]} {weight[i]:,.0f}" for i in top)
    return [
        Note(
            "areas",
            f"people in areas without a district stand in {UNASSIGNED!r}: {each}",
            float(people[latest, -1]),
            most,
        )
    ]


def blank_notes(register: xr.Dataset, mapping: Mapping) -> list[Note]:
    """Districts of which no area has figures at a count where others have."""
    blank = np.isnan(register["population"].to_numpy()).all(axis=(1, 2))
    some = mapping.area.size > 0 and not blank.all()
    if not some:
        return []
    count = len(mapping.districts)
    known = np.array([np.bincount(mapping.district, ~b[mapping.area], count) for b in blank])
    has_areas = np.bincount(mapping.district, minlength=count) > 0
    empty = (known == 0) & has_areas & ~blank.all(axis=1, keepdims=True)
    if not empty.any():
        return []
    t, d = np.argwhere(empty)[0]
    day = str(register["count_date"].to_numpy()[t])[:10]
    return [
        Note(
            "areas",
            "districts whose areas are all blank at a count: counted as nobody there",
            int(empty.sum()),
            f"{mapping.districts[d]} on {day}",
        )
    ]


def merging_notes(
    register: xr.Dataset,
    mapping: Mapping,
    found: Clusters,
    across: Clusters,
    moved: pd.DataFrame,
    reference: int,
) -> list[Note]:
    """What was merged with what, who was moved for it, and what could not be told."""
    names = register["area_name" if "area_name" in register.coords else "area"].to_numpy()
    days = [str(d)[:10] for d in register["count_date"].to_numpy()]
    place = pd.Series(mapping.district, mapping.area)[lambda s: ~s.index.duplicated()]
    label = found.label
    largest = np.flatnonzero(label == np.bincount(label).argmax())
    notes = [
        Note(
            "areas",
            "areas whose figures are blank (秘匿) on some days and stand in a neighbour's row then;"
            f" with these neighbours they make {len(found):,} clusters, {len(across):,} of them in"
            " more than one district",
            found.flips.size,
            ", ".join(dict.fromkeys(map(str, names[found.area[largest]]))),
        )
    ]
    far = moved[
        place.reindex(moved["origin"]).to_numpy() != place.reindex(moved["target"]).to_numpy()
    ]
    if len(far):
        each = far.groupby("time")[["people", "estimated"]].sum()
        told = ", ".join(
            f"{days[time]} {people:,.0f} ({estimated:,.0f})"
            for time, people, estimated in each.itertuples()
        )
        top = far.sort_values("people", ascending=False, kind="stable")
        top = top.drop_duplicates(["origin", "target"]).head(3)
        notes.append(
            Note(
                "areas",
                "people counted in the row of a neighbour in another district were put where they"
                f" stand on {days[reference]} (of them by an estimate): {told}",
                round(float(each["people"].sum())),
                ", ".join(
                    f"{names[one]} → {names[other]} {people:,.0f}"
                    for one, other, people in top[["origin", "target", "people"]].itertuples(
                        index=False
                    )
                ),
            )
        )
    for areas, what in (
        (
            across.undecided,
            "areas of which the figures do not say to which neighbour they were added: both have"
            " them, by likelihood",
        ),
        (
            found.left_out,
            "areas with blank figures on some days whose people stand in no neighbour's row then:"
            " they are taken to have come or left",
        ),
    ):
        if areas.size:
            notes.append(Note("areas", what, areas.size, ", ".join(map(str, names[areas[:5]]))))
    return notes

"""Polygons of districts: read, repaired in the open, matched to people by code."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
import pandas as pd

from popproj.geo.zones import metric_crs
from popproj.schema import UNASSIGNED, Fault, InputError, Note

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from pyproj import CRS

    from popproj.config import City


@dataclass(frozen=True, eq=False)
class Districts:
    """Outlines of districts in their own coordinate system.

    Parameters
    ----------
    table
        Index ``district`` (text codes as the file has them), columns ``name`` and ``geometry``
        (valid polygons and multipolygons, exterior rings anticlockwise, no heights).
    where
        The file they come from.
    notes
        What was interpreted or repaired.
    """

    table: GeoDataFrame
    where: str = "districts"
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def codes(self) -> list[str]:
        """Codes in the order of the file."""
        return [str(c) for c in self.table.index]

    @property
    def crs(self) -> CRS:
        """Coordinate system of the outlines."""
        crs: CRS = self.table.crs
        return crs

    @cached_property
    def metric_crs(self) -> CRS:
        """Coordinate system in metres: the plane rectangular zone in Japan, UTM elsewhere."""
        return metric_crs(self.table.geometry)

    @cached_property
    def area_km2(self) -> pd.Series[float]:
        """Area [km²] of each district in `metric_crs`, by code."""
        area: pd.Series[float] = self.table.geometry.to_crs(self.metric_crs).area / 1e6
        return area.rename("area_km2")


# ---- reading ----------------------------------------------------------------------------------


def read_districts(city: City) -> Districts:
    """Read the polygons that ``[districts]`` of a city file names.

    Raises
    ------
    InputError
        As `read_polygons`, and where the city file names none.
    """
    spec = city.districts
    if spec is None:
        raise InputError(
            Fault(
                "city.toml",
                "[districts] must name the file with the polygons of the districts, "
                "and is not there",
                'Add [districts] with file = "…" and code = "…".',
            )
        )
    return read_polygons(
        spec.path(city.folder),
        code=spec.code,
        name=spec.name,
        layer=spec.layer,
        encoding=spec.encoding,
        crs=spec.crs,
    )


def read_polygons(
    path: str | Path,
    *,
    code: str,
    name: str | None = None,
    layer: str | None = None,
    encoding: str | None = None,
    crs: str | None = None,
) -> Districts:
    """Read polygons of districts from any file that geopandas reads.

    Invalid polygons are repaired (`shapely.make_valid`) and listed in the notes with the change of
    their area; codes stay text with their leading zeros.

    Parameters
    ----------
    path
        GeoJSON, GeoPackage, Shapefile (also zipped), GeoParquet, …
    code, name
        Columns with the code and the name of the district; without `name` the code stands for it.
    layer
        Which one, if the file has several.
    encoding
        Of a Shapefile's text. Default: what its .cpg says, else UTF-8 or cp932, whichever fits.
    crs
        Coordinate system, if the file does not say.

    Raises
    ------
    InputError
        With every fault of the file: unreadable, no such layer or column, no coordinate system,
        codes missing or repeated, rows without a polygon, coordinates off the globe.
    """
    path = Path(path)
    table, notes = _read(path, layer, encoding)
    faults: list[Fault] = []
    where = path.name
    for key, column in (("code", code), ("name", name)):
        if column is not None and column not in table.columns:
            columns = [str(c) for c in table.columns if c != "geometry"]
            faults.append(
                Fault(
                    where,
                    f"the column {column!r} must be there, and is not",
                    f"Correct {key} under [districts] in city.toml. {_nearest(column, columns)}",
                )
            )
    table, more_notes, more_faults = _placed(table, crs, where)
    notes += more_notes
    faults += more_faults
    if code not in table.columns:
        raise InputError(faults)

    codes, more_notes = _codes(table[code], where)
    notes += more_notes
    names = codes
    if name in table.columns:
        names, more_notes = _codes(table[name], where, of="names")
        notes += more_notes
    blank = (names == "") & (codes != "")
    rows = pd.Series(
        [
            f"row {i} ({c} {n})".replace(f"({c} {c})", f"({c})")
            for i, (c, n) in enumerate(zip(codes, names, strict=True), start=1)
        ],
        dtype=object,
    )
    faults += _unkeyed(codes, rows, where)
    shapes, more_notes, more_faults = _polygons(table, rows, where)
    notes += more_notes
    faults += more_faults
    if faults:
        raise InputError(faults)
    if blank.any():
        names = np.where(blank, codes, names)
        notes.append(
            Note(
                where,
                "districts without a name are called by their code",
                int(blank.sum()),
                str(codes[blank][0]),
            )
        )
    import geopandas as gpd

    table = gpd.GeoDataFrame(
        {"name": names},
        geometry=shapes,
        index=pd.Index(codes, name="district", dtype=object),
        crs=table.crs,
    )
    return Districts(table, where, tuple(notes))


def _read(path: Path, layer: str | None, encoding: str | None) -> tuple[GeoDataFrame, list[Note]]:
    """Open the file: its rows as they stand, and what the library said while reading."""
    import geopandas as gpd
    import pyogrio

    notes: list[Note] = []
    where = path.name
    options: dict[str, Any] = {}
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise InputError(
            Fault(
                where,
                f"the file with the polygons must be in {path.parent}, and is not",
                f"Correct file under [districts] in city.toml. {_nearest(where, beside)}",
            )
        )
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            if path.suffix.lower() in (".parquet", ".geoparquet"):
                table = gpd.read_parquet(path)
            else:
                layer = _layer(path, layer)
                if path.suffix.lower() in (".shp", ".zip"):
                    sniffed, from_bytes = (encoding, False) if encoding else _dbf_encoding(path)
                    options["encoding"] = sniffed
                    if from_bytes:
                        notes.append(
                            Note(where, f"no .cpg file says the encoding; read as {sniffed}")
                        )
                # A broken ring must not hide the other faults: it comes back as no geometry.
                table = pyogrio.read_dataframe(
                    path, layer=layer, use_arrow=False, on_invalid="ignore", **options
                )
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(
            Fault(
                where,
                f"the text must be in the encoding that the file says ({error.encoding}), "
                "and is not",
                'Say encoding = "cp932" under [districts] in city.toml.',
            )
        ) from error
    except Exception as error:  # GDAL, Arrow and pyproj have no common ancestor for "unreadable"
        raise InputError(
            Fault(
                where,
                "the file must be readable as polygons, and is not",
                "Open it in a GIS and save it as GeoPackage. A Shapefile needs its .shp, .shx, "
                ".dbf and .prj side by side.",
                first=_one_line(error),
            )
        ) from error
    if "geometry" not in table.columns and not isinstance(table, gpd.GeoDataFrame):
        raise InputError(
            Fault(
                where,
                "the file must hold polygons, and holds a table without geometry",
                "Name the file with the polygons under [districts] in city.toml.",
            )
        )
    if table.geometry.name != "geometry":
        table = table.rename_geometry("geometry")
    notes += [Note(where, _one_line(w.message)) for w in heard]
    return table.reset_index(drop=True), list(dict.fromkeys(notes))


def _layer(path: Path, layer: str | None) -> str:
    """Name of the one layer with geometry, or of the one asked for."""
    import pyogrio

    layers = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    spatial = [name for name, kind in layers.items() if kind is not None]
    if layer is None and len(spatial) > 1:
        raise InputError(
            Fault(
                path.name,
                f"one layer must be meant, and the file has {len(spatial)}",
                f'Say layer = "…" under [districts] in city.toml: {", ".join(spatial)}.',
            )
        )
    if layer is not None and layer not in layers:
        raise InputError(
            Fault(
                path.name,
                f"the layer {layer!r} must be there, and is not",
                "Correct layer under [districts] in city.toml. "
                + _nearest(layer, spatial or list(layers)),
            )
        )
    return layer or (spatial or list(layers))[0]


def _dbf_encoding(path: Path) -> tuple[str | None, bool]:
    """Encoding of a Shapefile's text, and whether it had to be told from the bytes.

    GDAL takes a .dbf without .cpg for Latin-1, and Japanese offices write cp932.
    """
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            inside = {Path(n).suffix.lower(): n for n in archive.namelist()}
            if ".cpg" in inside or ".dbf" not in inside:
                return None, False
            with archive.open(inside[".dbf"]) as file:
                content = file.read(1 << 20)
    else:
        beside = {p.suffix.lower(): p for p in path.parent.glob(f"{path.stem}.*")}
        if ".cpg" in beside or ".dbf" not in beside:
            return None, False
        with beside[".dbf"].open("rb") as file:
            content = file.read(1 << 20)
    records = content[int.from_bytes(content[8:10], "little") :]
    if records.isascii():
        return "utf-8", False
    # Fixed widths cut characters in two, so a few errors are normal in the right encoding too.
    errors = {e: records.decode(e, "replace").count("\ufffd") for e in ("utf-8", "cp932")}
    return min(errors, key=errors.__getitem__), True


def _placed(
    table: GeoDataFrame, crs: str | None, where: str
) -> tuple[GeoDataFrame, list[Note], list[Fault]]:
    """Give the polygons their coordinate system, and look whether they can lie in it."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    notes: list[Note] = []
    given = None
    if crs is not None:
        try:
            given = CRS.from_user_input(crs)
        except CRSError:
            fault = Fault(
                "city.toml",
                f"[districts] crs must name a coordinate system, and {crs!r} does not",
                'Write crs = "EPSG:6668" for JGD2011 in degrees, "EPSG:6669" to "EPSG:6687" for '
                "the plane rectangular zones I to XIX.",
            )
            return table, notes, [fault]
    if table.crs is None:
        if given is None:
            fault = Fault(
                where,
                "the file must say its coordinate system, and does not",
                'Put the .prj file beside it, or say crs = "EPSG:6668" (JGD2011, degrees) under '
                "[districts] in city.toml.",
            )
            return table, notes, [fault]
        table = table.set_crs(given)
    elif given is not None and not table.crs.equals(given, ignore_axis_order=True):
        notes.append(
            Note(where, f"crs in city.toml is {crs}, the file says {table.crs.name}: the file's")
        )
    if "tokyo" in table.crs.name.lower():
        notes.append(
            Note(where, f"{table.crs.name}: shifted by a formula, without the grid; off by metres")
        )
    if table.crs.is_geographic:
        bounds = table.geometry.bounds.to_numpy()
        off = (np.abs(bounds) > np.array([180.0, 90.0, 180.0, 90.0]) + 1e-6).any(axis=1)
        if off.any():
            row = int(off.argmax())
            fault = Fault(
                where,
                f"longitude and latitude must lie on the globe ({table.crs.name} is in degrees)",
                "Longitude comes first. If the coordinates are metres, the file names the wrong "
                "coordinate system: save it again with the right one.",
                broken=int(off.sum()),
                total=len(table),
                first=f"row {row + 1}: {bounds[row, 0]:g}, {bounds[row, 1]:g}",
                unit="polygons",
            )
            return table, notes, [fault]
    return table, notes, []


def _codes(
    column: pd.Series[Any], where: str, of: str = "codes"
) -> tuple[NDArray[np.object_], list[Note]]:
    """Values as text, blanks as empty text; whole numbers without a decimal point."""
    notes = []
    blank = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        whole = np.equal(np.mod(numbers, 1), 0)
        text = np.where(
            whole, [f"{n:.0f}" for n in numbers], [f"{n!r}" for n in numbers.tolist()]
        ).astype(object)
        if of == "codes":
            notes.append(
                Note(where, f"codes in {column.name!r} are numbers: no leading zeros", len(text))
            )
    else:
        written = column.astype(object).to_numpy()
        text = np.array([str(v) for v in written], dtype=object)
        bare = np.array([v.strip() for v in text], dtype=object)
        padded = (bare != text) & ~blank
        if padded.any():
            notes.append(
                Note(
                    where,
                    f"blanks around {of} in {column.name!r} are left out",
                    int(padded.sum()),
                    repr(text[padded][0]),
                )
            )
        text = bare
    text[blank] = ""
    return text, notes


def _unkeyed(codes: NDArray[np.object_], rows: pd.Series[Any], where: str) -> list[Fault]:
    """Rows without a code, with one of another row, or with the reserved one."""
    blank = codes == ""
    twice = pd.Series(codes).duplicated(keep=False).to_numpy() & ~blank
    tests = (
        (blank, "each polygon must have a code", "Fill it in, or delete the row."),
        (
            twice,
            "each code must stand once",
            "Merge the parts of a district into one multipolygon (QGIS: 融合 / Dissolve by the "
            "code), or name a column that tells them apart.",
        ),
        (
            codes == UNASSIGNED,
            f"no district may be called {UNASSIGNED!r}: that word is for people without one",
            "Rename the code.",
        ),
    )
    return _broken(tests, rows, where)


def _broken(
    tests: Iterable[tuple[NDArray[np.bool_], str, str]], rows: pd.Series[Any], where: str
) -> list[Fault]:
    """Faults for the tests that some row fails: (which fail, what must hold, what to do)."""
    return [
        Fault(
            where,
            rule,
            remedy,
            broken=int(bad.sum()),
            total=len(rows),
            first=str(rows[bad].iloc[0]),
        )
        for bad, rule, remedy in tests
        if bad.any()
    ]


def _polygons(
    table: GeoDataFrame, rows: pd.Series[Any], where: str
) -> tuple[NDArray[np.object_], list[Note], list[Fault]]:
    """Valid polygons, with a note for each repair and faults for what cannot be one."""
    import geopandas as gpd
    import shapely

    shapes = np.asarray(table.geometry.array, dtype=object)
    notes: list[Note] = []
    missing = np.asarray(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    kinds = shapely.get_type_id(shapes)
    collection = shapely.GeometryType.GEOMETRYCOLLECTION
    polygon = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON, collection)
    other = ~np.isin(kinds, polygon) & ~missing

    tall = np.asarray(shapely.has_z(shapes))
    if tall.any():
        notes.append(Note(where, "heights of the outlines are left out", int(tall.sum())))
    # 2-D before anything else: make_valid would carry heights into new corners.
    shapes = shapely.force_2d(shapes)
    invalid = ~np.asarray(shapely.is_valid(shapes)) & ~missing & ~other
    mended = shapes.copy()
    # "structure" joins parts that overlap. The other method, "linework", cuts out what is covered
    # twice: real maps hold districts of which half is drawn a second time.
    mended[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=False)
    mixed = (shapely.get_type_id(mended) == collection) & ~missing
    mended[mixed] = [_areas_only(s) for s in mended[mixed]]
    flat = (np.asarray(shapely.area(mended)) == 0) & ~missing & ~other

    tests = (
        (missing, "each district must have a polygon", "Draw it, or delete the row."),
        (
            other,
            "each district must be a polygon, not a point or a line",
            "Name the layer or file with the outlines.",
        ),
        (flat, "each polygon must have an area", "Draw it again, or delete the row."),
    )
    faults = _broken(tests, rows, where)
    if invalid.any() and not faults and table.crs is not None:
        reasons = shapely.is_valid_reason(shapes[invalid])
        both = gpd.GeoSeries(np.concatenate([shapes[invalid], mended[invalid]]), crs=table.crs)
        metric = metric_crs(gpd.GeoSeries(mended, crs=table.crs))
        before, after = both.to_crs(metric).area.to_numpy().reshape(2, -1) / 1e6
        notes += [
            Note(
                where,
                f"{row}: the outline crossed, touched or overlapped itself ({reason}) and was "
                f"repaired; "
                f"area {old:.6f} → {new:.6f} km² ({(new - old) * 1e6:+,.1f} m²)",
            )
            for row, reason, old, new in zip(rows[invalid], reasons, before, after, strict=True)
        ]
    return canonical(mended), notes, faults


def _areas_only(shape: Any) -> Any:
    """Polygons of a mixed collection, as one."""
    import shapely

    parts = shapely.get_parts(shape)
    return shapely.union_all(parts[np.asarray(shapely.area(parts)) > 0])


def canonical(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """One way to write a polygon: flat, exterior rings anticlockwise, single parts unwrapped.

    Anticlockwise is CF's rule (and GeoJSON's); Shapefiles turn the other way.
    """
    import shapely

    shapes = np.asarray(shapely.orient_polygons(shapely.force_2d(shapes)), dtype=object)
    single = (shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON) & (
        shapely.get_num_geometries(shapes) == 1
    )
    shapes[single] = shapely.get_geometry(shapes[single], 0)
    return shapes


# ---- matching ---------------------------------------------------------------------------------


def match(districts: Districts, codes: Iterable[object]) -> tuple[Note, ...]:
    """Hold the polygons against the codes of the people.

    Parameters
    ----------
    districts
        The polygons.
    codes
        Codes of the register or the projection; `schema.UNASSIGNED` is never on the map.

    Returns
    -------
    tuple of Note
        Polygons in which nobody lives: they stay on the map, without numbers.

    Raises
    ------
    InputError
        If a code has no polygon: its people would vanish from the map without a word.
    """
    wanted = [c for c in dict.fromkeys(map(str, codes)) if c != UNASSIGNED]
    known = set(districts.codes)
    lost = [c for c in wanted if c not in known]
    if lost:
        plain = {_plain(c): c for c in districts.codes}
        near = plain.get(_plain(lost[0]))
        if near is not None:
            remedy = f"The map writes {near!r}: write codes alike, leading zeros included."
        else:
            remedy = (
                "Add the polygon, or correct the code in the areas table or [districts] code in "
                f"city.toml. {_nearest(lost[0], districts.codes)}"
            )
        raise InputError(
            Fault(
                districts.where,
                "each district with people must have a polygon",
                remedy,
                broken=len(lost),
                total=len(wanted),
                first=repr(lost[0]),
                unit="districts",
            )
        )
    empty = [c for c in districts.codes if c not in set(wanted)]
    if not empty:
        return ()
    first = f"{empty[0]} {districts.table.at[empty[0], 'name']}"
    return (Note(districts.where, "polygons in which nobody is registered", len(empty), first),)


def _plain(code: str) -> str:
    """A code without what people write differently: width of characters, zeros, case."""
    return normalize("NFKC", code).strip().casefold().lstrip("0").removesuffix(".0")


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Nearest: {', '.join(near)}."
    return f"There is: {', '.join(names[:20])}." if names else "There is nothing."


def _one_line(message: object) -> str:
    return " ".join(str(message).split()).rstrip(".")

"""The result file: one NetCDF-4 a run, CF-1.11, whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from popproj import __version__
from popproj.geo.cube import attach, from_cf, to_cf
from popproj.geo.districts import Districts
from popproj.schema import Fault, InputError, Note, describe

CONVENTIONS = "CF-1.11"
_REFERENCES = (
    "Cohort-component method: Preston, Heuveline and Guillot (2001), Demography, chapter 6."
)
_JSON = "json_attributes"

# CF wants units that UDUNITS knows, and it knows no people: a file says both.
_UDUNITS: Mapping[str, str] = {
    "people": "count",
    "people/year": "count year-1",
    "person-years": "count year",
    "1/person-year": "year-1",
    "1/year": "year-1",
}
_IN_WORDS = "units_in_words"

_COORDINATES: Mapping[str, Mapping[str, str]] = {
    "time": {"standard_name": "time", "axis": "T", "units_metadata": "leap_seconds: none"},
    "count_date": {
        "long_name": "day at whose close the people are counted",
        "units_metadata": "leap_seconds: none",
    },
    "district_name": {"long_name": "name of the district"},
    "ward": {"long_name": "code of the ward"},
    "ward_name": {"long_name": "name of the ward"},
    "age": {"units": "years"},
    "age_width": {"long_name": "width of the age, 0 for the open one", "units": "years"},
    "year": {"units": "1"},
    "quantile": {"units": "1"},
    "draw": {"units": "1"},
}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file beside and rename it: whatever happens, `path` holds the old or the new, whole.

    Yields
    ------
    Path
        Where to write. Renamed to `path` at the end, deleted after an error.

    Raises
    ------
    InputError
        If the folder cannot be written, or the old file is open in a program that locks it.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "out.txt"
    >>> with replacing(target) as beside:
    ...     _ = beside.write_text("whole", encoding="utf-8")
    >>> target.read_text(encoding="utf-8")
    'whole'
    """
    path = Path(path)
    # The suffix stays last: writers choose the format by it.
    beside = path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")
    try:
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            os.replace(beside, path)
    finally:
        # SQLite may leave a journal of what it was about to write.
        for leftover in (beside, *(Path(f"{beside}-{end}") for end in ("journal", "wal", "shm"))):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


@contextmanager
def replacing_all(folder: str | Path) -> Iterator[Path]:
    """Write the files of a run beside and rename them together, once all are complete.

    Yields
    ------
    Path
        An empty folder to write into. Its files move to `folder` at the end; after an error they
        are deleted and the old ones stay.

    Raises
    ------
    InputError
        As `replacing`.
    """
    folder = Path(folder)
    beside = folder / f".new-{uuid4().hex[:8]}"
    try:
        with _writable(beside):
            beside.mkdir(parents=True)
        yield beside
        files = {file: folder / file.name for file in sorted(beside.iterdir())}
        for old in files.values():
            # Windows locks what Excel holds open: find out before the first file has moved.
            with _writable(old), suppress(FileNotFoundError), old.open("r+b"):
                pass
        for file, old in files.items():
            with _writable(old):
                os.replace(file, old)
    finally:
        rmtree(beside, ignore_errors=True)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Say what to do when the system refuses to write."""
    try:
        yield
    except (PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            Fault(
                str(path),
                "the file and its folder must be writable, and are not",
                "Close the file if it is open in Excel or a GIS, or write to another folder.",
                first=type(error).__name__,
            )
        ) from error


def write_result(
    projection: xr.Dataset,
    districts: Districts | None,
    path: str | Path,
    *,
    compress: bool = False,
) -> Path:
    """Write a projection, with the outlines of its districts, as one NetCDF-4 file.

    The file follows CF-1.11 and is opened by ``xarray.open_dataset`` without popproj; outlines are
    a CF geometry container. People have the unit "count" there, which UDUNITS knows, and
    ``units_in_words`` says what is counted. Attributes that are neither text nor numbers are
    written as JSON and named in ``json_attributes``. The old file stays whole until the new one is.

    Parameters
    ----------
    projection
        Stocks on ``time``, flows on ``year`` [people].
    districts
        Outlines; None leaves them out (those that `projection` already has stay in).
    path
        The file; missing folders are made.
    compress
        Whether to deflate (level 1, shuffled). Fractions of people hardly shrink, and writing
        takes about 20 times as long.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If a district has no polygon or the file cannot be written.

    References
    ----------
    NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11.
    """
    dataset = describe(projection.drop_encoding())
    if districts is not None:
        dataset = attach(dataset, districts)
    dataset = to_cf(dataset)
    dataset = dataset.assign_attrs(_global_attributes(projection.attrs))
    dataset.attrs = _storable(dataset.attrs)
    encoding: dict[Any, dict[str, Any]] = {}
    for name in dataset.variables:
        if dataset[name].dtype.kind not in "biufcmM":
            dataset[name] = _text_as_objects(dataset[name])
        variable = dataset[name]
        attributes = dict(_COORDINATES.get(str(name), {})) if name in dataset.coords else {}
        attributes |= variable.attrs
        if attributes.get("units") in _UDUNITS:
            attributes |= {
                _IN_WORDS: attributes["units"],
                "units": _UDUNITS[attributes["units"]],
            }
        variable.attrs = _storable(attributes)
        encoding[name] = _encoding(variable, compress=compress)
        if name in dataset.coords:
            encoding[name]["_FillValue"] = None  # CF: coordinates have no missing values
    with replacing(path) as beside:
        dataset.to_netcdf(beside, engine="netcdf4", format="NETCDF4", encoding=encoding)
    return Path(path)


def _global_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What CF asks every file to say about itself; what is there already stays."""
    city = attributes.get("city")
    place = f" of {city}" if isinstance(city, str) and city else ""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [attributes.get("history", ""), f"{now} written by popproj {__version__}"]
    return {
        "Conventions": CONVENTIONS,
        "title": attributes.get("title", f"Population projection{place} by district"),
        "source": attributes.get("source", f"popproj {__version__}, cohort-component"),
        "references": attributes.get("references", _REFERENCES),
        "history": "\n".join(line for line in lines if line),
    }


def _storable(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Attributes as NetCDF holds them: text, numbers and lists of numbers; all else as JSON."""
    out: dict[Any, Any] = {}
    encoded = []
    for name, value in attributes.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (date, datetime)):
            out[name] = value.isoformat()
        elif isinstance(value, Path):
            out[name] = value.as_posix()
        elif _plain(value):
            out[name] = value
        else:
            out[name] = json.dumps(value, ensure_ascii=False, default=_jsonable)
            encoded.append(str(name))
    if encoded:
        out[_JSON] = " ".join(encoded)
    return out


def _plain(value: Any) -> bool:
    """Whether NetCDF holds the value as it is."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iuf"
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def _text_as_objects(array: xr.DataArray) -> xr.DataArray:
    """Text as plain Python objects: extension strings of pandas cannot be written."""
    values = array.to_numpy()
    text = np.array(["" if v is None or v != v else str(v) for v in values.flat], dtype=object)
    return array.copy(data=text.reshape(values.shape))


def _encoding(array: xr.DataArray, *, compress: bool) -> dict[str, Any]:
    """How a variable lies in the file."""
    kind = array.dtype.kind
    encoding: dict[str, Any] = {}
    if kind == "M":
        days = array.to_numpy().astype("datetime64[ns]")
        encoding |= {"units": "days since 1970-01-01", "calendar": "standard"}
        # Whole days are whole numbers; anything else keeps its fraction.
        whole = bool((days == days.astype("datetime64[D]")).all())
        encoding["dtype"] = "int32" if whole else "float64"
    if array.ndim and kind in "biufM":
        if compress:
            encoding |= {"zlib": True, "complevel": 1, "shuffle": True}
        else:
            encoding["contiguous"] = True
    return encoding


def read_result(path: str | Path) -> xr.Dataset:
    """Open a result file: numbers in memory, outlines as polygons, attributes as they were.

    Parameters
    ----------
    path
        What `write_result` wrote.

    Returns
    -------
    Dataset
        The projection; with outlines, also ``geometry`` and ``spatial_ref`` as
        `popproj.geo.cube.attach` gives them.

    Raises
    ------
    InputError
        If the file is not there or is not NetCDF.
    """
    path = Path(path)
    try:
        with xr.open_dataset(path, engine="netcdf4") as file:
            dataset = file.load()
    except (OSError, ValueError) as error:
        raise InputError(
            Fault(
                str(path),
                "the result must be a NetCDF file, and cannot be opened as one",
                "Give the result.nc of a run.",
                first=" ".join(str(error).split())[:200],
            )
        ) from error
    dataset = from_cf(dataset)
    dataset.attrs = _restored(dataset.attrs)
    for name in dataset.variables:
        attributes = _restored(dataset[name].attrs)
        if _IN_WORDS in attributes:
            attributes["units"] = attributes.pop(_IN_WORDS)
        dataset[name].attrs = attributes
    return dataset


def _restored(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Attributes with their JSON read; notes become notes again."""
    out = {k: v for k, v in attributes.items() if k != _JSON}
    for name in str(attributes.get(_JSON, "")).split():
        out[name] = json.loads(out[name])
    if isinstance(out.get("notes"), list):
        out["notes"] = tuple(
            Note(*text.split(": ", 1)) if ": " in text else Note("", text) for text in out["notes"]
        )
    return out

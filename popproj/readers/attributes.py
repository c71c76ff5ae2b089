"""Attributes of polygon files, read without the libraries that read the polygons."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from popproj.readers.files import find_encoding


def read_attributes(path: Path) -> tuple[str, dict[str, list[str]]]:
    """Attributes of a file of polygons.

    Parameters
    ----------
    path
        GeoJSON, GeoPackage or Shapefile.

    Returns
    -------
    tuple
        Layer, blank where there is only one, and the values of each attribute as text. Nothing
        where the file is of another kind or damaged: that is for the reader of maps to say.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".geojson", ".json"):
            features = json.loads(path.read_text(encoding="utf-8-sig"))["features"]
            return "", _columns_of(feature.get("properties") or {} for feature in features)
        if suffix == ".gpkg":
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as book:
                layers = [
                    r[0] for r in book.execute("SELECT table_name FROM gpkg_geometry_columns")
                ]
                quoted = layers[0].replace('"', '""')
                cursor = book.execute(f'SELECT * FROM "{quoted}"')
                names = [column[0] for column in cursor.description]
                rows = [
                    {n: v for n, v in zip(names, row, strict=True) if not isinstance(v, bytes)}
                    for row in cursor
                ]
            return layers[0] if len(layers) > 1 else "", _columns_of(rows)
        if suffix == ".shp":
            return "", _columns_of(_dbf(path.with_suffix(".dbf")))
    except (OSError, ValueError, KeyError, IndexError, TypeError, sqlite3.Error, struct.error):
        return "", {}
    return "", {}


def _columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.items():
            table.setdefault(str(name), []).append("" if value is None else str(value).strip())
    return table


def _dbf(path: Path) -> list[dict[str, str]]:
    """Attributes of a Shapefile: dBase III, fixed-width text."""
    content = path.read_bytes()
    count, start, width = struct.unpack("<IHH", content[4:12])
    fields = [
        (content[at : at + 11].split(b"\0")[0].decode("ascii", "replace"), content[at + 16])
        for at in range(32, start - 1, 32)
        if content[at] != 0x0D
    ]
    body = content[start : start + count * width]
    encoding = find_encoding(body)
    rows = []
    for number in range(count):
        at, row = number * width + 1, {}
        for name, size in fields:
            row[name] = body[at : at + size].decode(encoding, "replace").strip()
            at += size
        rows.append(row)
    return rows

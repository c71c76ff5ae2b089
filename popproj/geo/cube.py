"""Outlines in datasets: the vector data cube, and its plain form for NetCDF.

A dataset with outlines has the coordinate ``geometry`` on ``district`` and the scalar coordinate
``spatial_ref`` for the coordinate system. `to_cf` turns the two into the plain variables of a CF
geometry container, which any NetCDF reader opens; `from_cf` turns them back, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from popproj.geo.districts import Districts, canonical, match

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import CRS

_CONTAINER = "geometry_container"


def attach(dataset: xr.Dataset, districts: Districts) -> xr.Dataset:
    """Give each district of a dataset its outline, matched by code.

    Parameters
    ----------
    dataset
        With the dim ``district``.
    districts
        Polygons; `schema.UNASSIGNED` gets an empty one.

    Returns
    -------
    Dataset
        With the coordinates ``geometry`` (shapely polygons on ``district``) and ``spatial_ref``
        (a scalar whose attributes say the coordinate system).

    Raises
    ------
    InputError
        As `match`.
    """
    import shapely

    codes = [str(c) for c in dataset["district"].to_numpy()]
    match(districts, codes)
    shapes = districts.table.geometry.reindex(codes).to_numpy(dtype=object, copy=True)
    shapes[pd.isna(shapes)] = shapely.Polygon()
    return _with_geometry(dataset, ("district",), canonical(shapes), _crs_attributes(districts.crs))


def _with_geometry(
    dataset: xr.Dataset, dims: tuple[Any, ...], shapes: Any, crs: dict[str, Any]
) -> xr.Dataset:
    attributes = {"long_name": "outline of the district", "grid_mapping": "spatial_ref"}
    return dataset.assign_coords(
        geometry=xr.Variable(dims, shapes, attributes),
        spatial_ref=xr.Variable((), np.int32(0), crs),
    )


def _crs_attributes(crs: CRS) -> dict[str, Any]:
    """Attributes of a CF grid mapping; the well-known text is what is read back."""
    cf = {k: np.asarray(v) if isinstance(v, (list, tuple)) else v for k, v in crs.to_cf().items()}
    return {"long_name": "coordinate reference system", **cf}


def crs_of(dataset: xr.Dataset) -> CRS:
    """Coordinate system of a dataset with outlines."""
    from pyproj import CRS

    return CRS.from_wkt(dataset["spatial_ref"].attrs["crs_wkt"])


def to_cf(dataset: xr.Dataset) -> xr.Dataset:
    """Encode the outlines as a CF geometry container; without outlines, return it unchanged.

    Rings become nodes (``geometry_x``, ``geometry_y``), counted by ring
    (``geometry_part_node_count``, holes marked in ``geometry_interior_ring``) and by district
    (``geometry_node_count``, 0 where there is no outline). cf-xarray's encoder is not used: it
    fails on a district without an outline. Its decoder reads the result once such districts are
    left out.

    Parameters
    ----------
    dataset
        As `attach` returns it.

    References
    ----------
    CF Conventions 1.11, section 7.5.
    """
    import shapely

    if "geometry" not in dataset.coords:
        return dataset
    outline = dataset["geometry"]
    shapes = canonical(np.atleast_1d(outline.to_numpy()))
    parts, owner = shapely.get_parts(shapes, return_index=True)
    rings, part_of = shapely.get_rings(parts, return_index=True)
    nodes, ring_of = shapely.get_coordinates(rings, return_index=True)
    ring_nodes = np.bincount(ring_of, minlength=len(rings))
    node_count = np.bincount(owner[part_of[ring_of]], minlength=len(shapes))
    # The first ring of a polygon is its outer one.
    interior = np.diff(part_of, prepend=-1) == 0

    crs = crs_of(dataset)
    if crs.is_geographic:
        names = ("longitude", "degrees_east"), ("latitude", "degrees_north")
    else:
        units = crs.axis_info[0].unit_name if crs.axis_info else "metre"
        units = {"metre": "m"}.get(units, units)
        names = ("projection_x_coordinate", units), ("projection_y_coordinate", units)
    axes = [
        {"axis": axis, "standard_name": name, "units": unit, "grid_mapping": "spatial_ref"}
        for axis, (name, unit) in zip("XY", names, strict=True)
    ]
    count = "number of corners of the outline, closing one included"
    encoded = dataset.drop_vars("geometry").assign(
        geometry_container=xr.Variable(
            (),
            np.int32(0),
            {
                "long_name": "outlines of the districts",
                "geometry_type": "polygon",
                "node_coordinates": "geometry_x geometry_y",
                "node_count": "geometry_node_count",
                "part_node_count": "geometry_part_node_count",
                "interior_ring": "geometry_interior_ring",
                "grid_mapping": "spatial_ref",
                "variable_name": "geometry",  # cf-xarray's word for what the container was
            },
        ),
        geometry_node_count=xr.Variable(
            outline.dims,
            node_count.astype(np.int32).reshape(outline.shape),
            {"long_name": count, "units": "1"},
        ),
        geometry_part_node_count=xr.Variable(
            "geometry_part",
            ring_nodes.astype(np.int32),
            {"long_name": "number of corners of the ring", "units": "1"},
        ),
        geometry_interior_ring=xr.Variable(
            "geometry_part",
            interior.astype(np.int8),
            {
                "long_name": "whether the ring is a hole",
                "flag_values": np.array([0, 1], dtype=np.int8),
                "flag_meanings": "exterior interior",
            },
        ),
    )
    encoded = encoded.assign_coords(
        geometry_x=xr.Variable("geometry_node", nodes[:, 0], axes[0]),
        geometry_y=xr.Variable("geometry_node", nodes[:, 1], axes[1]),
    )
    for name in dataset.data_vars:
        if set(outline.dims) <= set(dataset[name].dims):
            encoded[name].attrs |= {"geometry": _CONTAINER, "grid_mapping": "spatial_ref"}
    # A grid mapping is no coordinate, and the container's own are its nodes: xarray would list
    # scalar coordinates on both.
    encoded[_CONTAINER].encoding["coordinates"] = None
    return encoded.reset_coords("spatial_ref")


def from_cf(dataset: xr.Dataset) -> xr.Dataset:
    """Turn a CF geometry container back into outlines; without one, return it unchanged.

    Parameters
    ----------
    dataset
        As ``xarray.open_dataset`` opens what was written after `to_cf`.

    Returns
    -------
    Dataset
        As `attach` returns it: for polygons that it has attached, `to_cf` and `from_cf` together
        change nothing.
    """
    import shapely

    if _CONTAINER not in dataset:
        return dataset
    count = dataset["geometry_node_count"]
    ring_nodes = dataset["geometry_part_node_count"].to_numpy()
    interior = dataset["geometry_interior_ring"].to_numpy().astype(bool)
    nodes = np.column_stack([dataset["geometry_x"].to_numpy(), dataset["geometry_y"].to_numpy()])

    def offsets(counts: Any) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    ring_at = offsets(ring_nodes)
    polygon_at = np.append(np.flatnonzero(~interior), len(interior))
    outline_at = np.searchsorted(ring_at[polygon_at], offsets(np.atleast_1d(count.to_numpy())))
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, nodes, (ring_at, polygon_at))
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.MULTIPOLYGON, nodes, (ring_at, polygon_at, outline_at)
    )
    size = np.diff(outline_at)
    shapes[size == 1] = polygons[outline_at[:-1][size == 1]]
    shapes[size == 0] = shapely.Polygon()

    crs = dataset["spatial_ref"].attrs
    inner = [name for name in dataset.variables if str(name).startswith("geometry_")]
    decoded = dataset.drop_vars([*inner, "spatial_ref"]).copy()
    for name in decoded.data_vars:
        for place in (decoded[name].attrs, decoded[name].encoding):
            if place.get("geometry") == _CONTAINER:
                del place["geometry"]
            if place.get("grid_mapping") == "spatial_ref":
                del place["grid_mapping"]
    shapes = shapes.reshape(count.shape) if count.ndim else shapes[0]
    return _with_geometry(decoded, count.dims, shapes, crs)


def vector_cube(dataset: xr.Dataset) -> xr.Dataset:
    """Vector data cube: the same numbers, with the outlines as their dimension.

    Districts without an outline are left out. Places are chosen by code
    (``cube.sel(district="001")``) and in space (``cube.sel(geometry=[point], method="nearest")``,
    ``cube.xvec.query("geometry", shape)``), and xvec's methods apply.

    Parameters
    ----------
    dataset
        As `attach` returns it.
    """
    import shapely
    import xvec  # noqa: F401  registers the accessor

    drawn = dataset.isel(district=~shapely.is_empty(dataset["geometry"].to_numpy()))
    cube = drawn.swap_dims(district="geometry").drop_vars("spatial_ref")
    cube["geometry"].attrs.pop("grid_mapping", None)
    indexed: xr.Dataset = cube.xvec.set_geom_indexes("geometry", crs=crs_of(dataset))
    return indexed.set_xindex("district")

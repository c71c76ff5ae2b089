"""The front door: light to open, complete, typed."""

import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import pytest

import popproj


def seconds(*arguments: str, repeats: int = 5) -> float:
    """Shortest wall time of a fresh interpreter [s]: what it costs, not what else runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def loaded_by(code: str) -> set[str]:
    shown = f"{code}\nimport sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", shown], check=True, capture_output=True, encoding="utf-8"
    )
    return set(run.stdout.split())


def test_import_costs_next_to_nothing():
    assert seconds("-c", "import popproj") - seconds("-c", "pass") < 0.1
    heavy = {"numpy", "pandas", "xarray", "numba", "geopandas", "shapely", "pydantic", "click"}
    assert not heavy & loaded_by("import popproj; dir(popproj)")


def test_help_is_quick():
    assert seconds("-m", "popproj", "--help") < 0.3
    heavy = {"numpy", "pandas", "xarray", "numba", "geopandas", "shapely", "pydantic"}
    assert not heavy & loaded_by("import popproj.cli")


@pytest.mark.parametrize("name", sorted(popproj.__all__))
def test_every_public_name_is_there(name):
    assert getattr(popproj, name) is not None
    assert name in dir(popproj)


def test_unknown_names_are_told():
    name = "projekt"
    with pytest.raises(AttributeError, match=r"no public name 'projekt'; it has .*project"):
        getattr(popproj, name)


def test_types_ship():
    assert files(popproj).joinpath("py.typed").is_file()


def test_version_is_the_package_s():
    try:
        installed = version("popproj")
    except PackageNotFoundError:
        pytest.skip("popproj runs from its source here, not installed")
    assert installed == popproj.__version__

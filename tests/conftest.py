"""What several tests need: the folder of real public data, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Compiling, and a busy machine, take their time: a slow example is not a wrong one. In CI the
# examples are the same each time, so that a change is judged and not the luck of the draw.
settings.register_profile(
    "popproj",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("popproj")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public figures that are not part of the project.

    Set POPPROJ_DATA, or keep them in ``../shared/data`` beside the checkout.
    """
    folder = Path(os.environ.get("POPPROJ_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data are not at hand: no folder {folder} (set POPPROJ_DATA)")
    return folder

"""What the README tells a reader to do works as written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from popproj import sample

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_lines_run(tmp_path, monkeypatch):
    sample.write(sample.simulate(districts=6), tmp_path)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    names: dict[str, object] = {}
    exec(code, names)
    projection = names["projection"]
    assert projection.sizes["year"] == 30  # type: ignore[attr-defined]
    assert np.isfinite(projection["population"]).all()  # type: ignore[index]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_ci_runs_the_readme_s_test_command():
    command = re.search(r"^.*pip install -e .*pytest$", TEXT, flags=re.M)
    assert command is not None
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in (".venv/bin/python -m pytest", "-e '.[test]'", "python3 -m venv .venv"):
        assert part in command[0]
        assert part in script

"""Imports point down only; heavy libraries stay in their homes. Read from the source with ast."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "popproj"

# A name is a module, or a package with all its modules. cohort and geo span several layers, so
# their modules stand one by one, and a new one must be given its place here.
LAYERS = (
    {"schema"},
    {"config"},
    {"readers", "sample", "cohort.lifetable", "cohort.kernel"}
    | {"geo.zones", "geo.districts", "geo.cube"},
    {"cohort.conventions", "cohort.split", "cohort.simple", "cohort.raking", "cohort.moves"}
    | {"cohort.books", "cohort.shrinkage", "cohort.model_life_table", "cohort.waves"}
    | {"cohort.histories"},
    {"cohort.rates", "cohort.cohort_ratios", "cohort.trend"},
    {"scenarios"},
    {"projection"},
    {"indicators"},
    {"schools", "evaluation"},
    {"geo.facilities", "geo.siting"},
    {"annual"},
    {"publish"},
    {"cli"},
    {"__main__"},
)
ALONE = {"", "cohort", "geo", "cohort.lifetable", "cohort.kernel"}  # import nothing of popproj
HOMES = {
    "numba": ("cohort",),
    "geopandas": ("geo", "publish", "sample"),
    "shapely": ("geo", "publish", "sample"),
}
NEVER = {"scipy", "tests", "calibration", "benchmarks", "examples"}


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int | None:
    rooms = {module, module.split(".")[0]}
    return next((i for i, names in enumerate(LAYERS) if rooms & names), None)


def imports(path: Path, module: str):
    """Yield line and full dotted target of every import, wherever in the file it stands."""
    package = ["popproj", *module.split(".")] if module else ["popproj"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def violations(root: Path) -> list[str]:
    paths = {name_of(path, root): path for path in sorted(root.rglob("*.py"))}
    found = []
    for module, path in paths.items():
        if module not in ALONE and layer(module) is None:
            found.append(f"{module} has no layer")
        room = module.split(".")[0]
        for line, target in imports(path, module):
            top, _, rest = target.partition(".")
            at = f"{module or '__init__'}:{line} imports {target}"
            if top in NEVER:
                found.append(f"{at}, which the engine never does")
            if top in HOMES and room not in HOMES[top]:
                found.append(f"{at}, at home in {', '.join(HOMES[top])}")
            if top != "popproj":
                continue
            # What is imported from a module is a name in it; from a package, perhaps a module.
            inner = rest if rest in paths else rest.rpartition(".")[0]
            name = rest.removeprefix(inner).lstrip(".")
            is_same_room = (layer(inner), inner.split(".")[0]) == (layer(module), room)
            is_below = (layer(inner) or 0) < (layer(module) or 0)
            if module in ALONE:
                found.append(f"{at}, and should import nothing of popproj")
            elif inner in ("", "cohort", "geo") and name != "__version__":
                found.append(f"{at}, and should import from the module itself")
            elif not (is_below or is_same_room):
                found.append(f"{at}, which is not below it")
            if inner == "cohort.kernel" and module != "projection" and not name[:1].isupper():
                found.append(f"{at}, and only projection calls the kernel")
    return found


def test_the_engine_keeps_its_layers():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("schema", "from popproj import config", "is not below it"),
        ("readers.areas", "def f():\n    from popproj.scenarios import x", "is not below it"),
        ("readers.areas", "from ..projection import project", "is not below it"),
        ("sample.people", "import popproj.cohort.lifetable as lt", "is not below it"),
        ("cohort.conventions", "from popproj.cohort import rates", "is not below it"),
        ("annual", "from popproj import publish", "is not below it"),
        ("annual", "from popproj import project", "from the module itself"),
        ("cohort.lifetable", "from popproj.schema import Fault", "nothing of popproj"),
        ("cohort.kernel", "from . import conventions", "nothing of popproj"),
        ("cohort.rates", "from popproj.cohort.kernel import step", "only projection calls"),
        ("projection", "import numba.typed", "at home in cohort"),
        ("indicators", "try:\n    from shapely import box\nexcept E: pass", "at home in geo"),
        ("cohort.split", "from scipy.optimize import nnls", "never does"),
        ("cli", "if TYPE_CHECKING:\n    import calibration.panels", "never does"),
        ("geo.roads", "", "geo.roads has no layer"),
        ("utils", "import numpy", "utils has no layer"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, module, code, told):
    for name in (*(n for names in LAYERS for n in names), module):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path.write_text(code, encoding="utf-8")
    (found,) = violations(tmp_path)
    assert told in found


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("projection", "from popproj.cohort.kernel import step\nfrom popproj.config import City"),
        ("cohort.rates", "from popproj.cohort.kernel import Shares\nimport numba"),
        ("readers.areas", "from popproj.readers import tables\nfrom . import register"),
        ("geo.districts", "import geopandas\nfrom popproj.geo.zones import metric_crs"),
        ("publish.maps", "from popproj import __version__, annual, schema"),
    ],
)
def test_what_is_allowed(tmp_path, module, code):
    for name in (*(n for names in LAYERS for n in names), "readers.tables", "readers.register"):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    assert violations(tmp_path) == []

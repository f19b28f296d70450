"""A file imports only from lower floors of docs/design.md, and some floors keep apart."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "jaxdet"
FLOORS = {
    "0": ["types", "boxes", "version"],
    "1a": ["anchors", "assign", "codec", "losses", "nms", "augment", "window", "colour"],
    "1b": ["layers", "backbones", "necks", "heads"],
    "2": ["detectors"],
    "3": ["step", "state", "optim", "schedules", "parallel", "checkpoint", "logs", "workdir"],
    "3d": ["data"],
    "3m": ["metrics"],
    "3v": ["visualize"],
    "3b": ["build"],
    "3c": ["convert"],
    "4": ["run", "train", "evaluate", "pretrained"],
    "5": ["main", "predict"],
}
MAY_IMPORT = {
    "0": {"0"},
    "1a": {"0", "1a"},
    "1b": {"0", "1b"},
    "2": {"0", "1a", "1b", "2"},
    "3": {"0", "1a", "1b", "2", "3"},
    "3d": {"0", "3d"},
    "3m": {"0", "3m"},
    "3v": {"0", "3v"},
    "3b": {"0", "1a", "1b", "2", "3b"},
    "3c": {"0", "3c"},
    "4": {"0", "1a", "1b", "2", "3", "3d", "3m", "3v", "3b", "3c", "4"},
    "5": {"0", "3", "3d", "3m", "3v", "4", "5"},
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def _imported(path: pathlib.Path) -> set[str]:
    """The first names under jaxdet that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxdet":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxdet."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("jaxdet.")}
    return names


def _name(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_lower_floors(path):
    assert _name(path) in FLOOR_OF, f"{_name(path)} has no floor in docs/design.md"
    floor = FLOOR_OF[_name(path)]
    for name in _imported(path) - {"__version__"}:
        assert FLOOR_OF[name] in MAY_IMPORT[floor], f"floor {floor} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_imports_neither_tensorflow_nor_torch_at_the_top(path):
    for node in ast.parse(path.read_text()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        assert not [n for n in names if n.split(".")[0] in ("tensorflow", "torch")]


def test_nothing_is_called_utils():
    drawers = {"utils", "misc", "common", "helpers"}
    assert not [p for p in FILES if p.stem in drawers or set(p.parent.parts) & drawers]

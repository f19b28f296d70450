"""A file imports only from lower floors of docs/design.md, and some floors keep apart."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "jaxdet"
DESIGN = PACKAGE.parent / "docs" / "design.md"


def _floors() -> dict[str, tuple[set[str], set[str]]]:
    """The table of docs/design.md: floor -> (what stands there, the floors it may import)."""
    rows = DESIGN.read_text().split("<!-- floors")[1].split("\n\n")[0].splitlines()[3:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {name: (set(files.split()), set(below.split())) for name, files, below in cells}


FLOORS = _floors()
FLOOR_OF = {name: floor for floor, (names, _) in FLOORS.items() for name in names}
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
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    return name if name in FLOOR_OF else name.split("/")[0]  # a command may lie in a folder


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_lower_floors(path):
    assert _name(path) in FLOOR_OF, f"{_name(path)} has no floor in docs/design.md"
    floor = FLOOR_OF[_name(path)]
    for name in _imported(path) - {"__version__"}:
        allowed = FLOORS[floor][1] | {floor}
        assert FLOOR_OF[name] in allowed, f"{path.name} ({floor}) imports {name}"


def test_floors_are_those_of_the_files():
    names = {_name(path) for path in FILES}
    assert set(FLOOR_OF) == names
    assert set().union(*(below for _, below in FLOORS.values())) <= set(FLOORS)


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

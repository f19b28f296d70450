"""A file imports only from lower floors of docs/design.md, and some floors keep apart."""

import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "jaxdet"
COMMAND_FOLDERS = {"anchors", "convert", "demo", "predict", "report", "runs"}
DESIGN = PACKAGE.parent / "docs" / "design.md"


def _floors() -> dict[str, tuple[set[str], set[str]]]:
    """The table of docs/design.md: floor -> (what stands there, the floors it may import)."""
    rows = DESIGN.read_text().split("<!-- floors")[1].split("\n\n")[0].splitlines()[3:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {name: (set(files.split()), set(below.split())) for name, files, below in cells}


FLOORS = _floors()
PLACES = {name: floor for floor, (names, _) in FLOORS.items() for name in names}
FILES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py" and not (path.name == "__init__.py" and not path.read_text())
)


def _place(name: str) -> str:
    """Which entry of the table a module is, such as "boxes" for "boxes/iou"."""
    parts = name.split("/")
    prefixes = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in PLACES), name)


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix("")).removesuffix("/__init__")


def _imported(path: pathlib.Path) -> set[str]:
    """The modules of jaxdet that a file imports, as paths: "boxes/iou"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxdet":
            base = node.module.split(".")[1:]
            for alias in node.names:
                whole = "/".join([*base, alias.name])
                exists = any(
                    (PACKAGE / f"{whole}{end}").exists() for end in (".py", "/__init__.py")
                )
                names.add(whole if exists else "/".join(base))
        elif isinstance(node, ast.Import):
            ours = [a.name.split(".")[1:] for a in node.names if a.name.startswith("jaxdet.")]
            names |= {"/".join(name) for name in ours}
    return names - {""}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_only_from_lower_floors(path):
    place = _place(_name(path))
    assert place in PLACES, f"{_name(path)} has no floor in docs/design.md"
    floor = PLACES[place]
    for name in _imported(path):
        other = _place(name)
        assert other in PLACES, f"{path} imports {name}, which has no floor"
        allowed = FLOORS[floor][1] | {floor}
        assert PLACES[other] in allowed, f"{_name(path)} ({floor}) imports {name}"
        if floor == "commands":
            assert PLACES[other] != "commands" or other == place, f"{place} imports {name}"


def test_floors_are_those_of_the_files():
    assert set(PLACES) == {_place(_name(path)) for path in FILES}
    assert set().union(*(below for _, below in FLOORS.values())) <= set(FLOORS)


@pytest.mark.parametrize(("folder", "other"), [("necks", "backbones"), ("heads", "necks")])
def test_a_part_of_the_network_does_not_import_another(folder, other):
    for path in (PACKAGE / folder).glob("*.py"):
        assert not [name for name in _imported(path) if name.split("/")[0] == other], path


def test_the_tree_in_the_design_is_that_of_the_folders():
    tree = DESIGN.read_text().split("<!-- tree -->")[1].split("```")[1]
    words = set(re.findall(r"\w+", tree))
    for path in FILES:
        if path.parent.name not in COMMAND_FOLDERS | {"data", "metrics"}:
            assert path.stem in words | {"__init__"}, f"{_name(path)} is not in docs/design.md"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_core_imports_neither_tensorflow_nor_torch_at_the_top(path):
    for node in ast.parse(path.read_text()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        assert not [n for n in names if n.split(".")[0] in ("tensorflow", "torch")]


def test_only_one_file_asks_which_device_there_is():
    asking = [path for path in FILES if "default_backend" in path.read_text()]
    assert [_name(path) for path in asking] == ["backend"]


def test_only_build_and_commands_read_a_config():
    """`config.x.y` outside messages and docstrings; elsewhere a recipe's values are handed over."""
    for path in FILES:
        if PLACES[_place(_name(path))] in ("build", "commands", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_config = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_config and node.value.id == "config":
                assert node.attr == "get", f"{_name(path)}:{node.lineno} reads {node.attr}"


def test_nothing_is_called_utils():
    drawers = {"utils", "misc", "common", "helpers"}
    assert not [p for p in FILES if p.stem in drawers or set(p.parent.parts) & drawers]

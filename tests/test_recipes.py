"""Recipes are found by name and by file, from any folder, and may import ours and their own."""

import shutil
import sys

import pytest
from conftest import ROOT

from jaxdet import recipes


def test_the_names_are_those_of_configs():
    files = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py")]
    assert set(recipes.names()) == {path.with_suffix("").as_posix() for path in files}
    assert {"quickstart", "freeze/pretrained"} < set(recipes.names())


@pytest.mark.parametrize(
    "text", ["quickstart", "quickstart.py", "configs/quickstart.py", "configs/quickstart"]
)
def test_a_name_is_a_recipe_of_ours_wherever_one_is(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipes.find(text) == recipes.FOLDER / "quickstart.py"
    assert recipes.read(text).model.size == 160
    (tmp_path / "configs").mkdir()
    for name in ("quickstart.py", "configs/quickstart.py", "quickstart", "configs/quickstart"):
        (tmp_path / name).write_text("def get_config():\n    return {'mine': 1}\n")
    assert recipes.read(text).to_dict() == {"mine": 1}  # a file that is there is meant


def test_every_name_can_be_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in recipes.names():
        assert recipes.read(name).model.size > 0


def test_a_copy_of_a_recipe_works_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    shutil.copy(ROOT / "configs/quickstart.py", tmp_path / "mine.py")
    copied, ours = (recipes.read(text) for text in (f"{tmp_path.name}/mine.py", "quickstart"))
    assert copied.to_dict() == ours.to_dict()


def test_somebodys_own_recipe_imports_ours_and_its_neighbours(tmp_path, monkeypatch):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "beside_it.py").write_text("SEED = 5\n")
    (folder / "first_one.py").write_text(
        "import beside_it\n"
        "from configs import quickstart\n\ndef get_config():\n"
        "    config = quickstart.get_config()\n"
        "    config.seed = beside_it.SEED\n    return config\n"
    )
    (folder / "second_one.py").write_text(
        "from configs import first_one\n"
        "from jaxdet.configs import quickstart\n\ndef get_config(purpose):\n"
        "    config = first_one.get_config()\n"
        "    assert config.model == quickstart.get_config().model\n"
        "    config.purpose = purpose\n    return config\n"
    )
    monkeypatch.chdir("/")
    config = recipes.read(f"{folder}/second_one.py:as it is")
    assert (config.seed, config.purpose, config.model.size) == (5, "as it is", 160)


def test_the_path_is_as_before(tmp_path):
    before = sys.path[:]
    (tmp_path / "bad.py").write_text("1 / 0\n")
    for text in ("quickstart", str(tmp_path / "bad.py")):
        try:
            recipes.read(text)
        except ValueError as error:
            assert str(error) == f"{text}, line 1: ZeroDivisionError: division by zero"
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quickstrat", "there is no file 'quickstrat' .*; did you mean quickstart?"),
        ("pretrained", "did you mean freeze/pretrained?"),
        ("configs/ssd300_vok.py", "did you mean ssd300_voc?"),
        (
            "elsewhere/ssd300_voc.py",
            "there is no file 'elsewhere/ssd300_voc.py' .*mean ssd300_voc?",
        ),
        ("good", "did you mean good.py?"),
        ("qqqqqq", "no recipe of that name; --help lists the names"),
        ("", "there is no file ''"),
        ("folder", "'folder' is a folder, expected a file or a name"),
        ("bare.py", "bare.py has no function get_config"),
        ("key.py", "key.py, line 2: KeyError: 'get_config'"),
        ("syntax.py", "syntax.py, line 2: SyntaxError"),
        ("name.py", "name.py, line 3: NameError: name 'nothing' is not defined"),
        ("none.py", "none.py: get_config.. returns NoneType, expected an ml_collections config"),
        ("imports.py", "imports.py, line 1: ModuleNotFoundError: No module named 'not_there'"),
        ("good.py:2", "good.py: TypeError: get_config.. takes 0 positional arguments"),
        ("lines.py", "lines.py, line 2: RuntimeError: one two"),
        ("picture.png", "picture.png.*: SyntaxError"),
    ],
)
def test_what_is_no_recipe_is_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "picture.png").write_bytes(bytes(range(256)))
    begin = "def get_config():\n"
    files = {
        "bare": "x = 1\n",
        "good": f"{begin}    return {{}}\n",
        "key": f"{begin}    return {{}}['get_config']\n",
        "syntax": "x = 1\ndef get_config(:\n",
        "name": f"\n{begin}    return nothing\n",
        "none": f"{begin}    pass\n",
        "imports": f"import not_there\n{begin}    return {{}}\n",
        "lines": f"{begin}    raise RuntimeError('one\\ntwo')\n",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.py").write_text(content)
    with pytest.raises(ValueError, match=message) as refusal:
        recipes.read(text)
    assert "\n" not in str(refusal.value)

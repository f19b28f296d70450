"""Notebooks are committed with their outputs, small, and without errors; Jupyter can run them."""

import pathlib
import shutil

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell) -> list[set[str]]:
    """The kinds of the pictures that a cell shows."""
    kinds = [set(output.get("data", ())) & {"image/png", "image/jpeg"} for output in cell.outputs]
    return [kind for kind in kinds if kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_kept_and_small(path):
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert any(pictures(cell) for cell in cells(notebook))
    outputs = [output for cell in cells(notebook) for output in cell.outputs]
    assert not [each for each in outputs if each.output_type == "error"]
    assert not [each for each in outputs if "/tmp" in str(each.get("text", ""))]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs_and_shows_as_many_pictures(path, shapes, tmp_path, monkeypatch, request):
    """In a folder of its own, as Jupyter opens it, with nothing trained before.

    Three begin with the same short training; for the time of the tests, one of them does.
    """
    (tmp_path / "tensorflow_datasets").symlink_to(shapes)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAXDET_WORKDIR", raising=False)
    if path.stem in ("detect", "finetune"):
        monkeypatch.setenv("JAXDET_WORKDIR", str(request.getfixturevalue("trained")[0]))
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(shutil.copy(path, tmp_path / "notebooks"), as_version=4)
    expected = [pictures(cell) for cell in cells(notebook)]
    where = {"metadata": {"path": str(tmp_path / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    assert [pictures(cell) for cell in cells(notebook)] == expected

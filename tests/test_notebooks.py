"""Notebooks are committed with their outputs, small, and without errors; their code runs."""

import json
import os
import pathlib

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_kept_and_small(path):
    assert path.stat().st_size < 1_000_000
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    assert not [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_code_runs(path, trained, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason="needs the extra [notebooks]")
    matplotlib.use("Agg")
    monkeypatch.setitem(os.environ, "JAXDET_WORKDIR", str(trained[0]))
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    names = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert names["found"].boxes.shape[1] == 4

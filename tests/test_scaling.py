"""docs/scaling.md has the tables that its script prints, and they are what the formulas give."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run(
        [sys.executable, "benchmarks/scaling.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_document_has_what_the_script_prints(printed):
    document = (ROOT / "docs" / "scaling.md").read_text()
    shown = document.split("<!-- scaling -->\n")[1].split("<!-- /scaling -->")[0]
    assert shown.strip() == printed.strip()


@pytest.mark.slow
def test_a_row_by_hand(printed):
    """26,285,486 parameters: 2 x 255/256 x 105.1 MB at 200 GB/s; 4 pictures of 180 GFLOP."""
    (row,) = [line for line in printed.splitlines() if line.startswith("| 1,024 |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    all_reduce = 2 * 255 / 256 * 4 * 26_285_486 / 200e9
    compute = 4 * 180e9 / (0.4 * 197e12)
    assert cells[1] == "4" and float(cells[2]) == pytest.approx(1e3 * compute, rel=1e-3)
    assert float(cells[3]) == pytest.approx(1e3 * all_reduce, abs=0.005)
    assert float(cells[6].replace(",", "")) == pytest.approx(
        1024 / (all_reduce + compute), rel=1e-3
    )
    assert cells[7] == "3,750"  # 120,000 steps of 32

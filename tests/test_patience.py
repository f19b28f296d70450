"""Early stopping, from the records of the log alone."""

import json
import math

import pytest
from conftest import train

from jaxdet.training import checkpoint, logs, patience


def records(*values, name="AP"):
    done = [{"step": 10 * i, "kind": "eval", name: v} for i, v in enumerate(values, start=1)]
    return [line for each in done for line in ({**each, "kind": "train"}, each)]


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ((), False),
        ((0.1,), False),
        ((0.1, 0.2, 0.3), False),
        ((0.3, 0.2), False),
        ((0.3, 0.2, 0.1), True),
        ((0.3, 0.2, 0.31, 0.1), False),
        ((0.3, 0.3, 0.3), True),  # as good is not better
        ((0.3, 0.2, 0.1, 0.4, 0.3), False),
        ((math.nan, 0.1), False),
        ((0.1, math.nan, math.nan), True),
    ],
)
def test_two_evaluations_without_a_better_number(values, stops):
    assert bool(patience.spent(records(*values), "AP", 2)) == stops
    assert patience.spent(records(*values), "AP", 0) is None  # never
    assert patience.spent(records(*values, name="AP50"), "AP", 2) is None  # another number


def test_the_line_says_why_and_how_to_go_on():
    assert patience.spent(records(0.1, 0.5214, 0.3, 0.2), "AP", 2) == (
        "stopped early at step 40: no better AP than 52.14 of step 20 in 2 evaluations; "
        "config.every.patience=0, or a greater number, goes on"
    )


@pytest.mark.slow
def test_a_run_stops_early_is_saved_and_stays_stopped(shapes, tmp_path):
    """With weights that hardly move, no evaluation is better than the first."""
    options = [
        "--config.schedule.peak=1e-30",
        "--config.every.evaluation=1",
        "--config.every.picture=0",
        "--config.evaluation.main=AR100",
    ]
    said = train(shapes, tmp_path, *options, "--config.every.patience=1")
    assert "stopped early at step 2: no better AR100 than " in said
    assert checkpoint.steps(tmp_path)[-1] == 2
    lines = lambda: (tmp_path / logs.METRICS).read_text()
    before = lines()
    assert [json.loads(line)["step"] for line in before.splitlines()][-1] == 2
    said = train(shapes, tmp_path, *options, "--config.every.patience=1")
    assert "stopped early at step 2" in said and lines() == before
    train(shapes, tmp_path, *options, "--config.every.patience=0", "--config.schedule.steps=3")
    assert checkpoint.steps(tmp_path)[-1] == 3
    best = checkpoint.read_description(tmp_path / "best")["best"]
    assert best["measure"].startswith("AR100 on shapes_val")

"""Rates at the steps that matter, by hand."""

import json

import numpy as np
import pytest

from jaxdet.training import schedules


def test_step_decay_is_ssds_schedule():
    rate = schedules.step_decay(
        steps=120_000, peak=1e-3, boundaries=(80_000, 100_000), warmup=500, warmup_start=1 / 3
    )
    expected = {
        0: 1e-3 / 3,
        250: 2e-3 / 3,
        500: 1e-3,
        79_999: 1e-3,
        80_000: 1e-4,
        99_999: 1e-4,
        100_000: 1e-5,
        119_999: 1e-5,
    }
    for step, value in expected.items():
        np.testing.assert_allclose(rate(step), value, rtol=1e-5, err_msg=str(step))


def test_step_decay_without_warmup_starts_at_the_peak():
    rate = schedules.step_decay(steps=10, peak=1.0, boundaries=(5,), factor=0.5)
    np.testing.assert_allclose([rate(i) for i in (0, 4, 5, 9)], [1, 1, 0.5, 0.5])


def test_cosine():
    rate = schedules.cosine(steps=110, peak=2.0, warmup=10, warmup_start=0.0)
    np.testing.assert_allclose([rate(i) for i in (0, 5, 10, 60, 110)], [0, 1, 2, 1, 0], atol=1e-6)


def test_constant_with_warmup():
    rate = schedules.constant(steps=9, peak=1.0, warmup=2, warmup_start=0.5)
    np.testing.assert_allclose([rate(i) for i in range(4)], [0.5, 0.75, 1, 1])


def test_boundary_outside_the_run_is_refused():
    with pytest.raises(ValueError, match=r"\[200\] are not between warmup \(0\) and steps \(100\)"):
        schedules.step_decay(steps=100, peak=1.0, boundaries=(50, 200))


def test_yoloxs_rate_rises_with_the_square_and_ends_flat(shared):
    stored = json.loads((shared / "golden" / "yolox" / "schedules.json").read_text())
    known, epoch = stored["learning_rate"], stored["learning_rate"]["settings"]
    epochs = lambda name: epoch[name] * epoch["iterations_per_epoch"]
    rate = schedules.yolox(
        steps=epochs("epochs"),
        peak=epoch["lr"],
        end=epoch["min_lr_ratio"],
        warmup=epochs("warmup_epochs"),
        flat=epochs("no_aug_epochs"),
    )
    found = [rate(step) for step in known["iteration"]]
    np.testing.assert_allclose(found, known["lr"], rtol=1e-6)


def test_yoloxs_rate_by_hand():
    rate = schedules.yolox(steps=100, peak=1.0, end=0.1, warmup=10, flat=20)
    np.testing.assert_allclose(
        [rate(i) for i in (0, 5, 10, 45, 80, 99)], [0, 0.25, 1, 0.55, 0.1, 0.1], rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"warmup \(80\) and schedule.flat \(20\) leave none"):
        schedules.yolox(steps=100, peak=1.0, warmup=80, flat=20)

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


def test_shares_of_the_steps_keep_the_shape():
    for steps, at in (120_000, (80_000, 100_000)), (60_000, (40_000, 50_000)), (6, (4, 5)):
        rate = schedules.step_decay(
            steps=steps, peak=1.0, boundaries=(2 / 3, 5 / 6), warmup=0.25, warmup_start=0.5
        )
        warm = round(steps / 4)
        np.testing.assert_allclose(
            [rate(i) for i in (0, warm, at[0] - 1, at[0], at[1] - 1, at[1])],
            [0.5, 1, 1, 0.1, 0.1, 0.01],
            rtol=1e-5,
        )


def test_shares_that_fall_on_one_step_count_twice():
    rate = schedules.step_decay(steps=1, peak=1.0, boundaries=(2 / 3, 5 / 6))
    np.testing.assert_allclose([rate(0), rate(1)], [1, 0.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(boundaries=(0.9, 0.5)), r"boundaries is \(0.9, 0.5\), expected rising"),
        (dict(boundaries=(50, 50)), "expected rising"),
        (dict(boundaries=(1.5,)), "is 1.5, expected a share of the steps, below 1, or a whole"),
        (dict(boundaries=(), warmup=100), "warmup is 100 steps and config.schedule.steps 100"),
        (dict(boundaries=(0.05,), warmup=0.1), r"\[5\] are not between warmup \(10\)"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        schedules.step_decay(steps=100, peak=1.0, **options)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_a_run_that_would_end_within_its_warmup_is_refused(name):
    getattr(schedules, name)(steps=101, peak=1.0, warmup=100)
    with pytest.raises(ValueError, match="would end before the rate reaches its peak"):
        getattr(schedules, name)(steps=100, peak=1.0, warmup=100)


def test_epochs_are_rounded_up():
    for epochs, expected in (1, 4), (0.5, 2), (12, 38), (1e-9, 1):
        assert schedules.from_epochs(epochs, images=25, batch_size=8) == expected


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

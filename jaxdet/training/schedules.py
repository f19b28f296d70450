"""Learning-rate schedules: `schedule.name` in a recipe names a function in this file.

Each takes the number of steps and the peak rate, warms up linearly from `warmup_start * peak`
over `warmup` steps, and returns a function of the step. The rate is for the update at that
step: step 0 is the first update.

`warmup`, `boundaries` and `flat` are shares of the steps if below 1, else whole numbers of steps:
with shares, `--config.schedule.steps=60000` alone shortens a run and keeps its shape. On the
command line a key keeps the type that it has in the recipe. A float takes both (`warmup=0.01`,
`warmup=500`), so `warmup` is one in our recipes; a tuple takes both anyway.
"""

from collections.abc import Mapping
from typing import Any

import optax

SHARES = ("warmup", "boundaries", "flat")  # the keys that can be shares of the steps


def in_steps(value: float, steps: int, *, key: str) -> int:
    """A share of `steps` (below 1), or a whole number of steps, as a number of steps.

    ValueError, naming `key`, for any other number.
    """
    if value < 1:
        return round(value * steps)
    if value != int(value):
        raise ValueError(
            f"config.{key} is {value:g}, expected a share of the steps, below 1, or a "
            "whole number of steps"
        )
    return int(value)


def all_in_steps(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The block `schedule` of a recipe, plain JSON values, with shares as numbers of steps."""

    def converted(key: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [converted(key, each) for each in value]
        return in_steps(value, schedule["steps"], key=f"schedule.{key}")

    return {k: converted(k, v) if k in SHARES else v for k, v in schedule.items()}


def from_epochs(epochs: float, *, images: int, batch_size: int) -> int:
    """The steps in which `epochs` times `images` are seen, rounded up."""
    return max(1, -int(-epochs * images // batch_size))


def step_decay(
    *,
    steps: int,
    peak: float,
    boundaries: tuple[float, ...],
    factor: float = 0.1,
    warmup: float = 0,
    warmup_start: float = 1 / 3,
) -> optax.Schedule:
    """The rate is multiplied by `factor` at each boundary (SSD paper, section 3.1).

    ValueError unless the boundaries rise and lie between the warm-up and the end.
    """
    warmup_steps = in_steps(warmup, steps, key="schedule.warmup")
    at = [in_steps(boundary, steps, key="schedule.boundaries") for boundary in boundaries]
    late = [b for b in at if not warmup_steps <= b <= steps]
    if late:
        raise ValueError(
            f"schedule.boundaries: {late} are not between warmup ({warmup_steps}) and steps "
            f"({steps}); shares of the steps, such as 0.75, follow them"
        )
    if at != sorted(at) or len(set(boundaries)) < len(boundaries):
        raise ValueError(f"config.schedule.boundaries is {boundaries}, expected rising numbers")
    scales: dict[int, float] = {}
    for boundary in at:  # of a run of a few steps, two shares can be the same step
        scales[boundary - warmup_steps] = scales.get(boundary - warmup_steps, 1.0) * factor
    decay = optax.piecewise_constant_schedule(peak, scales)
    return _warm_up(decay, steps, peak=peak, warmup=warmup_steps, warmup_start=warmup_start)


def cosine(
    *, steps: int, peak: float, end: float = 0.0, warmup: float = 0, warmup_start: float = 1 / 3
) -> optax.Schedule:
    """Half a cosine from the peak to `end * peak` (Loshchilov and Hutter 2017, section 3)."""
    warmup = in_steps(warmup, steps, key="schedule.warmup")
    decay = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=end)
    return _warm_up(decay, steps, peak=peak, warmup=warmup, warmup_start=warmup_start)


def yolox(
    *, steps: int, peak: float, end: float = 0.05, warmup: float = 0, flat: float = 0
) -> optax.Schedule:
    """The rate rises with the square of the step for `warmup` steps, from 0, falls along half a
    cosine to `end * peak`, and stays there for the last `flat` steps (YOLOX's `yoloxwarmcos`).

    ValueError unless the warm-up and the flat part leave a step.
    """
    warmup, flat = (
        in_steps(value, steps, key=f"schedule.{key}")
        for key, value in (("warmup", warmup), ("flat", flat))
    )
    if warmup + flat >= steps:
        raise ValueError(
            f"schedule.warmup ({warmup}) and schedule.flat ({flat}) leave none of the {steps} steps"
        )
    rise = lambda step: peak * (step / max(warmup, 1)) ** 2
    decay = optax.cosine_decay_schedule(peak, steps - warmup - flat, alpha=end)
    return optax.join_schedules([rise, decay], [warmup])


def constant(
    *, steps: int, peak: float, warmup: float = 0, warmup_start: float = 1 / 3
) -> optax.Schedule:
    """The peak rate until the end."""
    decay = optax.constant_schedule(peak)
    warmup = in_steps(warmup, steps, key="schedule.warmup")
    return _warm_up(decay, steps, peak=peak, warmup=warmup, warmup_start=warmup_start)


def _warm_up(decay, steps, *, peak, warmup, warmup_start) -> optax.Schedule:
    if not warmup:
        return decay
    if warmup >= steps:
        raise ValueError(
            f"config.schedule.warmup is {warmup} steps and config.schedule.steps {steps}: the run "
            "would end before the rate reaches its peak; a share of the steps, such as 0.01, "
            "follows them"
        )
    rise = optax.linear_schedule(peak * warmup_start, peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])

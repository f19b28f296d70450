"""Learning-rate schedules: `schedule.name` in a recipe names a function in this file.

Each takes the number of steps and the peak rate, warms up linearly from `warmup_start * peak`
over `warmup` steps, and returns a function of the step. The rate is for the update at that
step: step 0 is the first update.
"""

import optax


def step_decay(
    *,
    steps: int,
    peak: float,
    boundaries: tuple[int, ...],
    factor: float = 0.1,
    warmup: int = 0,
    warmup_start: float = 1 / 3,
) -> optax.Schedule:
    """The rate is multiplied by `factor` at each boundary (SSD paper, section 3.1)."""
    late = [b for b in boundaries if not warmup <= b <= steps]
    if late:
        raise ValueError(
            f"schedule.boundaries: {late} are not between warmup ({warmup}) and steps ({steps})"
        )
    decay = optax.piecewise_constant_schedule(peak, {b - warmup: factor for b in boundaries})
    return _warm_up(decay, peak=peak, warmup=warmup, warmup_start=warmup_start)


def cosine(
    *, steps: int, peak: float, end: float = 0.0, warmup: int = 0, warmup_start: float = 1 / 3
) -> optax.Schedule:
    """Half a cosine from the peak to `end * peak` (Loshchilov and Hutter 2017, section 3)."""
    decay = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=end)
    return _warm_up(decay, peak=peak, warmup=warmup, warmup_start=warmup_start)


def yolox(
    *, steps: int, peak: float, end: float = 0.05, warmup: int = 0, flat: int = 0
) -> optax.Schedule:
    """The rate rises with the square of the step for `warmup` steps, from 0, falls along half a
    cosine to `end * peak`, and stays there for the last `flat` steps (YOLOX's `yoloxwarmcos`).

    ValueError unless the warm-up and the flat part leave a step.
    """
    if warmup + flat >= steps:
        raise ValueError(
            f"schedule.warmup ({warmup}) and schedule.flat ({flat}) leave none of the {steps} steps"
        )
    rise = lambda step: peak * (step / max(warmup, 1)) ** 2
    decay = optax.cosine_decay_schedule(peak, steps - warmup - flat, alpha=end)
    return optax.join_schedules([rise, decay], [warmup])


def constant(
    *, steps: int, peak: float, warmup: int = 0, warmup_start: float = 1 / 3
) -> optax.Schedule:
    """The peak rate until the end."""
    del steps
    decay = optax.constant_schedule(peak)
    return _warm_up(decay, peak=peak, warmup=warmup, warmup_start=warmup_start)


def _warm_up(decay, *, peak, warmup, warmup_start) -> optax.Schedule:
    if not warmup:
        return decay
    rise = optax.linear_schedule(peak * warmup_start, peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])

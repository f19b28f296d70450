"""One training step: augment, forward, backward, update; a pure function of state and batch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jaxdet.training import freezing, parallel
from jaxdet.training.state import TrainState
from jaxdet.types import Batch, Detector, Losses, Objects

# (key, batch) -> pixels, objects, and the part of each input that is image
View = Callable[[jax.Array, Batch], tuple[jax.Array, Objects, jax.Array]]


def train_step(
    detector: Detector,
    tx: optax.GradientTransformation,
    view: View,
    *,
    frozen: Sequence[str] = (),
    accumulate: int = 1,
    ema_decay: float = 0.0,
    ema_ramp: int = 0,
    late_losses: Sequence[str] = (),
    late_from: int = 0,
    norm_groups: int = 1,
) -> Callable[[TrainState, Batch, ArrayLike], tuple[TrainState, dict[str, jax.Array]]]:
    """The step as a function (state, batch, seed) -> (state, scalars).

    View and network draw random numbers from `fold_in(seed, step)`, so a resumed run gives the same
    results. The seed is an argument so that all seeds share a compiled program.

    Args:
      view: augments a batch on the device.
      frozen: patterns of parameter paths whose weights and batch statistics do not change.
      accumulate: micro-batches per update; their gradients add up to that of the whole batch
        (BatchNorm sees one micro-batch at a time).
      ema_decay: decay of the moving average in `state.ema`; 0 for none.
      ema_ramp: the decay of update n is (1 - exp(-n / ema_ramp)) times that; 0 for all of it.
      late_losses: names of losses that count only from step `late_from` on, counted from 1; before,
        they are 0.
      norm_groups: equal parts of the batch that BatchNorm normalises separately.
    """

    def step(
        state: TrainState, batch: Batch, seed: ArrayLike
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        def losses_of(params, batch_stats, key, pixels, objects, inside):
            variables = {"params": params, "batch_stats": batch_stats}
            with freezing.freeze_statistics(frozen), parallel.norm_in_groups(norm_groups):
                losses, stats = detector.loss(variables, pixels, objects, key=key, inside=inside)
            return _without(losses, late_losses, unless=state.step + 1 >= late_from), stats

        view_key, loss_key = step_keys(seed, state.step)
        whole = (loss_key, *view(view_key, batch))
        params, batch_stats = state.variables["params"], state.variables["batch_stats"]
        mask = freezing.frozen_mask(params, frozen)
        gradients, batch_stats, scalars = _gradients(
            losses_of, params, batch_stats, whole, mask=mask, accumulate=accumulate
        )
        # With zero gradient and zero weight the optimiser neither moves nor accumulates anything.
        thawed = jax.tree.map(lambda p, f: jnp.zeros_like(p) if f else p, params, mask)
        updates, optimiser = tx.update(gradients, state.optimiser, thawed)
        variables = {"params": optax.apply_updates(params, updates), "batch_stats": batch_stats}
        ema = state.ema
        if ema is not None:
            decay = ema_decay * (1 - jnp.exp(-(state.step + 1) / ema_ramp) if ema_ramp else 1)
            ema = jax.tree.map(lambda e, v: e + (1 - decay) * (v - e), ema, variables)
        scalars["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(state.step + 1, variables, optimiser, ema), scalars

    return step


def step_keys(seed: ArrayLike, step: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The random keys for the view and the network at a step, counted from 0."""
    view_key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return view_key, loss_key


def programs(
    detector: Detector,
    tx: optax.GradientTransformation,
    view_at: Callable[[int, int], View],
    mesh: Mesh,
    *,
    seed: int,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    ema_ramp: int = 0,
    late_losses: tuple[str, ...] = (),
    late_from: int = 0,
    synchronised: bool = True,
    frozen: tuple[str, ...] = (),
    unfreeze_at: int = 0,
    sizes: tuple[int, ...] = (),
    resize_every: int = 10,
) -> Callable[[int], Callable]:
    """Maps step numbers, from 1, to compiled steps; one is compiled per view and freezing.

    A step is that of `train_step`, with the same `seed` as here for all.

    Args:
      view_at: the view for an input size in pixels and a step number; the same object for steps
        that augment alike.
      synchronised: whether BatchNorm sees the batch of all devices, or only that of its own.
      frozen: as in `train_step`, but only until step `unfreeze_at` if that is not 0.
      sizes: input sides, of which one is drawn every `resize_every` steps; empty for the
        detector's own.
    """
    if resize_every < 1:
        raise ValueError(f"step.resize_every is {resize_every}, expected at least 1")
    options = dict(accumulate=accumulate, ema_decay=ema_decay, ema_ramp=ema_ramp)
    options.update(late_losses=late_losses, late_from=late_from)
    options["norm_groups"] = 1 if synchronised else mesh.size

    @functools.cache
    def compiled(view: View, frozen: tuple[str, ...]) -> Callable:
        step = train_step(detector, tx, view, frozen=frozen, **options)
        return parallel.pmap(step, mesh, donate=True, replicated=1)

    def program(number: int) -> Callable:
        size = size_at(number, sizes, every=resize_every, seed=seed) or detector.size
        thawed = unfreeze_at and number > unfreeze_at
        return compiled(view_at(size, number), () if thawed else frozen)

    return program


def size_at(number: int, sizes: tuple[int, ...], *, every: int, seed: int) -> int | None:
    """The input side at step `number`: one of `sizes`, drawn at random every `every` steps.

    YOLO9000's multi-scale training (Redmon and Farhadi 2016, arXiv:1612.08242, section 2). It
    depends only on seed and step, so a resumed run draws the same. None if there are no `sizes`.
    """
    block = (number - 1) // every
    return int(np.random.default_rng([seed, block]).choice(sizes)) if sizes else None


def _without(losses: Losses, late: Sequence[str], *, unless: jax.Array) -> Losses:
    """The losses, with zeros for those that are `late`, `unless` these count already.

    ValueError if there is no loss of such a name.
    """
    unknown = [name for name in late if name not in losses]
    if unknown:
        raise ValueError(
            f"config.step.late_losses: there is no loss {unknown[0]!r}; this detector has "
            f"{', '.join(losses)}"
        )
    at = lambda name, total: jnp.where(unless, total, 0) if name in late else total
    return {name: (at(name, total), count) for name, (total, count) in losses.items()}


def divide(losses: Losses, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Divides every loss by its count; the only place where losses are divided."""
    return {name: total / jnp.maximum(counts[name], 1.0) for name, (total, _) in losses.items()}


def _gradients(losses_of, params, batch_stats, whole, *, mask, accumulate):
    """The gradient of the losses summed over micro-batches, the batch statistics, the scalars.

    `whole` is the batch as `losses_of` takes it, the key first; `mask` is True at frozen
    parameters, whose gradient is zero.
    """

    def total(params, batch_stats, counts, micro):
        params = jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, mask)
        losses, batch_stats = losses_of(params, batch_stats, *micro)
        means = divide(losses, counts or {name: count for name, (_, count) in losses.items()})
        return sum(means.values()), (means, batch_stats)

    if accumulate == 1:
        grad = jax.value_and_grad(total, has_aux=True)
        (loss, (means, batch_stats)), gradients = grad(params, batch_stats, None, whole)
        return gradients, batch_stats, {"loss": loss, **means}

    key, *images = whole
    # Micro-batch i takes every accumulate-th image, so that each stays spread over the devices.
    micros = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), images)
    micros = (jax.random.split(key, accumulate), *micros)
    # The losses are divided by counts over the whole batch, so these come first. For detectors
    # whose targets do not depend on the network, the compiler drops this forward pass.
    count = jax.lax.map(
        lambda micro: {n: c for n, (_, c) in losses_of(params, batch_stats, *micro)[0].items()},
        micros,
    )
    counts = jax.tree.map(lambda c: c.sum(), count)

    def body(carry, micro):
        gradients, batch_stats = carry
        grad = jax.value_and_grad(total, has_aux=True)
        (loss, (means, batch_stats)), new = grad(params, batch_stats, counts, micro)
        return (jax.tree.map(jnp.add, gradients, new), batch_stats), {"loss": loss, **means}

    zeros: Any = jax.tree.map(jnp.zeros_like, params)
    (gradients, batch_stats), scalars = jax.lax.scan(body, (zeros, batch_stats), micros)
    return gradients, batch_stats, jax.tree.map(lambda s: s.sum(), scalars)

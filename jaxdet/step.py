"""One training step: augment, forward, backward, update; a pure function of state and batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdet import optim
from jaxdet.detectors.detector import Detector, Losses
from jaxdet.state import TrainState
from jaxdet.types import Batch, Objects

View = Callable[[jax.Array, Batch], tuple[jax.Array, Objects]]  # (key, batch) -> pixels, objects


def train_step(
    detector: Detector,
    tx: optax.GradientTransformation,
    view: View,
    *,
    seed: int,
    frozen: Sequence[str] = (),
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The step as a function (state, batch) -> (state, scalars).

    Args:
      view: augments a batch on the device, keyed by `fold_in(seed, step)`, so that a resumed run
        repeats itself.
      frozen: patterns of parameter paths whose weights and batch statistics stay as they are.
      accumulate: micro-batches per update; their gradients add up to that of the whole batch
        (BatchNorm sees a micro-batch at a time).
      ema_decay: of the moving average in `state.ema`; 0 for none.
    """

    def losses_of(params, batch_stats, pixels, objects):
        variables = {"params": params, "batch_stats": batch_stats}
        with optim.freeze_statistics(frozen):
            return detector.loss(variables, pixels, objects)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        pixels, objects = view(key, batch)
        params, batch_stats = state.variables["params"], state.variables["batch_stats"]
        gradients, batch_stats, scalars = _gradients(
            losses_of, params, batch_stats, pixels, objects, frozen=frozen, accumulate=accumulate
        )
        updates, optimiser = tx.update(gradients, state.optimiser, params)
        variables = {"params": optax.apply_updates(params, updates), "batch_stats": batch_stats}
        ema = state.ema
        if ema is not None:
            ema = optax.incremental_update(variables, ema, 1.0 - ema_decay)
        scalars["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(state.step + 1, variables, optimiser, ema), scalars

    return step


def divide(losses: Losses, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Every loss over its count; the one place where losses are divided."""
    return {name: total / jnp.maximum(counts[name], 1.0) for name, (total, _) in losses.items()}


def _gradients(losses_of, params, batch_stats, pixels, objects, *, frozen, accumulate):
    """The gradient of the summed losses of all micro-batches, the statistics, the scalars."""

    def total(params, batch_stats, counts, micro):
        if frozen:
            mask = optim.frozen_mask(params, frozen)
            params = jax.tree.map(lambda p, f: jax.lax.stop_gradient(p) if f else p, params, mask)
        losses, batch_stats = losses_of(params, batch_stats, *micro)
        means = divide(losses, counts or {name: count for name, (_, count) in losses.items()})
        return sum(means.values()), (means, batch_stats)

    if accumulate == 1:
        grad = jax.value_and_grad(total, has_aux=True)
        (loss, (means, batch_stats)), gradients = grad(params, batch_stats, None, (pixels, objects))
        return gradients, batch_stats, {"loss": loss, **means}

    # Micro-batch i takes every accumulate-th picture, so that each stays spread over the devices.
    micros = jax.tree.map(
        lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), (pixels, objects)
    )
    # What to divide by is known only over the whole batch, so it is counted first. For detectors
    # whose targets do not depend on the network, the compiler drops the forward pass here.
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

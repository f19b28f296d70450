"""Optimisers: `optimiser.name` in a recipe names a function in this file."""

import optax


def sgd(
    rate: optax.Schedule, *, momentum: float = 0.9, weight_decay: float = 0.0, clip_norm: float = 0
) -> optax.GradientTransformation:
    """SGD with momentum, and weight decay added to the gradient of every parameter (as in PyTorch).

    `clip_norm` > 0 clips the global norm of the gradient first.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(rate),
    )


def adamw(
    rate: optax.Schedule, *, weight_decay: float = 1e-4, clip_norm: float = 0
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.adamw(rate, weight_decay=weight_decay),
    )

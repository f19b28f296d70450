"""Optimisers: `optimiser.name` in a recipe names a function in this file."""

from typing import Any

import jax
import optax


def sgd(
    rate: optax.Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_kernels_only: bool = False,
    clip_norm: float = 0,
) -> optax.GradientTransformation:
    """SGD with momentum, and weight decay added to the gradient of every parameter (as in PyTorch).

    `clip_norm` > 0 clips the global norm of the gradient first. With `decay_kernels_only` biases
    and what BatchNorm learns do not decay (He et al. 2019, arXiv:1812.01187, section 3.1; YOLOX).
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.add_decayed_weights(weight_decay, _kernels if decay_kernels_only else None),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(rate),
    )


def adamw(
    rate: optax.Schedule,
    *,
    weight_decay: float = 1e-4,
    decay_kernels_only: bool = False,
    clip_norm: float = 0,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019); `decay_kernels_only` and `clip_norm` as in `sgd`."""
    mask = _kernels if decay_kernels_only else None
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.adamw(rate, weight_decay=weight_decay, mask=mask),
    )


def _kernels(params: Any) -> Any:
    """A tree like `params`, True at kernels."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

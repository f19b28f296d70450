"""The state that training carries from step to step, and that checkpoints store."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that one step changes. Randomness is not here: it is `fold_in(seed, step)`."""

    step: jax.Array  # [] int32, number of updates done
    variables: dict[str, Any]  # {"params": ..., "batch_stats": ...}
    optimiser: optax.OptState
    ema: dict[str, Any] | None  # moving average of `variables`, or None

    @property
    def best_variables(self) -> dict[str, Any]:
        """The variables to evaluate and to use: the moving average if there is one."""
        return self.variables if self.ema is None else self.ema


def create(variables: dict[str, Any], tx: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """The state before the first step."""
    variables = {"batch_stats": {}, **variables}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        variables=variables,
        optimiser=tx.init(variables["params"]),
        ema=jax.tree.map(jnp.copy, variables) if ema else None,
    )

"""Normalisations: `norm="NAME"` in a recipe selects what this file defines as NAME."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers import batch_norm as maths


class BatchNorm(nn.Module):
    """Batch normalisation as in PyTorch (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Unlike in `nn.BatchNorm`, the running variance follows the unbiased variance of the batch. The
    batch is the global one: under `jit` over a mesh sums include all devices automatically, so no
    axis is named. Statistics are float32, or float64 if the input is. With `groups`, that many
    equal parts of the batch are normalised separately, and the running statistics follow the mean
    of theirs, as when devices are not synchronised.
    """

    momentum: float = 0.9  # share of the old statistics; PyTorch's momentum is 1 - this
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int = 1) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            y, mean, var = self._normalise_parts(x, scale, bias, running_mean.value, groups)
            if not self.is_initializing():
                n = x.size // x.shape[-1] // groups
                self._update(running_mean, mean)
                self._update(running_var, var * (n / max(n - 1, 1)))
            return y
        factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
        return maths.affine(x, running_mean.value, factor, bias)

    def _normalise_parts(self, x, scale, bias, near_mean, groups):
        if groups == 1:  # without the extra axis, which costs a tenth of a step on a CPU
            return maths.normalise(x, scale, bias, near_mean, self.epsilon)
        parts = x.reshape(groups, -1, *x.shape[1:])
        each = jax.vmap(lambda part: maths.normalise(part, scale, bias, near_mean, self.epsilon))
        y, mean, var = each(parts)
        return y.reshape(x.shape), mean.mean(0), var.mean(0)

    def _update(self, running: nn.Variable, new: jax.Array) -> None:
        running.value = self.momentum * running.value + (1 - self.momentum) * new


batch_norm = BatchNorm

# Used by the SSDLites of TensorFlow's object detection API, mmdetection and torchvision.
slow_batch_norm = functools.partial(BatchNorm, momentum=0.97, epsilon=1e-3)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed numbers: (x - mean) / sqrt(var + epsilon) * scale + bias.

    For networks that are finetuned in batches too small for statistics, such as Faster R-CNN's
    (He et al. 2016, arXiv:1512.03385, appendix A). All four arrays are batch statistics, and so
    take no gradient and no decay; they never change, whatever `train` is. The ResNet-50 of
    torchvision's Faster R-CNN has an `epsilon` of 0.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        fixed = {"scale": jnp.ones, "bias": jnp.zeros, "mean": jnp.zeros, "var": jnp.ones}
        scale, bias, mean, var = (
            jax.lax.stop_gradient(self.variable("batch_stats", name, start, (x.shape[-1],)).value)
            for name, start in fixed.items()
        )
        return maths.affine(x, mean, scale * jax.lax.rsqrt(var + self.epsilon), bias)


frozen_batch_norm = FrozenBatchNorm

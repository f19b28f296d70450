"""The network of a one-stage detector: backbone, neck and head in sequence."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxdet.types import Array, Raw


def parts_of(net: type[nn.Module] | nn.Module) -> tuple[str, ...]:
    """The names of a network's parts in the order in which they run: its fields that are modules.

    They are also the first names in the paths of its parameters.
    """
    return tuple(field.name for field in dataclasses.fields(net) if field.type is nn.Module)


class Net(nn.Module):
    """Maps pixels to raw predictions; parameter paths read backbone/..., neck/..., head/....

    Pixels are RGB in 0..255 and normalised here, `(x - mean) / scale`. The layers compute in
    `dtype`; the normalisation and the outputs are at least float32.
    """

    backbone: nn.Module
    neck: nn.Module
    head: nn.Module
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    dtype: DTypeLike = jnp.float32

    def __call__(self, pixels: Array, *, train: bool) -> Raw:
        """Raw predictions for `pixels` [B, H, W, 3]; `train` is for BatchNorm and dropout."""
        # Boxes, logits and, for a YOLO, objectness.
        raw = self.head(self.maps(pixels, train=train), train=train)
        return Raw(*(x.astype(self._full) for x in raw))

    def maps(self, pixels: Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The maps that the head sees, fine to coarse."""
        mean = jnp.array(self.mean, self._full).reshape(1, 1, 1, 3)
        scale = jnp.array(self.scale, self._full).reshape(1, 1, 1, 3)
        x = (jnp.asarray(pixels, self._full) - mean) / scale
        return self.neck(self.backbone(x.astype(self.dtype), train=train), train=train)

    @property
    def _full(self) -> DTypeLike:
        """`dtype`, or float32 if that is more precise."""
        return jnp.promote_types(self.dtype, jnp.float32)


class InSequence(nn.Module):
    """Several necks, one after the other; their parameters are under `names`."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        for name, module in zip(self.names, self.modules, strict=True):
            maps = module.clone(parent=self, name=name)(maps, train=train)
        return maps

"""The networks of detectors: backbone and neck, then the head, or those of two stages."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxdet import backend
from jaxdet.types import Array, Raw, Shape, Variables

Grids = tuple[tuple[int, int], ...]  # rows and columns of every map


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
        return Raw(*(x.astype(_full(self.dtype)) for x in raw))

    def maps(self, pixels: Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The maps that the head sees, fine to coarse."""
        return _maps(self, pixels, train=train)


class RegionNet(nn.Module):
    """The network of a two-stage detector: parameter paths read backbone/..., neck/...,
    rpn_head/..., roi_head/....

    Pixels and precision are as in `Net`. Between the stages are functions without parameters
    (`two_stage.py`).
    """

    backbone: nn.Module
    neck: nn.Module
    rpn_head: nn.Module
    roi_head: nn.Module
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    dtype: DTypeLike = jnp.float32

    def maps(self, pixels: Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """The maps that the first stage sees, fine to coarse."""
        return _maps(self, pixels, train=train)

    def find(self, maps: tuple[jax.Array, ...], *, train: bool) -> Raw:
        """What the first stage predicts for every anchor: a box and one logit, [B, A, ...]."""
        return Raw(*(x.astype(_full(self.dtype)) for x in self.rpn_head(maps, train=train)))

    def classify(self, regions: jax.Array, *, train: bool) -> Raw:
        """What the second stage predicts for regions [B, R, h, w, C]: boxes [B, R, K, 4], logits
        [B, R, K + 1]."""
        count, rows = regions.shape[:2]
        found = self.roi_head(regions.reshape(-1, *regions.shape[2:]), train=train)
        found = (x.reshape(count, rows, *x.shape[1:]) for x in found)
        return Raw(*(x.astype(_full(self.dtype)) for x in found))


def _maps(net: Net | RegionNet, pixels: Array, *, train: bool) -> tuple[jax.Array, ...]:
    full = _full(net.dtype)
    mean, scale = (jnp.array(x, full).reshape(1, 1, 1, 3) for x in (net.mean, net.scale))
    x = (jnp.asarray(pixels, full) - mean) / scale
    return net.neck(net.backbone(x.astype(net.dtype), train=train), train=train)


def _full(dtype: DTypeLike) -> DTypeLike:
    """`dtype`, or float32 if that is more precise."""
    return jnp.promote_types(dtype, jnp.float32)


def fresh_variables(net: nn.Module, run: Callable, shape: Shape, key: jax.Array) -> Variables:
    """Freshly initialised variables; `run(net, pixels)` goes through all layers."""
    pixels = jnp.zeros((1, *shape, 3), jnp.float32)
    with backend.lowering_for("portable"):  # what is computed of the pixels is not used
        return jax.jit(functools.partial(net.init, method=run))(key, pixels)


def shapes_at(net: nn.Module, run: Callable, shape: Shape) -> Any:
    """What `run(net, pixels)` returns for an input of some shape, as `jax.ShapeDtypeStruct`."""
    init = functools.partial(net.init_with_output, method=run)
    pixels = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    with backend.lowering_for("portable"):  # all forms have the same shapes
        returned, _ = jax.eval_shape(init, jax.random.key(0), pixels)
    return returned


class InSequence(nn.Module):
    """Several necks, one after the other; their parameters are under `names`."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        for name, module in zip(self.names, self.modules, strict=True):
            maps = module.clone(parent=self, name=name)(maps, train=train)
        return maps

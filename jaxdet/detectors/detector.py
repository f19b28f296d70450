"""A detector: a network plus the pure functions that give its output a meaning."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Array, Detections, Objects, Raw

Losses = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count)


@dataclasses.dataclass(frozen=True)
class Detector:
    """A network and its five functions; holds no arrays, so it can be hashed, printed and shared.

    A family (`jaxdet/detectors/ssd.py`) is a function that returns one of these.
    """

    net: Net
    size: int  # side of the square input, pixels, that evaluation uses
    classes: tuple[str, ...]  # K names
    anchors: Callable[[tuple[tuple[int, int], ...], int], Anchors]  # (grids, size) -> Anchors
    assign: Callable[[Anchors, Objects], Any]  # one picture -> Targets
    losses: Callable[[Raw, Any, Anchors], Losses]  # (raw, targets [B], anchors)
    decode: Callable[[Raw, Anchors], tuple[jax.Array, jax.Array]]  # boxes [B,A,4], scores [B,A,K]
    nms: Callable[[jax.Array, jax.Array], Detections]  # (boxes [A,4], scores [A,K]), one picture

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh variables: {"params": ..., "batch_stats": ...}."""
        pixels = jnp.zeros((1, self.size, self.size, 3), jnp.float32)
        return jax.jit(functools.partial(self.net.init, train=False))(key, pixels)

    def anchors_at(self, size: int) -> Anchors:
        """The anchors for a square input of `size` pixels, [A, ...]."""
        return _anchors_at(self, size)

    def loss(
        self,
        variables: dict[str, Any],
        pixels: Array,
        objects: Objects,
        *,
        key: jax.Array,
        train: bool = True,
    ) -> tuple[Losses, dict[str, Any]]:
        """The losses of a batch as sums and counts, and the new batch statistics.

        `pixels` [B, H, H, 3] are 0..255 RGB, `objects` [B, N, ...] fractions of them; `key` draws
        what layers drop in training. Nothing is divided here: sums and counts add up over devices
        and micro-batches, means do not.
        """
        anchors = self.anchors_at(pixels.shape[1])
        targets = jax.vmap(functools.partial(self.assign, anchors))(objects)
        raw, updates = self.net.apply(
            variables, pixels, train=train, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return self.losses(raw, targets, anchors), updates.get("batch_stats", {})

    def predict(self, variables: dict[str, Any], pixels: Array) -> Detections:
        """What is in `pixels` [B, H, H, 3], 0..255 RGB: detections [B, M, ...]."""
        raw = self.net.apply(variables, pixels, train=False)
        boxes, scores = self.decode(raw, self.anchors_at(pixels.shape[1]))
        if jax.default_backend() == "cpu":  # one by one: no picture waits for the slowest
            return jax.lax.map(lambda one: self.nms(*one), (boxes, scores))
        return jax.vmap(self.nms)(boxes, scores)


@functools.lru_cache(maxsize=64)
def _anchors_at(detector: Detector, size: int) -> Anchors:
    def maps_and_raw(net: Net, pixels: jax.Array):
        return net.maps(pixels, train=False), net(pixels, train=False)

    run = functools.partial(detector.net.init_with_output, method=maps_and_raw)
    pixels = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    (maps, raw), _ = jax.eval_shape(run, jax.random.key(0), pixels)
    anchors = detector.anchors(tuple(m.shape[1:3] for m in maps), size)
    found, expected = len(anchors.boxes), raw.boxes.shape[1]
    assert found == expected, f"{found} anchors for {expected} predictions at {size} pixels"
    return anchors

"""How regions read maps: all maps of an image are one table, whose rows are cells.

Every region has its own offset, height and width there, so one gather serves all levels. On the CPU
images and regions are processed one by one, which keeps what a region reads and writes in the
cache; elsewhere all at once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdet import backend
from jaxdet.layers.precision import full


class Places(NamedTuple):
    """Where the map of every region lies in the table: [B, R] int32 each."""

    offset: jax.Array
    height: jax.Array
    width: jax.Array


class Taps(NamedTuple):
    """What a bin averages: K rows times K columns of cells, with their weights."""

    rows: jax.Array  # [..., h, K] int32, index in the table of the row's first cell
    row_weights: jax.Array  # [..., h, K]
    columns: jax.Array  # [..., w, K] int32
    column_weights: jax.Array  # [..., w, K]


class Bins(NamedTuple):
    """Rectangles of cells."""

    start: jax.Array  # [..., h] int32, index in the table of the first row's first cell
    rows: jax.Array  # [..., h] int32, how many
    left: jax.Array  # [..., w] int32, the first column
    columns: jax.Array  # [..., w] int32, how many
    width: jax.Array  # [...] int32, of the map: from a row to the next


def table(maps: Sequence[jax.Array]) -> jax.Array:
    """All cells of the maps, [B, sum H W, C]."""
    return jnp.concatenate([x.reshape(x.shape[0], -1, x.shape[-1]) for x in maps], 1)


def places(maps: Sequence[jax.Array], level: jax.Array) -> Places:
    """For the map `level` [B, R] of every region."""
    shapes = np.array([x.shape[1:3] for x in maps], np.int32)
    offsets = np.cumsum([0, *shapes.prod(1)[:-1]], dtype=np.int32)
    return Places(*(jnp.asarray(a)[level] for a in (offsets, *shapes.T)))


@jax.custom_vjp
def weighted(table: jax.Array, taps: Taps) -> jax.Array:
    """The weighted sums [B, R, h, w, C] of the cells of every bin."""
    return backend.per_image(_by_region(_sums), table, taps)


def _sums(table, taps):
    total = 0
    for a in range(taps.rows.shape[-1]):
        index, weight = _row(taps, a)
        for b in range(index.shape[-1]):  # one by one, which XLA fuses into a single loop
            cells = table.at[index[..., b]].get(mode="promise_in_bounds")
            total += full(cells) * weight[..., b, None]
    return total.astype(table.dtype)


def _row(taps, a):
    """Index and weight [..., h, w, K] of the cells in row `a` of every bin."""
    index = taps.rows[..., :, None, a, None] + taps.columns[..., None, :, :]
    return index, taps.row_weights[..., :, None, a, None] * taps.column_weights[..., None, :, :]


def _weighted_forward(table, taps):
    return weighted(table, taps), (jnp.zeros((0, *table.shape[1:]), table.dtype), taps)


def _weighted_backward(saved, dy):
    like, taps = saved

    def add(total, taps, dy):
        for a in range(taps.rows.shape[-1]):
            index, weight = _row(taps, a)
            update = full(dy)[..., None, :] * weight[..., None]
            total = total.at[index].add(update, mode="promise_in_bounds")
        return total

    return _spread(add, like, taps, dy), None


weighted.defvjp(_weighted_forward, _weighted_backward)


@jax.custom_vjp
def maxima(table: jax.Array, bins: Bins) -> jax.Array:
    """The maximum of the cells of every bin, zero without cells: [B, R, h, w, C]."""
    return _maxima_forward(table, bins)[0]


def _maxima_forward(table, bins):
    y, first = backend.per_image(_by_region(_maximum), table, bins)
    return y, (jnp.zeros((0, *table.shape[1:]), table.dtype), bins, first)


def _maximum(table, bins):
    """Also returns the number of the cell that gets the gradient, -1 without cells."""
    shape = (*bins.start.shape, bins.left.shape[-1], table.shape[-1])

    def compare(i, state):
        y, first = state
        index, inside = _cell(bins, i)
        seen = table.at[index].get(mode="promise_in_bounds")
        more = inside[..., None] & ((seen > y) | (first < 0))
        return jnp.where(more, seen, y), jnp.where(more, i, first)

    start = jnp.zeros(shape, table.dtype), jnp.full(shape, -1, jnp.int32)
    return lax.fori_loop(0, _most(bins), compare, start)


def _most(bins):
    """How many cells the largest bin can have."""
    return bins.rows.max() * bins.columns.max()


def _cell(bins, i):
    """The index in the table of cell `i` of every bin, row by row, and whether the bin has it.

    All bins are counted through as if they were as wide as the widest.
    """
    row, column = jnp.divmod(i, bins.columns.max())
    y = bins.start + jnp.minimum(row, bins.rows - 1) * bins.width[..., None]
    x = bins.left + jnp.minimum(column, bins.columns - 1)
    inside = (row < bins.rows)[..., :, None] & (column < bins.columns)[..., None, :]
    return jnp.where(inside, y[..., :, None] + x[..., None, :], 0), inside


def _maxima_backward(saved, gradient):
    like, bins, first = saved

    def add(total, bins_and_first, dy):
        bins, first = bins_and_first

        def pass_back(i, total):
            index, _ = _cell(bins, i)
            update = jnp.where(first == i, full(dy), 0)
            return total.at[index].add(update, mode="promise_in_bounds")

        return lax.fori_loop(0, _most(bins), pass_back, total)

    return _spread(add, like, (bins, first), gradient), None


maxima.defvjp(_maxima_forward, _maxima_backward)


def _by_region(function: Callable) -> Callable:
    """A function of a table and all regions, from one of a table and one region or several."""
    if backend.target() == "cpu":
        return lambda table, regions: lax.map(lambda each: function(table, each), regions)
    return function


def _spread(add: Callable, like: jax.Array, regions: Any, dy: jax.Array) -> jax.Array:
    """The gradient [B, n, C] of the table, in the dtype of `like` [0, n, C].

    `add(total, regions, dy)` adds to a table [n, C] what one region or several pass back.
    """

    def of_image(regions, dy):
        total = jnp.zeros(like.shape[1:], full(like).dtype)
        if backend.target() != "cpu":
            return add(total, regions, dy)

        def add_one(i, total):
            return add(total, *jax.tree.map(lambda a: a[i], (regions, dy)))

        return lax.fori_loop(0, len(dy), add_one, total)

    return backend.per_image(of_image, regions, dy).astype(like.dtype)

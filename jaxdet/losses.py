"""The multibox loss of SSD (paper, section 2.2). Sums and counts: the caller divides, once."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import codec
from jaxdet.types import Anchors, Array, Raw, Targets


def smooth_l1(error: Array) -> Array:
    """Half the square of an error up to 1, linear beyond (Fast R-CNN, equation 3)."""
    size = jnp.abs(error)
    return jnp.where(size < 1, 0.5 * error**2, size - 0.5)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Softmax cross entropy [...] of logits [..., C] against the classes [...] of labels."""
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def hard_negatives(
    background_loss: Array, positive: Array, ignore: Array, *, ratio: float = 3
) -> Array:
    """The negatives [A] of one picture that count: `ratio` per positive, the worst of them.

    Ranked by `background_loss` [A], not negative; of equal ones the first, so the number is never
    exceeded. No gradient flows through the choice.
    """
    budget = ratio * positive.sum()
    # The bits of a float that is not negative rank as the float does.
    bits = lax.bitcast_convert_type(jnp.maximum(background_loss, 0).astype(jnp.float32), jnp.int32)
    bits = jnp.where(positive | ignore, -1, bits)
    threshold = _reached_by(bits, budget)
    above, tied = bits > threshold, bits == threshold
    return above | (tied & (jnp.cumsum(tied) <= budget - above.sum()))


def _reached_by(keys: Array, count: Array) -> Array:
    """The largest t that at least `count` of the int32 keys [A] reach; 0 if fewer are above 0.

    Found bit by bit: 31 passes over the keys that vectorise, where a sort would not.
    """

    def step(i, low):
        trial = low | (1 << (30 - i))
        return jnp.where((keys >= trial).sum() >= count, trial, low)

    return lax.fori_loop(0, 31, step, jnp.int32(0))


def multibox(
    raw: Raw,
    targets: Targets,
    anchors: Anchors,
    *,
    variances: tuple[float, float] = (0.1, 0.2),
    negative_ratio: float = 3,
) -> dict[str, tuple[Array, Array]]:
    """Box and class loss of a batch, each a (sum, count); count is the batch's positives.

    raw.logits [B, A, K + 1] have the background in column 0, targets are [B, A, ...]. Boxes:
    smooth L1 of the codes of positive anchors. Classes: cross entropy of positive anchors and of
    `negative_ratio` times as many hard negatives, chosen per picture. A positive counts with its
    object's weight. Float32 at least, whatever the network's dtype.
    """
    full = jnp.promote_types(raw.logits.dtype, jnp.float32)
    logits, codes = raw.logits.astype(full), raw.boxes.astype(full)
    normaliser = jax.nn.logsumexp(logits, axis=-1)  # [B, A], shared by both uses below
    background_loss = lax.stop_gradient(normaliser - logits[..., 0])
    negative = jax.vmap(lambda *of_one: hard_negatives(*of_one, ratio=negative_ratio))(
        background_loss, targets.positive, targets.ignore
    )
    weight = jnp.where(targets.positive, targets.weight, 0.0)  # [B, A]
    labels = jnp.where(targets.positive, targets.labels + 1, 0)
    class_loss = cross_entropy(logits, labels)
    wanted = codec.encode(targets.boxes, anchors.boxes, variances=variances)
    box_loss = smooth_l1(codes - wanted).sum(axis=-1)  # [B, A]
    count = targets.positive.sum()
    return {
        "box": ((box_loss * weight).sum(), count),
        "class": ((class_loss * jnp.where(negative, 1.0, weight)).sum(), count),
    }

"""Mixes: what is blended with what, where the objects are then, which images are mixed and when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from test_configs import load

from jaxdet import build, choices
from jaxdet.augment import mix
from jaxdet.augment.views import Mixing
from jaxdet.engine import setup
from jaxdet.training import parallel
from jaxdet.types import Batch, Objects

B, N = 64, 2


def mask_of_both(mask):
    return np.concatenate([mask, np.roll(mask, -1, axis=0)], axis=1)


def test_mixup_blends_neighbours_and_weighs_their_objects_alike():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (B, 4, 4, 3)).astype(np.float32)
    objects = Objects(
        boxes=rng.random((B, N, 4), np.float32),
        labels=np.arange(B * N).reshape(B, N),
        mask=rng.random((B, N)) < 0.5,
        weight=np.ones((B, N), np.float32),
    )
    mixed, both = jax.jit(lambda *x: mix.mixup(*x, alpha=1.5))(jax.random.key(0), pixels, objects)
    assert not (np.diff(both.mask.astype(int), axis=1) > 0).any()  # no gaps between objects
    back = np.argsort(np.argsort(~mask_of_both(objects.mask), axis=1, kind="stable"), axis=1)
    both = jax.vmap(lambda x, back: jax.tree.map(lambda x: x[back], x))(both, back)
    share = np.asarray(both.weight[:, 0])
    assert both.boxes.shape == (B, 2 * N, 4)
    assert 0 < share.min() < 0.25 and 0.75 < share.max() < 1 and abs(share.mean() - 0.5) < 0.1
    np.testing.assert_allclose(both.weight[:, N:], 1 - share[:, None].repeat(N, 1), atol=1e-6)
    for i in range(B):
        other = (i + 1) % B
        blend = share[i] * pixels[i] + (1 - share[i]) * pixels[other]
        np.testing.assert_allclose(mixed[i], blend, rtol=1e-5)
        for name in ("boxes", "labels", "mask"):
            field = getattr(objects, name)
            expected = np.concatenate([field[i], field[other]])
            np.testing.assert_array_equal(getattr(both, name)[i], expected)


# What every mix does to the objects: each is painted alone, and looked for in the result.

SIDE, COUNT, EACH, MIN_VISIBLE = 64, 8, 3, 0.3
FILL, BACK = 114.0, 60.0


def letterboxed():
    """Views [8, 64, 64, 3] with padding, three boxes in each picture; labels tell all apart."""
    rng = np.random.default_rng(3)
    views = np.full((COUNT, SIDE, SIDE, 3), FILL, np.float32)
    margins = np.array([(0, 8), (10, 0), (0, 0), (0, 14)] * 2)  # x, y
    boxes = np.zeros((COUNT, EACH, 4))
    for view, (x, y), own in zip(views, margins, boxes, strict=True):
        view[y : SIDE - y, x : SIDE - x] = BACK
        low, high = np.array([x, y]), SIDE - np.array([x, y])
        sides = rng.integers(6, 22, (EACH, 2))
        corner = rng.integers(low, high - sides + 1)
        own[:] = np.concatenate([corner, corner + sides], axis=1)
    ones = np.ones((COUNT, EACH))
    labels = np.arange(COUNT * EACH, dtype=np.int32).reshape(COUNT, EACH)
    fractions = (boxes / SIDE).astype(np.float32)
    return views, boxes.astype(int), Objects(fractions, labels, ones > 0, ones.astype(np.float32))


STRAIGHT = dict(rotation=0.0, shear=0.0)
MIXES = {  # options, and by how much they multiply the sides of what is cut off
    "mixup": ({}, 1.0),
    "mixup_yolox": (dict(scale=(1.2, 1.2)), 1.2),
    "cutmix": ({}, 1.0),
    "mosaic": ({}, 1.0),
    "mosaic_yolox": (dict(scale=(0.7, 0.7), **STRAIGHT), 0.7),
    "affine": (dict(scale=(1.3, 1.3), shift=0.3, **STRAIGHT), 1.3),
}


def test_every_mix_is_among_these():
    assert set(MIXES) == set(choices.names("mix"))


def hull(region):
    """The box of a region [H, W], in pixels."""
    (rows, columns) = np.nonzero(region)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def looked_for(name, options):
    """Each object as it is found in each result: its region [H, W], box in pixels or None, area."""
    views, boxes, objects = letterboxed()
    mixed = jax.jit(functools.partial(getattr(mix, name), **options))
    key = jax.random.key(1)
    plain, after = jax.tree.map(np.asarray, mixed(key, views, objects))
    for label, (x1, y1, x2, y2) in enumerate(boxes.reshape(-1, 4)):
        painted = views.copy()
        painted[label // EACH, y1:y2, x1:x2] += 100
        gain = np.asarray(mixed(key, painted, objects)[0] - plain)[..., 0]
        for image in range(COUNT):
            (at,) = np.nonzero(after.mask[image] & (after.labels[image] == label))
            assert len(at) <= 1
            box = after.boxes[image, at[0]] * SIDE if len(at) else None
            region = gain[image] > 0.5 * gain[image].max() + 1e-3
            yield region, box, (x2 - x1) * (y2 - y1)


@pytest.mark.parametrize("name", MIXES)
def test_a_box_bounds_what_is_seen_of_its_object(name):
    """The others can hardly be seen."""
    options, factor = MIXES[name]
    found = 0
    for region, box, area in looked_for(name, options):
        if box is not None:
            np.testing.assert_allclose(box, hull(region), atol=1.01)
            found += 1
        elif region.any():
            thin = np.ptp(hull(region).reshape(2, 2), axis=0).min() <= 2
            assert thin or region.sum() / (area * factor**2) < MIN_VISIBLE + 0.1
    assert found > COUNT * EACH / 2


@pytest.mark.parametrize("name", ["affine", "mosaic_yolox"])
def test_the_box_of_a_turned_object_contains_it(name):
    """The hull of a turned box that is cut off may have an empty corner."""
    found = [
        np.stack([box, hull(region)])
        for region, box, _ in looked_for(name, dict(rotation=20.0, scale=(0.8, 1.2)))
        if box is not None
    ]
    boxes, seen = np.stack(found, axis=1)
    assert (boxes[:, :2] <= seen[:, :2] + 1.01).all() and (boxes[:, 2:] >= seen[:, 2:] - 1.01).all()
    assert np.median(np.abs(boxes - seen)) < 0.6 and np.abs(boxes - seen).max() < 8


def test_what_cutmix_leaves_of_a_box():
    """A hole over one whole side cuts it off; one elsewhere changes nothing but the share."""
    hole = jnp.array([[[0.2, 0.2, 0.6, 0.6]]])
    cases = {  # box -> what is left, and which share
        (0.3, 0.1, 0.5, 0.5): ((0.3, 0.1, 0.5, 0.2), 0.25),
        (0.3, 0.5, 0.5, 0.9): ((0.3, 0.6, 0.5, 0.9), 0.75),
        (0.1, 0.3, 0.5, 0.5): ((0.1, 0.3, 0.2, 0.5), 0.25),
        (0.5, 0.3, 0.9, 0.5): ((0.6, 0.3, 0.9, 0.5), 0.75),
        (0.3, 0.1, 0.5, 0.9): ((0.3, 0.1, 0.5, 0.9), 0.5),  # across its middle
        (0.5, 0.5, 0.9, 0.9): ((0.5, 0.5, 0.9, 0.9), 0.9375),  # a corner
        (0.7, 0.7, 0.9, 0.9): ((0.7, 0.7, 0.9, 0.9), 1.0),
    }
    rest, share = mix._uncovered(jnp.array([list(cases)]), hole)
    np.testing.assert_allclose(rest[0], [box for box, _ in cases.values()], atol=1e-6)
    np.testing.assert_allclose(share[0], [part for _, part in cases.values()], atol=1e-5)
    _, share = mix._uncovered(jnp.array([[[0.3, 0.3, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]]), hole)
    assert share[0, 0] < 1e-5 and np.isfinite(share).all()


def test_padding_never_comes_between_the_pictures_of_a_mosaic():
    views, _, objects = letterboxed()
    pixels, _ = jax.jit(mix.mosaic)(jax.random.key(0), views, objects)
    point = np.round(
        SIDE * jax.random.uniform(jax.random.key(0), (COUNT, 2), minval=0.2, maxval=0.8)
    )
    for each, (x, y) in zip(np.asarray(pixels), np.asarray(point, int), strict=True):
        assert (each[y - 1 : y + 1, x - 1 : x + 1] == BACK).all()


def test_no_object_of_a_mosaic_is_lost():
    """64 in each of four images, in the quarter that the mosaic of the first shows: 256."""
    corner = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) / 16
    quarter = np.concatenate([corner + 0.01, corner + 0.05], axis=1)
    towards = np.array([(0.5, 0.5), (0, 0.5), (0.5, 0), (0, 0)])  # opposite to where it will be
    boxes = (quarter[None] + np.tile(towards, 2)[:, None]).astype(np.float32)
    ones = np.ones(boxes.shape[:2], np.float32)
    objects = Objects(boxes, np.arange(256, dtype=np.int32).reshape(4, 64), ones > 0, ones)
    pixels = np.zeros((4, 64, 64, 3), np.float32)
    halved = jax.jit(functools.partial(mix.mosaic, cut=(0.5, 0.5)))
    _, after = halved(jax.random.key(0), pixels, objects)
    assert after.mask.shape == (4, 256) and after.mask[0].all()
    assert set(np.asarray(after.labels[0])) == set(range(256))


# Which images are mixed, and until when.


def test_only_the_chosen_images_change():
    _, _, objects = letterboxed()
    views = np.random.default_rng(0).uniform(0, 255, (COUNT, SIDE, SIDE, 3)).astype(np.float32)
    mixing = Mixing(mix.mosaic, probability=0.5)
    pixels, after = jax.jit(mixing)(jax.random.key(2), views, objects)
    same = np.array([np.array_equal(a, b) for a, b in zip(pixels, views, strict=True)])
    assert 0 < same.sum() < COUNT and after.mask.shape == (COUNT, 4 * EACH)
    for i in np.flatnonzero(same):
        kept = jax.tree.map(lambda x, i=i: x[i, :EACH], after)
        jax.tree.map(
            np.testing.assert_array_equal, kept, jax.tree.map(lambda x, i=i: x[i], objects)
        )
        assert not after.mask[i, EACH:].any() and not after.weight[i, EACH:].any()
    pixels, after = jax.jit(Mixing(mix.mixup, probability=0.0))(jax.random.key(2), views, objects)
    np.testing.assert_array_equal(pixels, views)
    assert after.mask.sum() == COUNT * EACH


def test_images_are_chosen_as_often_as_asked():
    marked = lambda key, pixels, objects: (pixels + 1, objects)
    _, _, objects = letterboxed()
    many = jax.tree.map(lambda x: np.repeat(x, 250, axis=0), objects)
    mixing = Mixing(marked, probability=0.3)
    chosen, _ = mixing(jax.random.key(0), jnp.zeros((2000, 1, 1, 3)), many)
    assert abs(float(chosen.mean()) - 0.3) < 0.03


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"probability is 1.5, expected 0 to 1"):
        Mixing(mix.mixup, probability=1.5)
    with pytest.raises(ValueError, match=r"until is -1, expected a step, or 0 for all"):
        Mixing(mix.mixup, until=-1)


SEQUENCE = (
    dict(name="mosaic_yolox", until=5),
    dict(name="mixup_yolox", probability=0.5, until=7),
    dict(name="cutmix", probability=0.5),
    dict(name="mixup", alpha=1.5),
)


def recipe(mixes):
    config = load(ROOT / "configs" / "quickstart.py").get_config()
    config.augment.mix = mixes
    return build.recipe(config, ("a", "b"))


def test_a_step_has_the_view_of_its_mixes():
    """The same object while they stay the same, so that the step is compiled once."""
    made = recipe(SEQUENCE)
    views = [made.view_at(160, number) for number in range(1, 10)]
    assert [len(view.keywords["mix"]) for view in views] == [4] * 5 + [3] * 2 + [2] * 2
    assert len({id(view) for view in views}) == 3
    assert made.view_at(160) is views[0] and made.view_at(96) is not views[0]
    mosaic, *_, mixup = views[0].keywords["mix"]
    assert mosaic.mix.keywords["fill"] == made.detector.fill and mixup.probability == 1


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (dict(name="mosaic", untill=5), "there is no 'untill'; did you mean 'until'"),
        (
            dict(name="mosaic", until=1.5),
            "config.augment.mix.until is 1.5, expected a share of the",
        ),
        (dict(name="mosaic", fill=(1.0, 1.0, 1.0)), "there is no 'fill'"),
        (dict(name="mosaik"), "there is no 'mosaik'; did you mean 'mosaic'"),
    ],
)
def test_a_mistake_in_a_block_is_explained(block, message):
    with pytest.raises(ValueError, match=message):
        recipe((block,))


@functools.cache
def shapes_batch(count=32):
    """A batch of noise with objects, as the host makes it."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.5, (count, EACH, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.5, corner.shape)], axis=-1)
    ones = np.ones((count, EACH))
    objects = Objects(
        boxes.astype(np.float32), np.zeros_like(ones, np.int32), ones > 0, ones.astype(np.float32)
    )
    image = rng.integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)
    size = np.full((count, 2), 40, np.int32)
    return Batch(image, size, objects, np.arange(count, dtype=np.int32), ones[:, 0] > 0)


@pytest.mark.slow
def test_eight_devices_mix_what_one_does_and_the_sheet_shows_it():
    config = load(ROOT / "configs" / "quickstart.py").get_config()
    config.model.size = 64
    config.augment.mix = SEQUENCE
    made, key, batch = build.recipe(config, ("a", "b")), jax.random.key(7), shapes_batch()
    view = made.view_at(64, 1)
    one = jax.tree.map(np.asarray, jax.jit(view)(key, batch))
    mesh = parallel.mesh()
    assert mesh.size == 8
    many = jax.jit(view)(key, parallel.shard_batch(batch, mesh))
    close = functools.partial(np.testing.assert_allclose, atol=2e-2)
    jax.tree.map(close, jax.tree.map(np.asarray, many), one)
    shown = setup.preview(made)(1)(key, batch)[:2]
    jax.tree.map(lambda a, b: close(a, b[: setup.PREVIEW]), shown, one[:2])
    later = setup.preview(made)(8)(key, batch)[0]
    assert not np.allclose(later, shown[0], atol=1)

"""The step on a network small enough to reason about: what is divided, and what is frozen."""

import functools
import json
import types as python_types
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdet.layers import norms
from jaxdet.training import optimisers, parallel, schedules, state
from jaxdet.training import step as step_
from jaxdet.training.step import step_keys, train_step
from jaxdet.types import Batch, Objects

BATCH, SLOTS = 16, 3
SEED = np.uint32(0)


class Toy(nn.Module):
    norm: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(4, name="backbone")(x)
        if self.norm:
            x = norms.BatchNorm(name="norm")(x[:, None, None], train=train)[:, 0, 0]
        return nn.Dense(1, name="head")(x)[..., 0]


def toy_detector(norm=False):
    """Fits the sum of a picture's boxes, once an object: counts differ from picture to picture."""
    net = Toy(norm=norm)

    def loss(variables, pixels, objects, *, key, inside):
        said, updates = net.apply(variables, pixels, train=True, mutable=["batch_stats"])
        error = (objects.boxes.sum(-1) - said[:, None]) ** 2
        return {
            "box": ((error * objects.mask).sum(), objects.mask.sum()),
            "class": ((said**2).sum(), jnp.float32(len(said))),
        }, updates.get("batch_stats", {})

    variables = net.init(jax.random.key(1), jnp.zeros((1, 5)), train=False)
    return python_types.SimpleNamespace(size=8, loss=loss), variables


def toy_batch(seed=0, objects=True):
    rng = np.random.default_rng(seed)
    mask = rng.random((BATCH, SLOTS)) < np.linspace(0, 0.9, BATCH)[:, None]
    return Batch(
        image=rng.normal(size=(BATCH, 5)).astype(np.float32),
        size=np.ones((BATCH, 2), np.int32),
        objects=Objects(
            boxes=rng.random((BATCH, SLOTS, 4), np.float32),
            labels=np.zeros((BATCH, SLOTS), np.int32),
            mask=mask & objects,
            weight=np.ones((BATCH, SLOTS), np.float32),
        ),
        id=np.arange(BATCH, dtype=np.int32),
        valid=np.ones(BATCH, bool),
    )


def view(key, batch):
    return batch.image, batch.objects, jnp.zeros((len(batch.image), 4))


def run(steps=3, *, norm=False, mesh=None, frozen=(), ema_decay=0.0, batches=None, **options):
    detector, variables = toy_detector(norm)
    tx = optimisers.sgd(schedules.constant(steps=9, peak=0.1), momentum=0.9, weight_decay=1e-2)
    step = train_step(detector, tx, view, frozen=frozen, ema_decay=ema_decay, **options)
    now = state.create(variables, tx, ema=ema_decay > 0)
    step = parallel.pmap(step, mesh, replicated=1) if mesh else jax.jit(step)
    for number in range(steps):
        batch = (batches or toy_batch)(number)
        batch = parallel.shard_batch(batch, mesh) if mesh else batch
        now, scalars = step(now, batch, SEED)
    return variables, now, scalars


def assert_close(a, b, tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, atol=tolerance, rtol=0), a, b)


def test_loss_is_the_global_sum_over_the_global_count():
    batch = toy_batch()
    variables, _, scalars = run(1)
    said = np.asarray(Toy().apply(variables, batch.image, train=False))
    error = (batch.objects.boxes.sum(-1) - said[:, None]) ** 2
    box = error[batch.objects.mask].mean()
    np.testing.assert_allclose(scalars["box"], box, rtol=1e-5)
    np.testing.assert_allclose(scalars["loss"], box + (said**2).mean(), rtol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_eight_devices_equal_one(norm):
    assert jax.device_count() == 8
    _, one, one_scalars = run(norm=norm)
    _, many, many_scalars = run(norm=norm, mesh=parallel.mesh())
    assert_close(one.variables, many.variables, 1e-6)
    assert_close(one_scalars, many_scalars, 1e-5)


def test_accumulated_gradient_is_that_of_the_whole_batch():
    _, whole, scalars = run()
    _, parts, part_scalars = run(accumulate=4)
    assert_close(whole.variables, parts.variables, 1e-6)
    assert_close(scalars, part_scalars, 1e-5)


def test_accumulation_on_eight_devices_equals_one_device():
    _, one, _ = run(accumulate=2)
    _, many, _ = run(accumulate=2, mesh=parallel.mesh())
    assert_close(one.variables, many.variables, 1e-6)


def test_every_micro_batch_draws_for_itself_and_counts_what_it_draws():
    """The loss is (a draw times w, the draw): the draws of counting and of gradients cancel."""

    def loss(variables, pixels, objects, *, key, inside):
        drawn, w = 1 + jax.random.uniform(key), variables["params"]["w"]
        return {"box": (drawn * w, drawn), "class": (drawn, jnp.float32(1))}, {}

    tx = optax.sgd(0.1)
    step = train_step(python_types.SimpleNamespace(loss=loss), tx, view, accumulate=4)
    now = state.create({"params": {"w": jnp.float32(2)}}, tx, ema=False)
    for number in range(2):  # another step draws otherwise
        now, scalars = jax.jit(step)(now, toy_batch(), np.uint32(3))
        _, loss_key = step_keys(3, number)
        draws = [1 + jax.random.uniform(key) for key in jax.random.split(loss_key, 4)]
        assert float(scalars["class"]) == pytest.approx(np.mean(draws), rel=1e-6)
        assert float(scalars["gradient_norm"]) == pytest.approx(1, rel=1e-6)


def test_the_network_draws_otherwise_than_the_view():
    keys = [jax.random.key_data(key) for step in (0, 1) for key in step_keys(0, step)]
    assert len({tuple(np.asarray(key)) for key in keys}) == 4


def test_all_seeds_share_a_program_and_draw_differently():
    def loss(variables, pixels, objects, *, key, inside):
        drawn = 1 + jax.random.uniform(key)
        return {"box": (drawn * variables["params"]["w"], jnp.float32(1))}, {}

    tx = optax.sgd(0.1)
    step = jax.jit(train_step(python_types.SimpleNamespace(loss=loss), tx, view))
    first = state.create({"params": {"w": jnp.float32(2)}}, tx, ema=False)
    seeds = 0, 1, 2**32 - 1
    losses = [float(step(first, toy_batch(), np.uint32(seed))[1]["box"]) for seed in seeds]
    keys = [step_keys(seed, 0)[1] for seed in seeds]
    assert losses == pytest.approx(
        [2 * (1 + float(jax.random.uniform(key))) for key in keys], rel=1e-6
    )
    assert len(set(losses)) == 3 and step._cache_size() == 1


def test_no_objects_no_nan():
    _, now, scalars = run(batches=partial(toy_batch, objects=False))
    assert np.isfinite(list(scalars.values())).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(now.variables))
    assert scalars["box"] == 0


def test_frozen_weights_and_statistics_do_not_move_a_bit():
    before, after, _ = run(norm=True, frozen=("backbone", "norm"))
    for part in ("backbone", "norm"):
        jax.tree.map(
            np.testing.assert_array_equal,
            before["params"][part],
            after.variables["params"][part],
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        before["batch_stats"],
        after.variables["batch_stats"],
    )
    assert np.any(before["params"]["head"]["kernel"] != after.variables["params"]["head"]["kernel"])


def test_unfrozen_statistics_move():
    before, after, _ = run(norm=True, frozen=("backbone",))
    moved = jax.tree.map(
        lambda a, b: np.any(a != b), before["batch_stats"], after.variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_a_frozen_part_is_as_new_when_it_thaws():
    """It neither moves nor gathers momentum, decay or average; then it goes on like the rest."""
    _, frozen, _ = run(2, frozen=("backbone",), ema_decay=0.9)
    variables, _, _ = run(1)
    for tree in (frozen.variables, frozen.ema):
        jax.tree.map(
            np.testing.assert_array_equal,
            tree["params"]["backbone"],
            variables["params"]["backbone"],
        )
    traces = [leaf for leaf in jax.tree.leaves(frozen.optimiser) if leaf.ndim]
    assert any(not leaf.any() for leaf in traces) and any(leaf.any() for leaf in traces)


def programs_of(mixes_until=0, **options):
    """What `step.programs` makes of each size and freezing: (the view's size, frozen)."""
    detector, variables = toy_detector()
    tx = optimisers.sgd(schedules.constant(steps=9, peak=0.1))
    seen = []

    @functools.cache
    def view_at(size, stopped):
        seen.append(size)
        return partial(view)

    mesh = parallel.mesh()
    views = lambda size, number: view_at(size, 0 < mixes_until < number)
    return step_.programs(detector, tx, views, mesh, seed=0, **options), seen


def test_one_program_for_every_size_made_once():
    program, seen = programs_of(sizes=(320, 352, 384), resize_every=10)
    made = [program(number) for number in range(1, 201)]
    assert sorted(seen) == [320, 352, 384]
    for start in range(0, 200, 10):
        assert len({id(p) for p in made[start : start + 10]}) == 1
    sizes = [step_.size_at(n, (320, 352, 384), every=10, seed=0) for n in range(1, 201)]
    assert sizes == [step_.size_at(n, (320, 352, 384), every=10, seed=0) for n in range(1, 201)]
    assert sizes != [step_.size_at(n, (320, 352, 384), every=10, seed=1) for n in range(1, 201)]


def test_batch_norm_in_groups_is_batch_norm_of_each_part():
    _, whole, _ = run(1, norm=True)
    _, parts, _ = run(1, norm=True, norm_groups=4, mesh=parallel.mesh())
    detector, variables = toy_detector(norm=True)
    batch = toy_batch(0)
    part = BATCH // 4
    seen = [
        Toy(norm=True).apply(
            variables, batch.image[i : i + part], train=True, mutable=["batch_stats"]
        )[1]["batch_stats"]
        for i in range(0, BATCH, part)
    ]
    expected = jax.tree.map(lambda *x: np.mean(x, axis=0), *seen)
    assert_close(parts.variables["batch_stats"], expected, 1e-6)
    same = jax.tree.map(np.allclose, parts.variables["params"], whole.variables["params"])
    assert not all(jax.tree.leaves(same))


def test_thaws_after_the_step_named():
    program, seen = programs_of(frozen=("backbone",), unfreeze_at=3)
    assert program(1) is program(3) and program(3) is not program(4) and program(4) is program(99)
    program, _ = programs_of(frozen=("backbone",))
    assert program(1) is program(99)


def test_another_view_is_another_program():
    program, seen = programs_of(mixes_until=5, frozen=("backbone",), unfreeze_at=3)
    made = [program(number) for number in range(1, 10)]
    assert len(set(made)) == 3 and seen == [8, 8]
    assert made[0] is made[2] and made[3] is made[4] and made[5] is made[8]


def test_frozen_pattern_without_a_match_is_an_error_that_names_the_parts():
    with pytest.raises(ValueError, match=r"'backbon'.*backbone/bias"):
        run(frozen=("backbon",))


def test_moving_average():
    detector, variables = toy_detector()
    _, first, _ = run(1, ema_decay=0.75)
    _, second, _ = run(2, ema_decay=0.75)
    kernel = lambda tree: np.asarray(tree["params"]["head"]["kernel"])
    average = kernel(variables)
    for now in (first, second):
        average = 0.75 * average + 0.25 * kernel(now.variables)
    np.testing.assert_allclose(kernel(second.ema), average, atol=1e-6)
    assert second.best_variables is second.ema
    assert run(1)[1].ema is None


def test_the_decay_of_the_moving_average_rises_as_in_yolox(shared):
    stored = json.loads((shared / "golden" / "yolox" / "schedules.json").read_text())["ema"]
    detector, variables = toy_detector()
    tx = optimisers.sgd(schedules.constant(steps=9, peak=0.1))
    step = jax.jit(train_step(detector, tx, view, ema_decay=stored["decay"], ema_ramp=2_000))
    kernel = lambda tree: np.asarray(tree["params"]["head"]["kernel"], np.float64)
    for number, decay in zip(stored["update"], stored["value"], strict=True):
        before = state.create(variables, tx, ema=True)
        before = before.replace(
            step=jnp.int32(number - 1), ema=jax.tree.map(jnp.zeros_like, before.ema)
        )
        after, _ = step(before, toy_batch(), SEED)
        share = 1 - kernel(after.ema) / kernel(after.variables)  # of the average, which was 0
        np.testing.assert_allclose(share, decay, atol=1e-6)


def test_a_late_loss_counts_from_its_step_on():
    options = dict(late_losses=("class",), late_from=2)
    _, first, scalars = run(1, **options)
    assert scalars["class"] == 0 and scalars["loss"] == scalars["box"] > 0
    _, second, scalars = run(2, **options)
    assert scalars["class"] > 0 and scalars["loss"] == scalars["box"] + scalars["class"]
    _, whole, _ = run(1)
    weights_of = lambda now: np.asarray(now.variables["params"]["head"]["kernel"])
    assert not np.allclose(weights_of(first), weights_of(whole))
    _, always, _ = run(1, late_losses=("class",), late_from=0)
    assert_close(always.variables, whole.variables, 0)


def test_a_late_loss_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="late_losses: there is no loss 'l1'; this .* box, class"):
        run(1, late_losses=("l1",))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    """v = momentum v + g + decay p; p -= rate v, or with Nesterov p -= rate (g + decay p +
    momentum v) (the documentation of torch.optim.SGD)."""
    rate = schedules.constant(steps=9, peak=0.1)
    tx = optimisers.sgd(rate, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    params = p = np.float32(2.0)
    optimiser, v = tx.init(params), 0.0
    for gradient in (1.0, -0.5, 3.0):
        updates, optimiser = tx.update(np.float32(gradient), optimiser, params)
        params = optax.apply_updates(params, updates)
        whole = gradient + 0.01 * p
        v = 0.9 * v + whole
        p = p - 0.1 * (whole + 0.9 * v if nesterov else v)
    np.testing.assert_allclose(params, p, rtol=1e-6)


@pytest.mark.parametrize("make", [optimisers.sgd, optimisers.adamw])
def test_only_kernels_decay(make):
    params = {"conv": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    rate, still = schedules.constant(steps=9, peak=0.1), jax.tree.map(jnp.zeros_like, params)
    for only in (False, True):
        tx = make(rate, weight_decay=0.5, decay_kernels_only=only)
        updates, _ = tx.update(still, tx.init(params), params)
        moved = jax.tree.map(lambda x: bool((x != 0).all()), updates)
        others = not only
        assert moved == {"conv": {"kernel": True, "bias": others}, "norm": {"scale": others}}


def test_clipping_bounds_the_norm():
    tx = optimisers.sgd(schedules.constant(steps=9, peak=1.0), momentum=0.0, clip_norm=1.0)
    params = {"a": jnp.zeros(2)}
    updates, _ = tx.update({"a": jnp.array([3.0, 4.0])}, tx.init(params), params)
    np.testing.assert_allclose(updates["a"], [-0.6, -0.8], rtol=1e-6)

"""Batches: coverage of epochs, exact resume, processes, padding, and what becomes of objects."""

import dataclasses
import itertools

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_sets import jpeg, picture

from jaxdet import data
from jaxdet.data.batches import _reader
from jaxdet.data.check import Example
from jaxdet.types import Batch, Objects

N = 23  # pictures, of which 0, 5, 10, ... have no object


def unchecked(i: int) -> Example:
    n = 0 if i % 5 == 0 else i % 4 + 1
    low = np.arange(n)[:, None] * np.array([[0.05, 0.1]])
    size = 0.1 + 0.05 * np.arange(n)[:, None]  # the later, the larger
    return Example(
        id=f"{i:03d}",
        file=f"{i:03d}",
        encoded=jpeg(picture(20 + i, 60 - i, i)),
        size=None,
        boxes=np.concatenate([low, low + size], axis=1),
        names=[("a", "b", "c")[(i + j) % 3] for j in range(n)],
        difficult=np.array([i % 7 == 3 for j in range(n)], bool),
        crowd=np.array([i % 11 == 6 and j == 0 for j in range(n)], bool),
        area=np.full(n, np.nan),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> data.Dataset:
    dir = tmp_path_factory.mktemp("prepared")
    pictures = grain.MapDataset.range(N).map(unchecked)
    data.prepare(
        data.Source("tiny", {"root": "here"}, lambda d: (("a", "b", "c"), pictures)), dir=dir
    )
    return data.open("tiny", dir=dir)


def train(dataset, **changes) -> grain.DatasetIterator:
    options = {"batch_size": 4, "canvas": 48, "max_objects": 6, "seed": 0}
    return data.train_batches(dataset, **(options | changes))


def take(iterator, count: int) -> list[Batch]:
    return list(itertools.islice(iterator, count))


def assert_equal(a: Batch, b: Batch) -> None:
    for field in dataclasses.fields(Batch):
        if field.name != "objects":
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
    for field in dataclasses.fields(Objects):
        np.testing.assert_array_equal(
            getattr(a.objects, field.name), getattr(b.objects, field.name)
        )


def test_a_batch_holds_what_the_dataset_holds(dataset):
    batch = next(train(dataset, keep_difficult=True))
    assert batch.image.shape == (4, 48, 48, 3) and batch.image.dtype == np.uint8
    assert batch.size.dtype == batch.id.dtype == batch.objects.labels.dtype == np.int32
    assert batch.objects.boxes.shape == (4, 6, 4) and batch.objects.boxes.dtype == np.float32
    assert batch.valid.all() and batch.valid.dtype == batch.objects.mask.dtype == bool
    for slot, i in enumerate(batch.id):
        image, height, width = data.decode(dataset.encoded(i), 48)
        np.testing.assert_array_equal(batch.image[slot], image)
        assert batch.size[slot].tolist() == [height, width]
        truth = dataset.annotation(i)
        n = int((~truth.crowd).sum())
        assert batch.objects.mask[slot].tolist() == [True] * n + [False] * (6 - n)
        assert batch.objects.weight[slot].tolist() == [1.0] * n + [0.0] * (6 - n)
        order = np.argsort(-truth.area[~truth.crowd])
        kept = truth.boxes[~truth.crowd][order], truth.labels[~truth.crowd][order]
        np.testing.assert_array_equal(batch.objects.boxes[slot, :n], kept[0])
        np.testing.assert_array_equal(batch.objects.labels[slot, :n], kept[1])
        assert not batch.objects.boxes[slot, n:].any() and not batch.objects.labels[slot, n:].any()


@pytest.mark.parametrize("keep_difficult", [True, False])
def test_every_epoch_has_every_usable_picture_once_in_a_new_order(dataset, keep_difficult):
    usable = [
        i
        for i in range(N)
        if (
            ~dataset.annotation(i).crowd & (keep_difficult | ~dataset.annotation(i).difficult)
        ).any()
    ]
    stream = train(dataset, batch_size=1, keep_difficult=keep_difficult)
    seen = [int(batch.id[0]) for batch in take(stream, 3 * len(usable))]
    epochs = [seen[k * len(usable) : (k + 1) * len(usable)] for k in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == usable
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert {dataset.ids[i] for i in usable}.isdisjoint({"000", "005", "010", "015", "020"})


def test_the_seed_decides_the_order(dataset):
    orders = [[b.id.tolist() for b in take(train(dataset, seed=s), 5)] for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_one_seed_is_not_another_an_epoch_later(dataset):
    usable = len({int(b.id[0]) for b in take(train(dataset, batch_size=1), 2 * N)})
    zero = [int(b.id[0]) for b in take(train(dataset, batch_size=1, seed=0), 2 * usable)]
    one = [int(b.id[0]) for b in take(train(dataset, batch_size=1, seed=1), usable)]
    assert zero[usable:] != one and sorted(zero[usable:]) == sorted(one)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_resume_is_exact(dataset, num_threads):
    """Across the border of an epoch, and whatever the number of threads."""
    straight = take(train(dataset, num_threads=2), 12)
    first = train(dataset, num_threads=num_threads)
    half = take(first, 5)
    state = first.get_state()
    take(first, 2)  # what was read after saving must not matter
    second = train(dataset, num_threads=num_threads)
    second.set_state(state)
    for a, b in zip(straight, half + take(second, 7), strict=True):
        assert_equal(a, b)


def test_state_goes_through_a_checkpoint(dataset, tmp_path):
    expected = take(train(dataset), 6)
    iterator = train(dataset)
    take(iterator, 3)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(3, args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(iterator)))
        manager.wait_until_finished()
        fresh = train(dataset)
        restore = grain.checkpoint.CheckpointRestore(fresh)
        manager.restore(3, args=ocp.args.Composite(data=restore))
    for a, b in zip(expected[3:], take(fresh, 3), strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("process_count", [2, 4])
def test_batches_of_all_processes_are_the_batch_of_one(dataset, process_count):
    whole = take(train(dataset), 8)
    parts = [
        take(train(dataset, process_index=p, process_count=process_count), 8)
        for p in range(process_count)
    ]
    for step, batch in enumerate(whole):
        ids = np.concatenate([part[step].id for part in parts])
        images = np.concatenate([part[step].image for part in parts])
        np.testing.assert_array_equal(ids, batch.id)
        np.testing.assert_array_equal(images, batch.image)


@pytest.mark.parametrize(("batch_size", "process_count"), [(4, 1), (4, 2), (6, 3), (50, 2), (1, 1)])
def test_evaluation_sees_every_picture_once(dataset, batch_size, process_count):
    options = {"batch_size": batch_size, "canvas": 32, "max_objects": 6}
    seen = []
    for p in range(process_count):
        stream = data.eval_batches(dataset, **options, process_index=p, process_count=process_count)
        batches = list(stream)
        assert len(batches) == -(-N // batch_size)  # the same in every process
        assert len(list(stream)) == len(batches)  # and again
        for batch in batches:
            assert batch.image.shape[0] == len(batch.valid) == batch_size // process_count
            assert not batch.image[~batch.valid].any() and not batch.size[~batch.valid].any()
            assert not batch.objects.mask[~batch.valid].any()
            assert batch.size[batch.valid].all()
            seen += batch.id[batch.valid].tolist()
    assert sorted(seen) == list(range(N))


def test_evaluation_keeps_difficult_objects_and_leaves_out_crowds(dataset):
    for batch in data.eval_batches(dataset, batch_size=5, canvas=32, max_objects=6):
        for slot in np.flatnonzero(batch.valid):
            truth = dataset.annotation(batch.id[slot])
            assert batch.objects.mask[slot].sum() == (~truth.crowd).sum()


def test_more_objects_than_places_keeps_the_largest_and_says_so(dataset, caplog):
    batch = next(train(dataset, max_objects=2, batch_size=16, keep_difficult=True))
    assert "images have more than 2 objects (up to 4)" in caplog.text
    cut = 0
    for slot, i in enumerate(batch.id):
        truth = dataset.annotation(i)
        largest = np.sort(truth.area[~truth.crowd])[::-1][:2]
        height, width = truth.height, truth.width
        corners = batch.objects.boxes[slot][batch.objects.mask[slot]]
        area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]) * height * width
        np.testing.assert_allclose(area, largest, rtol=1e-5)
        cut += len(truth.area) > 2
    assert cut > 3


def test_the_number_of_left_out_objects_is_right(dataset, caplog):
    data.train_batches(dataset, batch_size=1, canvas=8, max_objects=3, seed=0)
    usable = ~dataset.table.crowd & ~dataset.table.difficult
    counts = np.bincount(dataset.table.image_of_box()[usable], minlength=N)
    pictures, objects = (counts > 3).sum(), np.maximum(counts - 3, 0).sum()
    assert f"{pictures} images have more than 3 objects" in caplog.text
    assert f"the smallest {objects} are left out" in caplog.text
    assert f"{(counts == 0).sum()} images have no object to train on" in caplog.text


def test_a_batch_that_cannot_be_divided_is_refused(dataset):
    with pytest.raises(ValueError, match="batch of 4 images cannot be divided among 3 processes"):
        train(dataset, process_count=3)
    with pytest.raises(ValueError, match="batch of 0 images"):
        data.eval_batches(dataset, batch_size=0, canvas=8, max_objects=1)


def test_nothing_to_train_on_is_refused(tmp_path):
    pictures = grain.MapDataset.source([unchecked(0)])
    data.prepare(data.Source("bare", {"root": "here"}, lambda d: (("a",), pictures)), dir=tmp_path)
    with pytest.raises(ValueError, match="no image of bare has an object to train on"):
        train(data.open("bare", dir=tmp_path))


def test_reader_orders_boxes_like_a_plain_loop(dataset):
    rng = np.random.default_rng(0)
    usable = rng.random(len(dataset.table.labels)) < 0.7
    reader = _reader(dataset, usable, 8, 9)
    for i in range(N):
        first, last = dataset.table.starts[i : i + 2]
        mine = [t for t in range(first, last) if usable[t]]
        sides = dataset.table.boxes[:, 2:] - dataset.table.boxes[:, :2]
        mine.sort(key=lambda t: -sides[t].prod())
        assert reader.order[reader.starts[i] : reader.starts[i + 1]].tolist() == mine

"""Batches on the host: the only work here is to read, decode and pad."""

import dataclasses
import os

import cv2
import grain
import numpy as np
from absl import logging

from jaxdet.data.dataset import Dataset
from jaxdet.data.decode import decode_to_fit
from jaxdet.types import Batch, Objects

_MAX_THREADS = 16  # decoding leaves Python's lock, the rest does not: more threads only wait
_ENDLESS = 2**40  # steps


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Makes a batch of the pictures with given numbers."""

    dataset: Dataset
    order: np.ndarray  # [U] the usable boxes by picture, in it the largest first
    starts: np.ndarray  # [P + 1] where a picture's boxes begin in `order`
    canvas: int
    max_objects: int

    def batch(self, ids: np.ndarray, valid: np.ndarray) -> Batch:
        """The batch of pictures `ids` [B]; where not `valid` [B], nothing but zeros."""
        batch = self._zeros(ids, valid)
        for slot in np.flatnonzero(valid):
            self._fill_image(batch, slot)
            self._fill_objects(batch, slot)
        return batch

    def _zeros(self, ids: np.ndarray, valid: np.ndarray) -> Batch:
        count, places = len(ids), (len(ids), self.max_objects)
        return Batch(
            image=np.zeros((count, self.canvas, self.canvas, 3), np.uint8),
            size=np.zeros((count, 2), np.int32),
            objects=Objects(
                boxes=np.zeros((*places, 4), np.float32),
                labels=np.zeros(places, np.int32),
                mask=np.zeros(places, bool),
                weight=np.zeros(places, np.float32),
            ),
            id=np.where(valid, ids, 0).astype(np.int32),
            valid=valid,
        )

    def _fill_image(self, batch: Batch, slot: int) -> None:
        i = batch.id[slot]
        try:
            picture = decode_to_fit(self.dataset.encoded(i), self.canvas)
        except ValueError as error:
            raise ValueError(f"picture {self.dataset.ids[i]}: {error}") from error
        height, width = batch.size[slot] = picture.shape[:2]
        batch.image[slot, :height, :width] = picture

    def _fill_objects(self, batch: Batch, slot: int) -> None:
        first, last = self.starts[batch.id[slot] : batch.id[slot] + 2]
        boxes = self.order[first : min(last, first + self.max_objects)]
        columns, objects, n = self.dataset.table, batch.objects, len(boxes)
        objects.boxes[slot, :n], objects.labels[slot, :n] = (
            columns.boxes[boxes],
            columns.labels[boxes],
        )
        objects.mask[slot, :n], objects.weight[slot, :n] = True, 1.0


def _reader(dataset: Dataset, usable: np.ndarray, canvas: int, max_objects: int) -> _Reader:
    """A reader that gives only the usable [T] boxes."""
    columns = dataset.table
    picture = columns.image_of_box()[usable]
    box_area = (columns.boxes[usable, 2:] - columns.boxes[usable, :2]).prod(axis=1)
    # By picture, then by falling area; the sort is stable, so equals keep their order.
    order = np.flatnonzero(usable)[np.lexsort((-box_area, picture))]
    counts = np.bincount(picture, minlength=len(dataset))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return _Reader(dataset, order, starts, canvas, max_objects)


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    canvas: int,
    max_objects: int,
    seed: int,
    keep_difficult: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> grain.DatasetIterator[Batch]:
    """Batches without end; every picture once per epoch, in an order that `seed` decides.

    `batch_size` counts the pictures of all processes together; the batches of the processes,
    put one after another, are the batch that a single process would see. Objects marked as crowd
    are no training objects, nor are difficult ones unless kept; pictures without any are left
    out. Of more objects than `max_objects` the largest are kept. The iterator's `get_state` and
    `set_state` continue exactly.

    Raises:
        ValueError: no picture has an object, or the batch cannot be divided among processes.
    """
    local = _local_size(batch_size, process_count)
    usable = dataset.table.trained_on(keep_difficult=keep_difficult)
    reader = _reader(dataset, usable, canvas, max_objects)
    counts = np.diff(reader.starts)
    pictures = np.flatnonzero(counts)
    if not len(pictures):
        raise ValueError(f"no picture of {dataset.name} has an object to train on")
    if left_out := len(dataset) - len(pictures):
        logging.warning("%s: %d pictures have no object to train on", dataset.name, left_out)
    _warn_of_overflow(dataset, counts, max_objects)
    # Grain seeds epoch n with seed + n; without mixing, seed 1 would be seed 0 an epoch later.
    mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.source(pictures).shuffle(seed=mixed)  # goes on past its length

    def batch(step: int) -> Batch:
        numbers = step * batch_size + process_index * local + np.arange(local)
        return reader.batch(np.array([order[int(n)] for n in numbers]), np.ones(local, bool))

    steps = grain.MapDataset.range(_ENDLESS)
    return iter(steps.map(batch).to_iter_dataset(_read_options(num_threads)))


def eval_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    canvas: int,
    max_objects: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> grain.IterDataset[Batch]:
    """Every picture once over all processes, in order; all batches have the same size.

    `batch_size` counts the pictures of all processes together. What the last batch lacks is
    filled up with zeros and not `valid`; every process sees the same number of batches. The
    objects are all but crowd regions, the largest where there are more than `max_objects`:
    truth for a score comes from `dataset.annotations()`, which has all.

    Raises:
        ValueError: the batch cannot be divided among processes.
    """
    local = _local_size(batch_size, process_count)
    reader = _reader(dataset, ~dataset.table.crowd, canvas, max_objects)

    def batch(step: int) -> Batch:
        numbers = step * batch_size + process_index * local + np.arange(local)
        return reader.batch(numbers, numbers < len(dataset))

    steps = grain.MapDataset.range(-(-len(dataset) // batch_size))
    return steps.map(batch).to_iter_dataset(_read_options(num_threads))


def _local_size(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"a batch of {batch_size} pictures cannot be divided among {process_count} processes"
        )
    return batch_size // process_count


def _read_options(num_threads: int | None) -> grain.ReadOptions:
    cv2.setNumThreads(0)  # the threads below are the parallelism, OpenCV's own get in their way
    threads = num_threads or min(os.cpu_count() or 1, _MAX_THREADS)
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


def _warn_of_overflow(dataset: Dataset, counts: np.ndarray, max_objects: int) -> None:
    over = counts > max_objects
    if over.any():
        logging.warning(
            "%s: %d pictures have more than %d objects (up to %d): the smallest %d are left out",
            *(dataset.name, over.sum(), max_objects, counts.max()),
            (counts - max_objects).clip(min=0).sum(),
        )

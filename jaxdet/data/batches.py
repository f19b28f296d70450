"""Batches on the host: images are only read, decoded and padded here."""

import dataclasses
import os

import cv2
import grain
import numpy as np
from absl import logging

from jaxdet.data.dataset import Dataset
from jaxdet.data.decode import decode_to_fit
from jaxdet.types import Batch, Objects

_MAX_THREADS = 16  # only decoding releases the GIL, so more threads would just wait
_ENDLESS = 2**40  # steps


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Builds batches from image indices."""

    dataset: Dataset
    order: np.ndarray  # [U] indices of the usable boxes, by image, largest first
    starts: np.ndarray  # [P + 1] where each image's boxes begin in `order`
    canvas: int
    max_objects: int

    def batch(self, ids: np.ndarray, valid: np.ndarray) -> Batch:
        """Return the batch of the images `ids` [B], with zeros where `valid` [B] is false."""
        batch = self._zeros(ids, valid)
        for slot in np.flatnonzero(valid):
            self._fill_image(batch, slot)
            self._fill_objects(batch, slot)
        return batch

    def _zeros(self, ids: np.ndarray, valid: np.ndarray) -> Batch:
        count, slots = len(ids), (len(ids), self.max_objects)
        return Batch(
            image=np.zeros((count, self.canvas, self.canvas, 3), np.uint8),
            size=np.zeros((count, 2), np.int32),
            objects=Objects(
                boxes=np.zeros((*slots, 4), np.float32),
                labels=np.zeros(slots, np.int32),
                mask=np.zeros(slots, bool),
                weight=np.zeros(slots, np.float32),
            ),
            id=np.where(valid, ids, 0).astype(np.int32),
            valid=valid,
        )

    def _fill_image(self, batch: Batch, slot: int) -> None:
        i = batch.id[slot]
        try:
            image = decode_to_fit(self.dataset.encoded(i), self.canvas)
        except ValueError as error:
            raise ValueError(f"image {self.dataset.ids[i]}: {error}") from error
        height, width = batch.size[slot] = image.shape[:2]
        batch.image[slot, :height, :width] = image

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
    """Return a reader of only the `usable` [T] boxes."""
    columns = dataset.table
    image = columns.image_of_box()[usable]
    box_area = (columns.boxes[usable, 2:] - columns.boxes[usable, :2]).prod(axis=1)
    # By image, then by decreasing area; the sort is stable, so ties keep their order.
    order = np.flatnonzero(usable)[np.lexsort((-box_area, image))]
    counts = np.bincount(image, minlength=len(dataset))
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
    """Return an endless iterator of batches, each image once per epoch, shuffled by `seed`.

    `batch_size` is the global batch size, over all processes; the batches of the processes,
    concatenated, are the batch that a single process would see. Crowd objects are left out, and so
    are difficult ones unless `keep_difficult`; images with no objects left are skipped. Where there
    are more than `max_objects` objects, the largest are kept. The iterator's `get_state` and
    `set_state` resume exactly.

    Raises:
        ValueError: no image has an object, or the batch cannot be divided among processes.
    """
    local = _local_size(batch_size, process_count)
    usable = dataset.table.trained_on(keep_difficult=keep_difficult)
    reader = _reader(dataset, usable, canvas, max_objects)
    counts = np.diff(reader.starts)
    images = np.flatnonzero(counts)
    if not len(images):
        raise ValueError(f"no image of {dataset.name} has an object to train on")
    if left_out := len(dataset) - len(images):
        logging.warning("%s: %d images have no object to train on", dataset.name, left_out)
    _warn_of_overflow(dataset, counts, max_objects)
    # Grain seeds epoch n with seed + n; unmixed, seed 1 would be seed 0 shifted by an epoch.
    mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.source(images).shuffle(seed=mixed)  # can be indexed past its length

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
    """Return batches of equal size that hold each image once over all processes, in order.

    `batch_size` is the global batch size, over all processes. The last batch is padded with
    zeros that are not `valid`; every process sees the same number of batches. Crowd regions are
    left out, and only the largest `max_objects` objects are kept: take the ground truth for a
    score from `dataset.annotations()`, which has them all.

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
            f"a batch of {batch_size} images cannot be divided among {process_count} processes"
        )
    return batch_size // process_count


def _read_options(num_threads: int | None) -> grain.ReadOptions:
    cv2.setNumThreads(0)  # the threads below parallelise; OpenCV's own get in their way
    threads = num_threads or min(os.cpu_count() or 1, _MAX_THREADS)
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


def _warn_of_overflow(dataset: Dataset, counts: np.ndarray, max_objects: int) -> None:
    over = counts > max_objects
    if over.any():
        logging.warning(
            "%s: %d images have more than %d objects (up to %d): the smallest %d are left out",
            *(dataset.name, over.sum(), max_objects, counts.max()),
            (counts - max_objects).clip(min=0).sum(),
        )

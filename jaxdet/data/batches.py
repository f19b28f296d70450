"""Batches on the host: images are only read, decoded and padded here."""

import dataclasses
import functools
import os

import cv2
import grain
import numpy as np
from absl import logging

from jaxdet.data.dataset import Dataset
from jaxdet.data.decode import decode_to_fit
from jaxdet.types import Batch, Objects, Shape

_MAX_THREADS = 16  # only decoding releases the GIL, so more threads would just wait
_ENDLESS = 2**40  # steps


@dataclasses.dataclass(frozen=True)
class Canvases:
    """Canvases of several shapes (height, width), and which of them each image is on."""

    shapes: tuple[Shape, ...]
    of_image: np.ndarray  # [images] indices into `shapes`


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Builds batches from image indices."""

    dataset: Dataset
    order: np.ndarray  # [U] indices of the usable boxes, by image, largest first
    starts: np.ndarray  # [P + 1] where each image's boxes begin in `order`
    canvases: Canvases
    max_objects: int

    def batch(self, ids: np.ndarray, valid: np.ndarray, canvas: Shape) -> Batch:
        """Return the batch of the images `ids` [B], with zeros where `valid` [B] is false."""
        batch = self._zeros(ids, valid, canvas)
        for slot in np.flatnonzero(valid):
            self._fill_image(batch, slot)
            self._fill_objects(batch, slot)
        return batch

    def _zeros(self, ids: np.ndarray, valid: np.ndarray, canvas: Shape) -> Batch:
        count, slots = len(ids), (len(ids), self.max_objects)
        return Batch(
            image=np.zeros((count, *canvas, 3), np.uint8),
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
            image = decode_to_fit(self.dataset.encoded(i), batch.image.shape[1:3])
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


def _reader(
    dataset: Dataset, usable: np.ndarray, canvas: int | Canvases, max_objects: int
) -> _Reader:
    """Return a reader of only the `usable` [T] boxes."""
    columns = dataset.table
    image = columns.image_of_box()[usable]
    box_area = (columns.boxes[usable, 2:] - columns.boxes[usable, :2]).prod(axis=1)
    # By image, then by decreasing area; the sort is stable, so ties keep their order.
    order = np.flatnonzero(usable)[np.lexsort((-box_area, image))]
    counts = np.bincount(image, minlength=len(dataset))
    starts = np.concatenate([[0], np.cumsum(counts)])
    if isinstance(canvas, int):
        canvas = Canvases(((canvas, canvas),), np.zeros(len(dataset), int))
    return _Reader(dataset, order, starts, canvas, max_objects)


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    canvas: int | Canvases,
    max_objects: int,
    seed: int,
    keep_difficult: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> grain.DatasetIterator[Batch]:
    """Return an endless iterator of batches, each image once per epoch, shuffled by `seed`.

    `canvas` is the side of a square, or says which images are on which canvas: then all images of a
    batch are on the same one, and the batches of each canvas go through its images as if there were
    no others, in proportion to their number (rounded to whole batches per epoch).
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
    shapes, on = reader.canvases.shapes, reader.canvases.of_image[images]
    used = np.unique(on)
    # These can be indexed past their length.
    orders = [grain.MapDataset.source(images[on == i]).shuffle(seed=mixed) for i in used]
    steps_of = tuple(max(1, round(len(order) / batch_size)) for order in orders)

    def batch(step: int) -> Batch:
        which, number = _turn(step, steps_of, seed)
        numbers = number * batch_size + process_index * local + np.arange(local)
        ids = np.array([orders[which][int(n)] for n in numbers])
        return reader.batch(ids, np.ones(local, bool), shapes[used[which]])

    steps = grain.MapDataset.range(_ENDLESS)
    return iter(steps.map(batch).to_iter_dataset(_read_options(num_threads)))


def eval_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    canvas: int | Canvases,
    max_objects: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> grain.IterDataset[Batch]:
    """Return batches of equal size that hold each image once over all processes, in order.

    `batch_size` is the global batch size, over all processes; `canvas` as in `train_batches`, one
    after the other. The last batch of a canvas is padded with zeros that are not `valid`;
    every process sees the same number of batches. Crowd regions are
    left out, and only the largest `max_objects` objects are kept: take the ground truth for a
    score from `dataset.annotations()`, which has them all.

    Raises:
        ValueError: the batch cannot be divided among processes.
    """
    local = _local_size(batch_size, process_count)
    reader = _reader(dataset, ~dataset.table.crowd, canvas, max_objects)

    batches = []  # ids [B] and canvas
    for i, shape in enumerate(reader.canvases.shapes):
        ids = np.flatnonzero(reader.canvases.of_image == i)
        padded = np.append(ids, np.full(-len(ids) % batch_size, len(dataset)))
        batches += [(rows, shape) for rows in padded.reshape(-1, batch_size)]

    def batch(step: int) -> Batch:
        ids, shape = batches[step]
        ids = ids[process_index * local :][:local]
        return reader.batch(ids, ids < len(dataset), shape)

    steps = grain.MapDataset.range(len(batches))
    return steps.map(batch).to_iter_dataset(_read_options(num_threads))


@functools.lru_cache(maxsize=64)
def _epoch(epoch: int, steps_of: tuple[int, ...], seed: int) -> np.ndarray:
    """The canvas of every step of an epoch in which canvas i has steps_of[i]."""
    steps = np.repeat(np.arange(len(steps_of)), steps_of)
    return np.random.default_rng([seed, epoch]).permutation(steps)


def _turn(step: int, steps_of: tuple[int, ...], seed: int) -> tuple[int, int]:
    """The canvas of a step, and how many steps had that canvas before."""
    epoch, at = divmod(step, sum(steps_of))
    steps = _epoch(epoch, steps_of, seed)
    which = int(steps[at])
    return which, epoch * steps_of[which] + int((steps[:at] == which).sum())


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

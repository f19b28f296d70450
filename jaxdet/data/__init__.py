"""Datasets on disk, and batches from them on the host. Needs no TensorFlow and no accelerator.

dataset = data.open("voc_2007_trainval+voc_2012_trainval", dir="data", root="VOCdevkit")
print(dataset.summary())
for batch in data.train_batches(dataset, batch_size=32, canvas=512, max_objects=64, seed=0):
    ...
"""

from jaxdet.data.batches import Canvases, eval_batches, train_batches
from jaxdet.data.builder import prepare, prepare_all
from jaxdet.data.check import Checked, Example, Problems, note
from jaxdet.data.dataset import Dataset, classes, open
from jaxdet.data.decode import decode, read_image, to_canvas
from jaxdet.data.images import IMAGES, images_in
from jaxdet.data.source import Source
from jaxdet.data.units import look

__all__ = [
    "IMAGES",
    "Canvases",
    "Checked",
    "Dataset",
    "Example",
    "Problems",
    "Source",
    "classes",
    "decode",
    "eval_batches",
    "images_in",
    "look",
    "note",
    "open",
    "prepare",
    "prepare_all",
    "read_image",
    "to_canvas",
    "train_batches",
]

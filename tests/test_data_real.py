"""The real pictures: counts, boxes against the annotations themselves, and the whole path."""

import json
import pathlib
import tarfile
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxdet import data
from jaxdet.data import voc

EDGES = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def dir(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("prepared")


def test_voc_2012_trainval(shared, dir):
    devkit = shared / "data" / "VOCdevkit"
    dataset = data.open("voc_2012_trainval", dir=dir, root=devkit)
    assert len(dataset) == 1750 and [len(part.table.ids) for part in dataset.parts] == [1500, 250]
    assert "voc_2012_trainval: 1,750 pictures" in dataset.summary()
    assert all(not part.problems for part in dataset.parts)
    for i in (0, 700, 1499, 1500, 1749):
        annotation = dataset.annotation(i)
        root = ElementTree.parse(devkit / f"VOC2012/Annotations/{annotation.id}.xml").getroot()
        things = root.findall("object")
        assert len(things) == len(annotation.labels)
        size = np.array([annotation.width, annotation.height] * 2)
        for thing, box, label in zip(things, annotation.boxes, annotation.labels, strict=True):
            assert thing.find("name").text == dataset.classes[label]
            corners = [float(thing.find("bndbox").find(edge).text) for edge in EDGES]
            np.testing.assert_allclose(box * size + [1, 1, 0, 0], corners, atol=1e-3)
        assert dataset.image(i).shape == (annotation.height, annotation.width, 3)


@pytest.mark.slow
def test_voc_2007_annotations_are_all_understood(shared, tmp_path):
    """5,011 pictures of trainval and 4,952 of test; with 11,540 of 2012 the 16,551 of VOC07+12."""
    archive = shared / "data" / "voc2007_test_eval" / "voc2007_annotations.tar.xz"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "voc2007").rename(tmp_path / "VOC2007")
    sources = [voc.find(f"voc_2007_{split}", tmp_path) for split in ("trainval", "test")]
    for found, pictures, objects in zip(sources, (5011, 4952), (15662, 14976), strict=True):
        loaded = [source.load(tmp_path)[1] for source in found]
        assert sum(map(len, loaded)) == pictures
        assert sum(len(picture.names) for part in loaded for picture in part) == objects


def test_coco(shared, dir):
    root = shared / "data" / "coco"
    dataset = data.open("coco_2017_val", dir=dir, root=root)
    content = json.loads((root / "annotations/instances_val2017.json").read_text())
    assert len(dataset) == len(content["images"]) == 100 and len(dataset.classes) == 80
    assert (dataset.classes[0], dataset.classes[-1]) == ("person", "toothbrush")
    numbers = {c["id"]: dataset.classes.index(c["name"]) for c in content["categories"]}
    for annotation in dataset.annotations():
        things = [a for a in content["annotations"] if str(a["image_id"]) == annotation.id]
        assert [numbers[a["category_id"]] for a in things] == annotation.labels.tolist()
        assert [bool(a["iscrowd"]) for a in things] == annotation.crowd.tolist()
        np.testing.assert_allclose([a["area"] for a in things], annotation.area, rtol=1e-6)
        scale = np.array([annotation.width, annotation.height] * 2)
        for thing, box in zip(things, annotation.boxes * scale, strict=True):
            x, y, w, h = thing["bbox"]
            np.testing.assert_allclose(box, [x, y, x + w, y + h], atol=0.02)
    seen = 0
    for batch in data.eval_batches(dataset, batch_size=16, canvas=640, max_objects=100):
        assert batch.size[batch.valid].max(axis=1).max() <= 640
        seen += batch.valid.sum()
    assert seen == 100


def test_an_epoch_of_real_pictures(shared, dir):
    dataset = data.open("voc_2012_val", dir=dir, root=shared / "data" / "VOCdevkit")
    stream = data.train_batches(dataset, batch_size=25, canvas=512, max_objects=32, seed=1)
    seen = np.concatenate([next(stream).id for _ in range(10)])
    easy = [i for i in range(250) if not dataset.annotation(i).difficult.all()]
    assert sorted(seen[: len(easy)].tolist()) == easy and len(easy) > 200

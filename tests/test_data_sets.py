"""Datasets by name: preparation, conventions, refusals, and sets prepared by others."""

import pathlib
import re
import shutil
import subprocess
import sys

import grain
import numpy as np
import pytest
from tiny_sets import jpeg, picture, voc_xml, write_coco, write_voc

from jaxdet import data
from jaxdet.data import builder, check, voc
from jaxdet.data.check import Example

DOG = ("dog", 11, 7, 20, 18, False)  # of a picture 40 wide and 30 high
HARD = ("person", 1, 1, 40, 30, True)


@pytest.fixture
def devkit(tmp_path) -> pathlib.Path:
    lists = {"train": {"000001": [DOG, HARD], "000002": []}, "val": {"000003": [HARD]}}
    write_voc(tmp_path / "VOCdevkit", lists)
    return tmp_path / "VOCdevkit"


@pytest.fixture
def dir(tmp_path) -> pathlib.Path:
    return tmp_path / "prepared"


def by_id(dataset: data.Dataset) -> dict:
    return {annotation.id: annotation for annotation in dataset.annotations()}


def test_voc_boxes_count_pixels_from_one(devkit, dir):
    dataset = data.open("voc_2007_train", dir=dir, root=devkit)
    assert dataset.classes == voc.CLASSES and len(dataset) == 2
    annotation = by_id(dataset)["000001"]
    expected = np.array([[10 / 40, 6 / 30, 20 / 40, 18 / 30], [0, 0, 1, 1]], np.float32)
    np.testing.assert_array_equal(annotation.boxes, expected, strict=True)
    assert [dataset.classes[label] for label in annotation.labels] == ["dog", "person"]
    assert annotation.difficult.tolist() == [False, True] and not annotation.crowd.any()
    np.testing.assert_allclose(annotation.area, [10 * 12, 40 * 30], rtol=1e-6)
    assert (annotation.height, annotation.width) == (30, 40)
    assert by_id(dataset)["000002"].boxes.shape == (0, 4)


def test_pictures_go_with_their_annotations_in_every_part(devkit, dir):
    dataset = data.open("voc_2007_trainval", dir=dir, root=devkit)
    assert sorted(dataset.ids) == ["000001", "000002", "000003"]
    for i, id in enumerate(dataset.ids):
        blue = {"000001": 0, "000002": 40, "000003": 0}[id]
        assert abs(dataset.image(i)[..., 2].mean() - blue) < 3
        assert dataset.annotation(i).id == id
        assert dataset.encoded(i) == (devkit / f"VOC2007/JPEGImages/{id}.jpg").read_bytes()


def test_second_opening_reads_what_is_prepared(devkit, dir):
    first = data.open("voc_2007_train", dir=dir, root=devkit)
    shutil.rmtree(devkit)
    second = data.open("voc_2007_train", dir=dir)
    assert list(first.ids) == list(second.ids)
    with pytest.raises(ValueError, match="no VOC2007/ImageSets/Main in"):
        data.open("voc_2007_train", dir=dir, root=devkit)


def test_only_what_is_asked_for_is_prepared(devkit, dir):
    data.open("voc_2007_val", dir=dir, root=devkit)
    assert builder.is_prepared(dir, "voc_2007_val")
    assert not builder.is_prepared(dir, "voc_2007_train")


@pytest.mark.parametrize("part", ["", "VOC2007", ".."])
def test_root_may_be_the_devkit_its_parent_or_the_year(devkit, dir, part):
    assert len(data.open("voc_2007_val", dir=dir, root=(devkit / part).resolve())) == 1


def test_trainval_list_alone(devkit, dir):
    main = devkit / "VOC2007" / "ImageSets" / "Main"
    (main / "train.txt").rename(main / "trainval.txt")
    (main / "val.txt").unlink()
    assert len(data.open("voc_2007_trainval", dir=dir, root=devkit)) == 2
    assert len(data.open("voc_2007_trainval", dir=dir)) == 2
    with pytest.raises(ValueError, match=r"no list for 'train'; found \['trainval'\]"):
        data.open("voc_2007_train", dir=dir, root=devkit)


def test_unknown_names_are_refused_with_the_nearest(dir):
    with pytest.raises(ValueError, match="no dataset 'voc_2012_trian'.*mean 'voc_2012_train'"):
        data.open("voc_2012_trian", dir=dir)
    with pytest.raises(ValueError, match="voc_2012_test is not published"):
        data.open("voc_2012_test", dir=dir)


def test_a_picture_cannot_be_in_a_set_twice(devkit, dir):
    with pytest.raises(ValueError, match="has more than one image '000001'"):
        data.open("voc_2007_train+voc_2007_trainval", dir=dir, root=devkit)


def test_preparation_from_another_root_or_list_is_refused(devkit, dir):
    data.open("voc_2007_train", dir=dir, root=devkit)
    shutil.copytree(devkit, devkit.parent / "other")
    with pytest.raises(ValueError, match="was prepared from .* delete this one"):
        data.open("voc_2007_train", dir=dir, root=devkit.parent / "other")
    with (devkit / "VOC2007/ImageSets/Main/train.txt").open("a") as file:
        file.write("000003\n")
    with pytest.raises(ValueError, match="was prepared from .*sha256 of train.txt"):
        data.open("voc_2007_train", dir=dir, root=devkit)
    assert len(data.open("voc_2007_train", dir=dir)) == 2


def test_bad_pictures_and_boxes_are_counted_named_and_kept_in_the_summary(devkit, dir, caplog):
    folder = devkit / "VOC2007"
    bad = [("dog", 5, 5, 5, 4, False), ("dog", 41, 1, 60, 30, False), ("dog", 30, 1, 60, 30, False)]
    (folder / "Annotations/000001.xml").write_text(voc_xml([DOG, *bad], (30, 40)))
    whole = (folder / "JPEGImages/000002.jpg").read_bytes()
    (folder / "JPEGImages/000002.jpg").write_bytes(whole[:-20])
    (folder / "ImageSets/Main/train.txt").write_text("000001\n000002\n000004\n")
    (folder / "Annotations/000004.xml").write_text(voc_xml([DOG], (30, 40)))
    dataset = data.open("voc_2007_train", dir=dir, root=devkit)
    assert list(dataset.ids) == ["000001"] and len(dataset.annotation(0).labels) == 2
    for text in (caplog.text, data.open("voc_2007_train", dir=dir).summary()):
        assert "box is empty" in text and "box lies outside" in text and "clipped" in text
        assert "image file is missing: 1" in text and "000004.xml" in text
        assert "truncated JPEG" in text and "000002.xml" in text


def test_summary_counts(devkit, dir):
    text = data.open("voc_2007_trainval", dir=dir, root=devkit).summary()
    assert "voc_2007_trainval: 3 pictures, 3 boxes (2 difficult)" in text
    assert "voc_2007_train: 2 pictures, 2 boxes (1 difficult)" in text
    assert "images without boxes: 1" in text
    counts = dict(re.findall(r"([a-z]+) +(\d+)", text.split("boxes per class:")[1]))
    assert counts["dog"] == "1" and counts["person"] == "2" and counts["cat"] == "0"
    assert list(counts)[:3] == ["aeroplane", "cat", "person"] and len(counts) == 20


def test_unknown_class_in_an_annotation(devkit, dir):
    xml = devkit / "VOC2007/Annotations/000003.xml"
    xml.write_text(voc_xml([("perso", 1, 1, 5, 5, False)], (30, 40)))
    with pytest.raises(ValueError, match="000003.xml: unknown class 'perso'.*'person'"):
        data.open("voc_2007_val", dir=dir, root=devkit)
    xml.write_text(voc_xml([("person", 1, 1, 5, 5, False)], (30, 40)))
    assert len(data.open("voc_2007_val", dir=dir, root=devkit)) == 1  # simply run again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no annotation file at .*000003.xml"),
        ("<annotation>", "000003.xml is not an annotation in VOC's format"),
        (voc_xml([("dog", "a", 1, 5, 5, 0)], (30, 40)), "000003.xml is not an annotation"),
        (voc_xml([], (0, 40)), "without a usable size.*40 x 0"),
        (voc_xml([("", 1, 1, 5, 5, 0)], (30, 40)), "object without a name: object 1"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "unknown encoding"),
    ],
)
def test_malformed_annotations(devkit, dir, text, message):
    xml = devkit / "VOC2007/Annotations/000003.xml"
    xml.write_text(text) if text else xml.unlink()
    with pytest.raises(ValueError, match=message):
        data.open("voc_2007_val", dir=dir, root=devkit)


def test_empty_split_is_an_error(devkit, dir):
    main = devkit / "VOC2007/ImageSets/Main"
    (main / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="voc_2007_val has no usable image: an empty list"):
        data.open("voc_2007_val", dir=dir, root=devkit)
    (main / "val.txt").write_text("000003\n")
    (devkit / "VOC2007/JPEGImages/000003.jpg").unlink()
    with pytest.raises(ValueError, match="no usable image: .*image file is missing"):
        data.open("voc_2007_val", dir=dir, root=devkit)


def test_a_picture_that_a_list_names_twice(devkit, dir):
    (devkit / "VOC2007/ImageSets/Main/val.txt").write_text("000003\n000003\n")
    with pytest.raises(ValueError, match="voc_2007_val has two images named 000003"):
        data.open("voc_2007_val", dir=dir, root=devkit)


def test_interrupted_preparation_can_be_run_again(devkit, dir, monkeypatch):
    [found] = voc.find("voc_2007_train", devkit)
    real = check.check

    def interrupt(unchecked, classes):
        if unchecked.id == "000002":
            raise KeyboardInterrupt
        return real(unchecked, classes)

    with monkeypatch.context() as patch:
        patch.setattr(check, "check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.prepare(found, dir=dir)
    killed = dir / ".incomplete" / "voc_2007_train" / "1.0.0"  # as a kill would leave it
    killed.mkdir(parents=True)
    (killed / "dataset_info.json").write_text("{}")
    assert builder.prepared(dir) == []
    assert not builder.is_prepared(dir, "voc_2007_train")
    assert len(data.open("voc_2007_train", dir=dir, root=devkit)) == 2
    assert not killed.exists()
    (dir / "voc_2007_train" / builder.VERSION / "annotations.npz").unlink()  # killed later still
    assert len(data.open("voc_2007_train", dir=dir, root=devkit)) == 2


def test_coco(tmp_path, dir):
    dog = {"category_id": 3, "bbox": [4, 5, 8, 10], "area": 55.5, "iscrowd": 0}
    crowd = {"category_id": 7, "bbox": [0, 0, 40, 20], "area": 300.0, "iscrowd": 1}
    write_coco(tmp_path, {25: [dog, crowd], 7: []})
    dataset = data.open("coco_2017_val", dir=dir, root=tmp_path)
    assert dataset.classes == ("dog", "cat")  # by number; 3 and 7 become 0 and 1
    annotation = by_id(dataset)["25"]
    expected = np.array([[0.1, 0.25, 0.3, 0.75], [0, 0, 1, 1]], np.float32)
    np.testing.assert_allclose(annotation.boxes, expected, rtol=1e-6)
    assert annotation.labels.tolist() == [0, 1] and annotation.crowd.tolist() == [False, True]
    assert annotation.area.tolist() == [55.5, 300] and not annotation.difficult.any()
    with pytest.raises(ValueError, match=r"no instances_train2017.json .*instances_val2017.json"):
        data.open("coco_2017_train", dir=dir, root=tmp_path)


def test_coco_contradictions(tmp_path, dir):
    write_coco(tmp_path, {25: [{"category_id": 4, "bbox": [4, 5, 8, 10]}]})
    with pytest.raises(ValueError, match="has category_id 4, expected one of 3 dog, 7 cat"):
        data.open("coco_2017_val", dir=dir, root=tmp_path)
    json = tmp_path / "annotations" / "instances_val2017.json"
    json.write_text(json.read_text().replace('"image_id": 25', '"image_id": 26'))
    with pytest.raises(ValueError, match=r"does not list: .*has the image_id 26"):
        data.open("coco_2017_val", dir=dir, root=tmp_path)
    json.write_text(json.read_text().replace('"bbox"', '"box"').replace(": 26", ": 25"))
    json.write_text(json.read_text().replace('"category_id": 4', '"category_id": 3'))
    with pytest.raises(ValueError, match=r"object without a box: .*annotations\[0\]"):
        data.open("coco_2017_val", dir=dir, root=tmp_path)
    json.write_text(json.read_text().replace('"cat"', '"dog"'))
    with pytest.raises(ValueError, match="two categories with the same"):
        data.open("coco_2017_val", dir=dir, root=tmp_path)
    json.write_text("[]")
    with pytest.raises(ValueError, match="not in COCO's format"):
        data.open("coco_2017_val", dir=dir, root=tmp_path)


def test_sets_of_different_classes_cannot_be_joined(tmp_path, devkit, dir):
    write_coco(devkit, {25: []})
    with pytest.raises(ValueError, match="their classes differ"):
        data.open("coco_2017_val+voc_2007_val", dir=dir, root=devkit)


def test_pictures_of_ones_own_go_the_same_way(dir):
    mine = Example(
        id="one",
        file="one.jpg",
        encoded=jpeg(picture(20, 40)),
        size=None,
        boxes=np.array([[0.1, 0.2, 0.3, 0.4]]),
        names=["cell"],
        difficult=np.zeros(1, bool),
        crowd=np.zeros(1, bool),
        area=np.full(1, np.nan),
    )
    load = lambda downloads: (("cell",), grain.MapDataset.source([mine]))
    data.prepare(data.Source("blood_train", {"root": "here"}, load), dir=dir)
    dataset = data.open("blood_train", dir=dir)
    assert dataset.classes == ("cell",) and list(dataset.ids) == ["one"]
    np.testing.assert_allclose(dataset.annotation(0).boxes, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    with pytest.raises(ValueError, match="was prepared from .*root: here then, elsewhere now"):
        data.prepare(data.Source("blood_train", {"root": "elsewhere"}, load), dir=dir)
    with pytest.raises(ValueError, match="no dataset 'blood_trian' .*mean 'blood_train'"):
        data.open("blood_trian", dir=dir)


def test_nothing_here_imports_tensorflow_or_pytorch():
    code = "import sys, jaxdet.data; print({'tensorflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr

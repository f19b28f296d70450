"""Sets that TFDS's own builders prepared, read as they are."""

import functools
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_sets import jpeg, picture

from jaxdet import data
from jaxdet.data import builder, table, voc


@pytest.fixture
def dir(tmp_path) -> pathlib.Path:
    return tmp_path / "prepared"


class Voc(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS's `voc`, its features and its reading of the boxes, on two pictures."""

    url_infos = {}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="2007", version=tfds.core.Version("5.0.0"))]

    def _info(self):
        label = functools.partial(tfds.features.ClassLabel, names=voc.CLASSES)
        objects = {
            "label": label(),
            "bbox": tfds.features.BBoxFeature(),
            "pose": tfds.features.ClassLabel(names=["frontal", "rear"]),
            "is_truncated": np.bool_,
            "is_difficult": np.bool_,
        }
        features = {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
            "labels": tfds.features.Sequence(label()),
            "labels_no_difficult": tfds.features.Sequence(label()),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "validation")}

    def _generate_examples(self, split):
        whole = jpeg(picture(30, 40))
        first = "000005" if split == "train" else "000006"
        for stem, encoded in ((first, whole), ("000007", whole[:-30])):
            box = tfds.features.BBox(ymin=7 / 30, xmin=11 / 40, ymax=18 / 30, xmax=20 / 40)
            thing = {"bbox": box, "label": "dog", "is_difficult": True, "is_truncated": False}
            yield (
                stem,
                {
                    "image": encoded,
                    "image/filename": f"{stem}.jpg",
                    "objects": [thing | {"pose": "rear"}],
                    "labels": ["dog"],
                    "labels_no_difficult": [],
                },
            )


class Coco(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS's `coco` on one picture."""

    url_infos = {}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="2017", version=tfds.core.Version("1.1.0"))]

    def _info(self):
        objects = {
            "id": np.int64,
            "area": np.int64,
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["dog", "cat"]),
            "is_crowd": np.bool_,
        }
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "image/filename": tfds.features.Text(),
            "image/id": np.int64,
            "objects": tfds.features.Sequence(objects),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        box = tfds.features.BBox(ymin=0.2, xmin=0.1, ymax=0.4, xmax=0.3)
        thing = {"id": 1, "area": 17, "bbox": box, "label": "cat", "is_crowd": True}
        yield (
            "000000000025.jpg",
            {
                "image": jpeg(picture(20, 40)),
                "image/filename": "000000000025.jpg",
                "image/id": 25,
                "objects": [thing],
            },
        )


def test_set_prepared_by_tfds_itself_is_read_as_it_is(dir, caplog):
    Voc(data_dir=dir, config="2007", file_format="array_record").download_and_prepare()
    assert (dir / "voc/2007/5.0.0").is_dir()
    for _ in range(2):  # the second time from what the first has noted
        dataset = data.open("voc_2007_trainval", dir=dir)
        assert list(dataset.ids) == ["000005", "000006"]
        annotation = dataset.annotation(1)
        expected = [[10 / 40, 6 / 30, 20 / 40, 18 / 30]]
        np.testing.assert_allclose(annotation.boxes, expected, rtol=1e-6)
        assert annotation.difficult.tolist() == [True] and not annotation.crowd.any()
        np.testing.assert_allclose(annotation.area, [120], rtol=1e-6)
        assert dataset.image(1).shape == (30, 40, 3)
        assert "000007" in caplog.text and "truncated" in dataset.summary()
    assert not builder.is_prepared(dir, "voc_2007_train")
    with pytest.raises(ValueError, match=r"no split 'test'; found \['train', 'validation'\]"):
        data.open("voc_2007_test", dir=dir)


def test_coco_prepared_by_tfds_itself(dir):
    Coco(data_dir=dir, config="2017", file_format="array_record").download_and_prepare()
    dataset = data.open("coco_2017_val", dir=dir)
    annotation = dataset.annotation(0)
    assert dataset.classes == ("dog", "cat") and list(dataset.ids) == ["25"]
    np.testing.assert_allclose(annotation.boxes, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    assert annotation.crowd.tolist() == [True] and annotation.area.tolist() == [17]


def test_what_was_noted_about_a_set_is_renewed_when_the_set_changes(dir):
    Coco(data_dir=dir, config="2017", file_format="array_record").download_and_prepare()
    data.open("coco_2017_val", dir=dir)
    note = dir / "coco/2017/1.1.0/jaxdet_annotations_validation.npz"
    kept, text = table.load(note)
    table.save(kept, note, note=text.replace('"records": 1', '"records": 2'))
    data.open("coco_2017_val", dir=dir)
    assert '"records": 1' in table.load(note)[1]


def test_a_set_in_a_folder_that_cannot_be_written_is_read_all_the_same(dir, monkeypatch, caplog):
    Coco(data_dir=dir, config="2017", file_format="array_record").download_and_prepare()

    def refuse(*arguments, **keywords):
        raise PermissionError("read-only")

    monkeypatch.setattr(table, "save", refuse)
    assert len(data.open("coco_2017_val", dir=dir)) == 1
    assert "will run again next time: read-only" in caplog.text


def test_another_file_format_is_refused(dir):
    Coco(data_dir=dir, config="2017", file_format="array_record").download_and_prepare()
    info = dir / "coco/2017/1.1.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="holds tfrecord records; prepare the dataset with"):
        data.open("coco_2017_val", dir=dir)

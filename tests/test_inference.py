"""A trained detector in Python: what it takes, which detections it returns, and in what form."""

import dataclasses
import sys

import numpy as np
import PIL.Image
import pytest

from configs import quickstart
from jaxdet import build, data
from jaxdet.augment.fit import stretch
from jaxdet.engine import inference, tiles
from jaxdet.engine.images import as_rgb
from jaxdet.engine.result import Result
from jaxdet.types import Detections, ImageDetections

CLASSES = ("cat", "dog", "hot dog")


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Three overlapping boxes in every image, of which NMS and the limits leave some."""

    limits: tuple[float, float, int]
    agnostic: bool
    size: int = 64
    classes: tuple[str, ...] = CLASSES
    fit = staticmethod(stretch)
    fill = (0.0, 0.0, 0.0)

    def predict(self, variables, pixels, inside=None):
        low, iou, count = self.limits
        boxes = [(0, 0, 1, 0.5), (0, 0, 1, 0.4), (0, 0, 0.5, 0.5), (0.5, 0.5, 2, 2)]
        scores, labels = np.array([0.9, 0.5, 0.2, 0.05]), np.array([0, 1, 0, 2])
        valid = (scores > low) & ((np.arange(4) != 1) | (not self.agnostic))
        valid &= (np.arange(4) != 2) | (iou > 0.5)  # its IoU with the first is 0.5
        order = np.argsort(~valid, kind="stable")[: min(count, 4)]
        shape = (len(pixels), len(order))
        return Detections(
            np.broadcast_to(np.array(boxes, np.float32)[order], (*shape, 4)),
            np.broadcast_to(scores[order], shape),
            np.broadcast_to(labels[order], shape),
            np.broadcast_to(valid[order], shape),
        )


@pytest.fixture
def detector(monkeypatch):
    """Its recipe says: above 0.1, IoU 0.45, the best two."""
    made = []

    def make(config, classes):
        evaluation = config.evaluation
        limits = tuple(evaluation[k] for k in ("score_threshold", "iou_threshold", "max_kept"))
        made.append(Fixed(limits, evaluation.get("nms") == "agnostic"))
        return made[-1]

    monkeypatch.setattr(build, "_detector", make)
    config = quickstart.get_config()
    config.evaluation.update(score_threshold=0.1, iou_threshold=0.45, max_kept=2)
    pretrained = inference.Pretrained(build.recipe(config, CLASSES), {}, step=7)
    pretrained.made = made
    return pretrained


def grey(height=40, width=60):
    return np.full((height, width, 3), 90, np.uint8)


def test_whatever_is_an_image_is_taken(detector, tmp_path):
    path, image = tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    PIL.Image.fromarray(image).save(path)
    alpha = np.concatenate([image, np.full((4, 6, 1), 9, np.uint8)], axis=2)
    for each in (path, str(path), image, alpha, PIL.Image.fromarray(image)):
        np.testing.assert_array_equal(as_rgb(each), image)
    np.testing.assert_array_equal(as_rgb(PIL.Image.fromarray(alpha)), image)
    for each in (image[..., 0], image[..., :1], PIL.Image.fromarray(image[..., 0])):
        np.testing.assert_array_equal(as_rgb(each), np.repeat(image[..., :1], 3, axis=2))
    one = detector(path)
    assert isinstance(one, Result)
    assert one.names == ["cat", "dog"] and len(one) == 2
    np.testing.assert_allclose(one.boxes, [[0, 0, 6, 2], [0, 0, 6, 1.6]], atol=1e-5)
    several = detector([path, image, PIL.Image.fromarray(image)], batch_size=2)
    assert [each.names for each in several] == [["cat", "dog"]] * 3
    assert detector([]) == [] == detector.detect([])


def test_a_rotated_photo_is_upright(tmp_path):
    photo, exif = PIL.Image.fromarray(grey(4, 6)), PIL.Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.jpg", exif=exif)
    assert as_rgb(tmp_path / "a.jpg").shape == (6, 4, 3)
    assert as_rgb(PIL.Image.open(tmp_path / "a.jpg")).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 6, 3)), r"float64 \[4, 6, 3\], expected RGB uint8 .*if 1 is white"),
        (np.zeros((4, 6, 3), np.uint16), r"uint16 \[4, 6, 3\], expected RGB uint8"),
        (np.zeros((3, 4, 6), np.uint8), r"an image is \[3, 4, 6\], expected RGB uint8"),
        (np.zeros((2, 4, 6, 3), np.uint8), "a batch is a list of images"),
        (np.zeros((0, 6, 3), np.uint8), r"an image is empty, \[0, 6, 3\]"),
        (PIL.Image.fromarray(np.zeros((4, 6), np.uint16)), "mode I;16, expected one with 8 bits"),
        (b"abc", "an image is of type bytes, expected a path, a PIL image or an array"),
        ("absent.jpg", "no image file at absent.jpg"),
    ],
)
def test_what_is_no_image_is_refused(detector, image, said):
    with pytest.raises(ValueError, match=said):
        as_rgb(image)
    with pytest.raises(ValueError, match=said):
        detector([grey(), image])


def test_narrower_settings_filter_and_wider_ones_are_compiled_once(detector):
    find = lambda **settings: detector(grey(), **settings).names
    assert find() == find(score=0.1, iou=0.45, max=2) == ["cat", "dog"]
    assert find(score=0.5) == ["cat"] == find(max=1)  # above it, not at it
    assert find(classes=["dog", "hot dog"]) == ["dog"]
    assert find(classes=["dog"], max=1) == ["dog"]
    assert len(detector.made) == 1  # the recipe's own
    assert find(iou=0.6, max=4) == ["cat", "dog", "cat"]
    assert find(iou=0.6, max=4, score=0.3) == ["cat", "dog"]
    assert len(detector.made) == 2
    assert find(score=0.01, max=9) == ["cat", "dog", "hot dog"]
    assert detector.made[-1].limits == (0.01, 0.45, 9)
    assert find(agnostic=True) == ["cat"]
    assert len(detector.made) == 4
    boxes = detector(grey(), score=0, max=4).boxes
    np.testing.assert_allclose(boxes[-1], [30, 20, 60, 40])  # cut off at the image


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"score": 1.5}, "score is 1.5, expected a number, from 0 to 1"),
        ({"score": float("nan")}, "score is nan, expected a number"),
        ({"score": "0.5"}, "score is '0.5', expected a number"),
        ({"iou": -1}, "iou is -1, expected a number, from 0 to 1"),
        ({"max": 0}, "max is 0, expected a whole number, at least 1"),
        ({"max": 2.5}, "max is 2.5, expected a whole number"),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number, at least 1"),
        ({"tile": 8}, "tile is 8, expected a whole number, at least 32"),
        ({"tile": 64, "overlap": 1}, "overlap is 1, expected a number, from 0 to 0.9"),
        ({"overlap": 0.2}, "overlap is 0.2, but there is no tile"),
        ({"classes": "cat"}, "classes is 'cat', expected a list of names"),
        ({"classes": ["hotdog"]}, "classes: there is no 'hotdog'; did you mean 'hot dog'?"),
    ],
)
def test_values_out_of_range_are_refused(detector, settings, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        detector(grey(), **settings)


def test_an_unknown_setting_is_refused(detector):
    with pytest.raises(TypeError, match="no setting 'threshold', expected some of score, iou"):
        detector(grey(), threshold=0.5)


def result():
    boxes, scores = np.float32([[1, 2, 11, 22.5], [0, 0, 5, 5]]), np.float32([0.75, 0.5])
    return Result(boxes, scores, np.int32([2, 0]), CLASSES)


def test_coco_form():
    assert result().to_coco(17)[0] == {
        "image_id": 17,
        "category_id": 3,
        "bbox": [1, 2, 10, 20.5],
        "score": 0.75,
    }
    assert [each["category_id"] for each in result().to_coco(1, (4, 5, 90))] == [90, 4]
    with pytest.raises(ValueError, match="2 category_ids for 3 classes"):
        result().to_coco(1, [1, 2])
    assert Result(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), CLASSES).to_coco(1) == []


def test_supervisions_form():
    pytest.importorskip("supervision")
    theirs = result().to_supervision()
    np.testing.assert_array_equal(theirs.xyxy, result().boxes)
    np.testing.assert_array_equal(theirs.class_id, [2, 0])
    np.testing.assert_array_equal(theirs.confidence, [0.75, 0.5])
    assert theirs["class_name"].tolist() == ["hot dog", "cat"]
    assert len(result().select(np.zeros(2, bool)).to_supervision()) == 0


def test_without_supervision_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        result().to_supervision()


def test_drawing_takes_whatever_is_an_image(tmp_path):
    PIL.Image.fromarray(grey()).save(tmp_path / "a.png")
    drawn = result().draw(tmp_path / "a.png")
    assert drawn.shape == (40, 60, 3)
    assert (drawn != grey()).any()
    np.testing.assert_array_equal(drawn, result().draw(grey()[..., 0]))


# --- tiles ---


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"),
    [((100, 230), 64, 0.25), ((64, 64), 64, 0.2), ((30, 200), 64, 0), ((129, 65), 64, 0.9)],
)
def test_tiles_cover_the_image_and_overlap(shape, tile, overlap):
    places = tiles.windows(shape, tile, overlap)
    covered = np.zeros(shape, int)
    for x1, y1, x2, y2 in places:
        assert 0 <= x1 < x2 <= shape[1] and 0 <= y1 < y2 <= shape[0]
        assert (x2 - x1, y2 - y1) == (min(tile, shape[1]), min(tile, shape[0]))
        covered[y1:y2, x1:x2] += 1
    assert (covered > 0).all()
    for axis in (0, 1):
        starts = sorted(set(places[:, axis].tolist()))
        assert all(np.diff(starts) <= tile * (1 - overlap) + 1)
    assert (len(places) == 1) == (max(shape) <= tile)


def found(*rows):
    boxes, scores, labels = zip(*rows, strict=True) if rows else (np.zeros((0, 4)), (), ())
    return ImageDetections(np.float32(boxes), np.float32(scores), np.int32(labels))


def merged(whole, *of_tiles, **settings):
    places = np.array([(0, 0, 100, 100), (80, 0, 180, 100)])
    how = {"iou": 0.5, "agnostic": False} | settings
    return tiles.merge(whole, list(of_tiles), places, (100, 180), **how)


def test_boxes_of_tiles_move_into_the_image():
    second = found(((30, 40, 50, 60), 0.8, 1))
    joined = merged(found(((0, 0, 9, 9), 0.6, 0)), found(), second)
    np.testing.assert_array_equal(joined.boxes, [[110, 40, 130, 60], [0, 0, 9, 9]])
    np.testing.assert_array_equal(joined.labels, [1, 0])


def test_an_object_that_several_tiles_see_is_found_once():
    one, other = found(((82, 10, 96, 30), 0.7, 1)), found(((2, 10, 16, 31), 0.9, 1))
    joined = merged(found(), one, other)
    np.testing.assert_array_equal(joined.boxes, [[82, 10, 96, 31]])
    twice = merged(found(), one, found(((2, 10, 16, 31), 0.9, 0)))
    assert len(twice.scores) == 2  # of two classes
    assert len(merged(found(), one, found(((2, 10, 16, 31), 0.9, 0)), agnostic=True).scores) == 1


def test_a_cut_box_yields_to_the_whole_one_though_its_score_is_higher():
    cut, whole = found(((70, 10, 100, 50), 0.95, 1)), found(((70, 10, 140, 50), 0.4, 1))
    np.testing.assert_array_equal(merged(whole, cut, found()).scores, np.float32([0.4]))
    np.testing.assert_array_equal(merged(found(), cut, found()).scores, np.float32([0.95]))
    at_the_edge = found(((70, 60, 90, 100), 0.95, 1))  # the border is that of the image
    below = found(((70, 50, 90, 170), 0.4, 1))
    assert len(merged(below, at_the_edge, found()).scores) == 2


def test_small_objects_are_found_in_tiles_and_large_ones_in_the_image(detector, monkeypatch):
    """A detector that misses what is smaller than a tenth of its view."""

    def detect(images, limits, batch_size):
        for image in images:
            ys, xs = np.nonzero(image[..., 0] > 200)
            large = len(ys) and np.ptp(ys) + 1 > 0.1 * max(image.shape)
            if large:
                yield found(((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), 0.9, 0))
            else:
                yield found()

    monkeypatch.setattr(detector, "_detect", lambda *a: list(detect(*a)))
    image = grey(300, 300)
    image[150:170, 190:210] = 255
    assert len(detector(image)) == 0
    np.testing.assert_array_equal(detector(image, tile=100).boxes, [[190, 150, 210, 170]])
    assert len(detector(image[:90, :90], tile=100)) == 0
    image[20:280, 20:280] = 255
    np.testing.assert_array_equal(detector(image, tile=100).boxes, [[20, 20, 280, 280]])


def test_loading_says_where_there_is_no_detector(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint"):
        inference.load(tmp_path)


def test_images_of_a_long_list_are_read_a_few_at_a_time(detector, monkeypatch, tmp_path):
    PIL.Image.fromarray(grey()).save(tmp_path / "a.png")
    read, most = [], []
    real = data.read_image
    monkeypatch.setattr(data, "read_image", lambda path: read.append(path) or real(path))
    batch = detector._detect
    monkeypatch.setattr(detector, "_detect", lambda *a: most.append(len(a[0])) or batch(*a))
    assert len(detector([tmp_path / "a.png"] * 21, batch_size=2)) == 21 == len(read)
    assert most == [8, 8, 5]

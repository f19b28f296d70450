"""The VOC evaluator against hand-worked numbers, a plain loop and a published detector."""

import dataclasses
import json
import pathlib
import tarfile
import xml.etree.ElementTree

import numpy as np
import pytest

from jaxdet import types
from jaxdet.metrics import coco, voc

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "voc2007_test_eval"


def truth(name, boxes_pixels, labels, difficult=None, size=64):
    """A picture `size` pixels square; powers of two keep the fractions exact."""
    boxes = np.array(boxes_pixels, np.float32).reshape(-1, 4)
    count = len(boxes)
    return types.Annotation(
        id=name,
        height=size,
        width=size,
        boxes=boxes / np.float32(size),
        labels=np.array(labels, np.int32),
        difficult=np.array([False] * count if difficult is None else difficult, bool),
        crowd=np.zeros(count, bool),
        area=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float32),
    )


def detections(boxes, scores, labels):
    return types.ImageDetections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int32),
    )


def test_hand_worked_precision_and_recall():
    # Two cats and a dog. By score: right cat, cat on nothing, the same cat again, the second cat.
    truths = [
        truth("a", [[0, 0, 16, 16], [32, 32, 48, 48]], [0, 1]),
        truth("b", [[8, 8, 40, 40]], [0]),
    ]
    found = {
        "a": detections(
            [[0, 0, 16, 16], [48, 0, 64, 16], [0, 0, 16, 15]], [0.9, 0.8, 0.7], [0, 0, 0]
        ),
        "b": detections([[8, 8, 40, 38]], [0.6], [0]),
    }
    result = voc.evaluate(found, truths, ("cat", "dog", "emu"))
    curve = result["curves"]["cat"]
    np.testing.assert_allclose(curve["precision"], [1, 1 / 2, 1 / 3, 2 / 4])
    np.testing.assert_allclose(curve["recall"], [0.5, 0.5, 0.5, 1])
    np.testing.assert_allclose(curve["scores"], [0.9, 0.8, 0.7, 0.6], rtol=1e-6)
    cat = result["classes"]["cat"]
    # Recalls 0 to 0.5 (six points) see precision 1, 0.6 to 1 (five) see 0.5.
    assert cat["ap11"] == pytest.approx((6 * 1 + 5 * 0.5) / 11)
    assert cat["ap_area"] == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert (cat["objects"], cat["found"], cat["right"]) == (2, 4, 2)
    # The dog was missed; no emu occurs, so it is not in the mean.
    assert result["classes"]["dog"]["ap11"] == 0
    assert result["classes"]["emu"]["ap11"] is None
    assert result["mAP11"] == pytest.approx(cat["ap11"] / 2)
    assert result["mAP_area"] == pytest.approx(0.75 / 2)


def test_difficult_objects_neither_count_nor_cost():
    boxes = [[0, 0, 16, 16], [32, 32, 48, 48]]
    truths = [truth("a", boxes, [0, 0], difficult=[True, False])]
    # The difficult one is found twice, first of all; then the other, then nothing.
    found = {"a": detections([boxes[0], boxes[0], boxes[1], [50, 0, 60, 9]], [4, 3, 2, 1], [0] * 4)}
    result = voc.evaluate(found, truths, ("cat",))
    np.testing.assert_allclose(result["curves"]["cat"]["precision"], [1, 0.5])
    assert result["mAP_area"] == 1
    assert result["classes"]["cat"]["objects"] == 1
    assert result["classes"]["cat"]["difficult"] == 1


def test_crowd_regions_neither_count_nor_cost():
    boxes = [[0, 0, 16, 16], [32, 32, 48, 48]]
    each = truth("a", boxes, [0, 0])
    each = dataclasses.replace(each, crowd=np.array([True, False]))
    result = voc.evaluate({"a": detections(boxes, [2, 1], [0, 0])}, [each], ("cat",))
    assert result["mAP_area"] == 1 and result["classes"]["cat"]["objects"] == 1


def test_a_detection_belongs_to_the_truth_it_covers_best_even_when_that_is_taken():
    # The second detection covers both truths at more than a half, and the taken one better.
    truths = [truth("a", [[0, 0, 10, 10], [0, 3, 10, 13]], [0, 0])]
    found = {"a": detections([[0, 0, 10, 10], [0, 1, 10, 11]], [0.9, 0.8], [0, 0])}
    np.testing.assert_allclose(
        voc.evaluate(found, truths, ("cat",))["curves"]["cat"]["precision"], [1, 0.5]
    )


@pytest.mark.parametrize(("height", "ap"), [(8, 1), (7, 0)])
def test_an_iou_of_exactly_the_threshold_is_enough(height, ap):
    truths = [truth("a", [[0, 0, 16, 16]], [0])]
    found = {"a": detections([[0, 0, 16, height]], [0.9], [0])}
    assert voc.evaluate(found, truths, ("cat",))["mAP_area"] == ap


def test_eleven_points_compare_recall_as_the_devkit_does():
    # 2 of 10 reach the points 0, 0.1 and 0.2; 3 of 10 miss 0.1 * 3 by a rounding error.
    boxes = [[4 * i, 0, 4 * i + 3, 3] for i in range(10)]
    for count, points in (2, 3), (3, 3), (4, 5):
        found = {"a": detections(boxes[:count], [4, 3, 2, 1][:count], [0] * count)}
        result = voc.evaluate(found, [truth("a", boxes, [0] * 10)], ("cat",))
        assert result["classes"]["cat"]["ap11"] == pytest.approx(points / 11)


def test_equals_a_plain_loop_on_random_boxes():
    rng = np.random.default_rng(0)
    truths, found = [], {}
    for index in range(40):
        count, guesses = rng.integers(0, 6), rng.integers(0, 12)
        low = rng.uniform(0, 40, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(4, 20, (count, 2))], 1)
        labels, hard = rng.integers(0, 3, count), rng.random(count) < 0.3
        truths.append(truth(str(index), boxes, labels, hard))
        around = np.zeros((guesses, 4))
        if count:
            around = boxes[rng.integers(0, count, guesses)] + rng.normal(0, 1.5, (guesses, 4))
        scores = -np.sort(-rng.random(guesses))
        found[str(index)] = detections(around, scores, rng.integers(0, 3, guesses))
    result = voc.evaluate(found, truths, ("a", "b", "c"), iou_threshold=0.4)
    for label, name in enumerate(("a", "b", "c")):
        right, total = loop_matches(found, truths, label, 0.4)
        assert result["classes"][name]["objects"] == total
        hits = np.cumsum(right)
        np.testing.assert_allclose(
            result["curves"][name]["precision"], hits / (np.arange(len(right)) + 1)
        )
        np.testing.assert_allclose(result["curves"][name]["recall"], hits / total)
        assert 0 < hits[-1] < len(right)


def loop_matches(found, truths, label, threshold):
    """Right or wrong for every detection of a class, by falling score; the number of objects."""
    by_id = {each.id: each for each in truths}
    flat = [
        (score, name, box)
        for name, each in found.items()
        for box, score, mine in zip(each.boxes, each.scores, each.labels, strict=True)
        if mine == label
    ]
    taken, right = set(), []
    for _, name, box in sorted(flat, key=lambda each: -each[0]):
        best, which = 0.0, None
        for index, other in enumerate(by_id[name].boxes * 64):
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            if by_id[name].labels[index] != label or width <= 0 or height <= 0:
                continue
            areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
            iou = width * height / (sum(areas) - width * height)
            if iou > best:
                best, which = iou, index
        if best >= threshold and by_id[name].difficult[which]:
            continue
        right.append(best >= threshold and (name, which) not in taken)
        if best >= threshold:
            taken.add((name, which))
    total = sum(((each.labels == label) & ~each.difficult).sum() for each in truths)
    return np.array(right), total


def test_refuses_what_does_not_belong_to_the_annotations():
    truths = [truth("a", [[0, 0, 8, 8]], [0])]
    one = detections([[0, 0, 8, 8]], [0.9], [0])
    with pytest.raises(ValueError, match="not among the 1 annotated images.*b"):
        voc.evaluate({"b": one}, truths, ("cat",))
    with pytest.raises(ValueError, match="annotated twice: a"):
        voc.evaluate({"a": one}, truths * 2, ("cat",))
    with pytest.raises(ValueError, match="labels in the detections of a are .1., expected 0..0"):
        voc.evaluate({"a": detections([[0, 0, 8, 8]], [0.9], [1])}, truths, ("cat",))
    with pytest.raises(ValueError, match="not finite"):
        voc.evaluate({"a": detections([[0, 0, 8, 8]], [np.nan], [0])}, truths, ("cat",))
    with pytest.raises(ValueError, match="2 images without any object"):
        voc.evaluate({}, [truth("a", [], []), truth("b", [], [])], ("cat",))
    with pytest.raises(ValueError, match="all objects are difficult"):
        voc.evaluate({}, [truth("a", [[0, 0, 8, 8]], [0], difficult=[True])], ("cat",))
    with pytest.raises(ValueError, match="iou_threshold is 50"):
        voc.evaluate({"a": one}, truths, ("cat",), iou_threshold=50)


def test_detections_in_a_picture_without_objects_are_wrong():
    truths = [truth("a", [[0, 0, 8, 8]], [0]), truth("b", [], [])]
    found = {name: detections([[0, 0, 8, 8]], [0.9], [0]) for name in "ab"}
    curve = voc.evaluate(found, truths, ("cat",))["curves"]["cat"]
    np.testing.assert_allclose(curve["precision"], [1, 0.5])


def test_nothing_found_is_zero():
    result = voc.evaluate({}, [truth("a", [[0, 0, 8, 8]], [0])], ("cat",))
    assert result["mAP11"] == result["mAP_area"] == 0


def test_table_names_the_protocol_and_marks_what_does_not_occur():
    result = voc.evaluate({}, [truth("a", [[0, 0, 8, 8]], [0])], ("cat", "emu"))
    text = voc.table(result, "score > 0.01, NMS 0.45, best 200 kept")
    assert "score > 0.01, NMS 0.45, best 200 kept" in text.splitlines()[0]
    assert text.splitlines()[2].split() == ["cat", "1", "0", "0.00", "0.00"]
    assert text.splitlines()[3].split() == ["emu", "0", "0", "-", "-"]
    assert text.splitlines()[4].split() == ["mAP", "of", "1", "0.00", "0.00"]


def read_devkit(classes):
    """Annotations of VOC2007 test and a published detector's results, from their archives."""
    with tarfile.open(SHARED / "voc2007_annotations.tar.xz") as archive:
        files = {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}
    ids = files["voc2007/ImageSets/Main/test.txt"].decode().split()
    truths = [read_xml(name, files[f"voc2007/Annotations/{name}.xml"], classes) for name in ids]
    lines = {name: [] for name in ids}
    with tarfile.open(SHARED / "tiny_yolo_voc_detections.tar.xz") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            label = classes.index(pathlib.Path(member.name).stem.split("_")[-1])
            for line in archive.extractfile(member).read().decode().splitlines():
                name, *numbers = line.split()
                lines[name].append([label, *map(float, numbers)])
    return truths, {name: read_lines(rows) for name, rows in lines.items() if rows}


def read_lines(rows):
    table = np.array(rows)
    table = table[np.argsort(-table[:, 1], kind="stable")]
    return detections(table[:, 2:] - [1, 1, 0, 0], table[:, 1], table[:, 0])


def read_xml(name, text, classes):
    root = xml.etree.ElementTree.fromstring(text)
    width, height = (int(root.findtext(f"size/{side}")) for side in ("width", "height"))
    objects = root.findall("object")
    corners = ("xmin", "ymin", "xmax", "ymax")
    boxes = np.array([[float(o.findtext(f"bndbox/{c}")) for c in corners] for o in objects])
    boxes = (boxes - [1, 1, 0, 0]).astype(np.float32)
    return types.Annotation(
        id=name,
        height=height,
        width=width,
        boxes=(boxes / [width, height, width, height]).astype(np.float32),
        labels=np.array([classes.index(o.findtext("name")) for o in objects], np.int32),
        difficult=np.array([o.findtext("difficult") == "1" for o in objects]),
        crowd=np.zeros(len(objects), bool),
        area=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float32),
    )


@pytest.mark.skipif(not SHARED.exists(), reason="needs the VOC2007 test results, absent here")
def test_equals_the_devkit_on_a_published_detector():
    expected = json.loads((SHARED / "tiny_yolo_voc_expected_ap.json").read_text())
    classes = tuple(sorted(expected))
    assert len(classes) == 20
    truths, found = read_devkit(classes)
    assert len(truths) == 4952
    result = voc.evaluate(found, truths, classes)
    for name, each in expected.items():
        assert result["classes"][name]["objects"] == each["npos"], name
        for ap in ("ap11", "ap_area"):
            assert result["classes"][name][ap] == pytest.approx(each[ap], abs=1e-5), (name, ap)
    assert result["mAP11"] == pytest.approx(0.5397, abs=1e-4)
    assert result["mAP_area"] == pytest.approx(0.5441, abs=1e-4)


def scattered(count=12, seed=0):
    """Images with two classes, and detections of which some are off: (detections, truths)."""
    chance = np.random.default_rng(seed)
    found, truths = {}, []
    for i in range(count):
        low = chance.integers(0, 30, (3, 2))
        boxes = np.concatenate([low, low + chance.integers(8, 30, (3, 2))], axis=1)
        labels = chance.integers(0, 2, 3)
        truths.append(truth(f"{i}", boxes, labels, difficult=chance.random(3) < 0.2))
        off = boxes + chance.normal(0, 3, boxes.shape)
        found[f"{i}"] = detections(off, chance.random(3), labels)
    return found, truths


def test_a_draw_is_what_evaluate_says_of_images_that_often():
    found, truths = scattered()
    times = np.random.default_rng(1).integers(0, 4, (3, len(truths)))
    pairs = voc._pair([found[each.id] for each in truths], truths)
    drawn = voc._of_draws(pairs, times, classes=3, iou_threshold=0.5)
    for i, row in enumerate(times):
        copies, again = [], {}
        for each, number in zip(truths, row, strict=True):
            for copy in range(number):
                copies.append(dataclasses.replace(each, id=f"{each.id}, {copy}"))
                again[copies[-1].id] = found[each.id]
        result = voc.evaluate(again, copies, ("cat", "dog", "emu"))
        assert drawn[:, i] == pytest.approx([result["mAP11"], result["mAP_area"]])


@pytest.mark.parametrize("metric", [voc, coco], ids=["voc", "coco"])
def test_intervals_are_of_the_result_or_of_a_difference(metric):
    (found, truths), classes = scattered(40), ("cat", "dog")
    result = metric.evaluate(found, truths, classes)
    intervals = metric.bootstrap(found, truths, classes)
    assert {*intervals} == {name for name in metric.NUMBERS if result[name] > -1}
    for name, (low, high) in intervals.items():
        assert 0 <= low < high <= 1 and low - 0.1 < result[name] < high + 0.1, name
    assert {*metric.bootstrap(found, truths, classes, other=found).values()} == {(0, 0)}
    low, high = metric.bootstrap({}, truths, classes, other=found)[metric.MAIN]
    assert (-high, -low) == pytest.approx(intervals[metric.MAIN])

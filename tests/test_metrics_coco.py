"""The COCO evaluator against pycocotools on official annotations, and against hand-worked cases."""

import json
import pathlib

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxdet import types
from jaxdet.metrics import coco, voc

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "coco" / "annotations"
TWELVE = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def truth(name, boxes_pixels, labels, crowd=None, area=None, size=512, difficult=None):
    boxes = np.array(boxes_pixels, np.float32).reshape(-1, 4)
    of_box = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return types.Annotation(
        id=name,
        height=size,
        width=size,
        boxes=boxes / np.float32(size),
        labels=np.array(labels, np.int32),
        difficult=np.zeros(len(boxes), bool) if difficult is None else np.array(difficult),
        crowd=np.zeros(len(boxes), bool) if crowd is None else np.array(crowd),
        area=of_box if area is None else np.array(area, np.float32),
    )


def detections(boxes, scores, labels):
    return types.ImageDetections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int32),
    )


def test_one_object_found_at_iou_0_8():
    # IoU 0.8 passes 0.50, 0.55 .. 0.80: seven thresholds of ten.
    truths = [truth("7", [[0, 0, 64, 80]], [1])]
    result = coco.evaluate({"7": detections([[0, 0, 64, 64]], [0.9], [1])}, truths, ("a", "b"))
    assert result["AP"] == pytest.approx(0.7)
    assert (result["AP50"], result["AP75"]) == pytest.approx((1, 1))
    assert result["APm"] == pytest.approx(0.7)  # 64 x 80 is between 32^2 and 96^2
    assert (result["APs"], result["APl"]) == (-1, -1)
    assert result["AR1"] == result["AR100"] == pytest.approx(0.7)
    assert result["classes"]["b"] == {
        "AP": pytest.approx(0.7),
        "AP50": pytest.approx(1),
        "objects": 1,
    }
    assert result["classes"]["a"] == {"AP": -1, "AP50": -1, "objects": 0}


def test_iou_of_0_72_is_enough_for_ap50_but_not_for_ap75():
    truths = [truth("7", [[0, 0, 64, 100]], [0])]
    result = coco.evaluate({"7": detections([[0, 0, 64, 72]], [0.9], [0])}, truths, ("a",))
    assert (result["AP"], result["AP50"], result["AP75"]) == pytest.approx((0.5, 1, 0))


def test_equal_scores_are_ranked_by_the_number_of_the_picture():
    truths = [truth("10", [], []), truth("9", [[0, 0, 40, 40]], [0])]
    found = {name: detections([[0, 0, 40, 40]], [0.5], [0]) for name in ("9", "10")}
    assert coco.evaluate(found, truths, ("a",))["AP"] == pytest.approx(1)  # 9 comes before 10


def test_half_of_the_objects_found_after_a_wrong_one():
    truths = [truth("1", [[0, 0, 40, 40], [100, 100, 140, 140]], [0, 0])]
    found = {"1": detections([[200, 0, 240, 40], [0, 0, 40, 40]], [0.9, 0.8], [0, 0])}
    result = coco.evaluate(found, truths, ("a",))
    # Precision 1/2 at the 51 recall points up to 0.50, and 0 at the other 50.
    assert result["AP"] == pytest.approx(0.5 * 51 / 101)
    assert (result["AR1"], result["AR10"]) == (0, 0.5)


def test_area_of_the_segmentation_decides_the_size():
    truths = [truth("1", [[0, 0, 40, 40]], [0], area=[1000])]
    result = coco.evaluate({"1": detections([[0, 0, 40, 40]], [0.9], [0])}, truths, ("a",))
    assert (result["APs"], result["APm"]) == pytest.approx((1, -1))


def test_detections_inside_a_crowd_are_neither_right_nor_wrong():
    truths = [truth("1", [[0, 0, 200, 200], [300, 300, 340, 340]], [0, 0], crowd=[True, False])]
    boxes = [[0, 0, 50, 50], [100, 100, 150, 150], [300, 300, 340, 340]]
    result = coco.evaluate({"1": detections(boxes, [0.9, 0.8, 0.7], [0] * 3)}, truths, ("a",))
    assert result["AP"] == pytest.approx(1)
    assert result["classes"]["a"]["objects"] == 1


def test_difficult_objects_need_not_be_found_and_finding_them_is_not_wrong():
    boxes = [[0, 0, 100, 100], [200, 200, 300, 300]]
    truths = [truth("1", boxes, [0, 0], difficult=[True, False])]
    missed = {"1": detections([[200, 200, 300, 300]], [0.7], [0])}
    again = [[0, 0, 100, 100], [2, 0, 100, 100], [0, 4, 100, 100], [200, 200, 300, 300]]
    found = {"1": detections(again, [0.9, 0.8, 0.75, 0.7], [0] * 4)}
    for each in (missed, found):
        result = coco.evaluate(each, truths, ("a",))
        assert [result[name] for name in ("AP", "AP50", "APl", "AR10")] == pytest.approx([1] * 4)
        assert result["classes"]["a"]["objects"] == 1
    # What lies within one is no detection of it, unlike within a crowd.
    inside = {"1": detections([[10, 10, 40, 40], boxes[1]], [0.9, 0.7], [0, 0])}
    assert coco.evaluate(inside, truths, ("a",))["AP"] == pytest.approx(0.5)
    # Of another class it is wrong, and at IoU 0.62 only up to the threshold 0.60.
    other = {"1": detections([boxes[0], boxes[1]], [0.9, 0.7], [1, 0])}
    assert coco.evaluate(other, truths, ("a", "b"))["classes"]["b"]["AP"] == -1
    part = {"1": detections([[0, 0, 100, 62], boxes[1]], [0.9, 0.7], [0, 0])}
    assert coco.evaluate(part, truths, ("a",))["AP"] == pytest.approx((3 * 1 + 7 * 0.5) / 10)


def test_ap50_of_difficult_objects_is_that_of_the_voc_evaluator():
    """With hits before misses, the area under the curve and its mean at 101 points are equal."""
    boxes = [[100 * i, 0, 100 * i + 80, 80] for i in range(4)]
    truths = [truth("1", boxes, [0] * 4, difficult=[True, False, True, False])]
    found = {
        "1": detections([boxes[0], boxes[0], boxes[1], boxes[3]], [0.9, 0.8, 0.7, 0.6], [0] * 4)
    }
    ours = coco.evaluate(found, truths, ("a",))["classes"]["a"]
    theirs = voc.evaluate(found, truths, ("a",))["classes"]["a"]
    assert ours["objects"] == theirs["objects"] == 2
    assert ours["AP50"] == pytest.approx(theirs["ap_area"]) == 1


def test_nothing_but_difficult_objects_is_refused_as_by_the_voc_evaluator():
    truths = [truth("1", [[0, 0, 9, 9]] * 2, [0, 0], crowd=[True, False], difficult=[False, True])]
    for metric in (coco, voc):
        with pytest.raises(ValueError, match="all objects are difficult or crowds"):
            metric.evaluate({}, truths, ("a",))


def drawn(images, rng):
    """Objects of three classes, of all sizes, some of them crowds, and detections with ties."""
    truths, found = [], {}
    for i in range(images):
        count = rng.integers(0, 6)
        low, sides = rng.uniform(0, 300, (count, 2)), rng.uniform(4, 200, (count, 2))
        boxes, labels = np.concatenate([low, low + sides], 1), rng.integers(0, 3, count)
        area = sides.prod(1) * rng.uniform(0.5, 1, count)
        crowd = rng.random(count) < 0.1
        truths.append(truth(str(i + 1), boxes, labels, crowd=crowd, area=area))
        near = np.repeat(boxes, 3, 0) + rng.normal(0, 8, (3 * count, 4))
        extra = rng.uniform(0, 200, (9, 2))
        near = np.concatenate(
            [near, np.concatenate([extra, extra + rng.uniform(5, 99, (9, 2))], 1)]
        )
        labels = np.concatenate([np.repeat(labels, 3), rng.integers(0, 3, 9)])
        scores = rng.random(len(near)).round(2)
        found[str(i + 1)] = detections(near, scores, labels)
    return truths, found


def by_pycocotools(truths, found, count):
    """The twelve numbers, from the arrays of pycocotools: `summarize` is right for 100 only."""
    xywh = lambda box: [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
    objects, results = [], []
    for i, each in enumerate(truths, start=1):
        boxes = each.boxes * np.array([each.width, each.height] * 2, np.float64)
        for box, label, area, crowd in zip(boxes, each.labels, each.area, each.crowd, strict=True):
            known = dict(id=len(objects) + 1, image_id=i, category_id=int(label) + 1)
            objects.append(dict(**known, bbox=xywh(box), area=float(area), iscrowd=int(crowd)))
        mine = found[each.id]
        for box, score, label in zip(mine.boxes, mine.scores, mine.labels, strict=True):
            bbox, label = xywh(box.astype(np.float64)), int(label) + 1
            results.append(dict(image_id=i, category_id=label, bbox=bbox, score=float(score)))
    official = COCO()
    official.dataset = {
        "images": [{"id": i} for i in range(1, len(truths) + 1)],
        "categories": [{"id": i, "name": "abc"[i - 1]} for i in (1, 2, 3)],
        "annotations": objects,
    }
    official.createIndex()
    evaluator = COCOeval(official, official.loadRes(results), "bbox")
    evaluator.params.maxDets = [1, 10, count]
    evaluator.evaluate()
    evaluator.accumulate()
    mean = lambda values: values[values > -1].mean()
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]
    one = lambda i: precision[i, :, :, 0, -1]
    return [
        *(mean(x) for x in (precision[..., 0, -1], one(0), one(5))),
        *(mean(precision[..., area, -1]) for area in (1, 2, 3)),
        *(mean(recall[:, :, 0, i]) for i in (0, 1, 2)),
        *(mean(recall[:, :, area, -1]) for area in (1, 2, 3)),
    ]


@pytest.mark.parametrize("count", [100, 12])
def test_all_numbers_are_those_of_pycocotools_to_the_last_bit(count):
    images = 1000 if count == 100 else 50
    truths, found = drawn(images, np.random.default_rng(count))
    assert any(each.crowd.any() for each in truths)
    result = coco.evaluate(found, truths, tuple("abc"), max_detections=count)
    numbers = [value for name, value in result.items() if name != "classes"]
    assert numbers == by_pycocotools(truths, found, count)
    assert len(set(numbers)) == 12 and 0.1 < result["AP"] < 0.9


def test_another_number_of_detections_is_named_and_used():
    truths = [truth("1", [[0, 0, 40, 40]], [0])]
    boxes = [[200, 200, 210, 210]] * 14 + [[0, 0, 40, 40]]
    found = {"1": detections(boxes, np.linspace(0.9, 0.1, 15), [0] * 15)}
    assert coco.evaluate(found, truths, ("a",), max_detections=14)["AR14"] == 0
    result = coco.evaluate(found, truths, ("a",), max_detections=15)
    assert result["AR15"] == pytest.approx(1)
    assert result["AP"] == pytest.approx(1 / 15)
    with pytest.raises(ValueError, match="max_detections is 10, expected more than 10"):
        coco.evaluate(found, truths, ("a",), max_detections=10)


def test_nothing_found_is_zero_and_silent(capsys):
    result = coco.evaluate({}, [truth("1", [[0, 0, 40, 40]], [0])], ("a",))
    assert [result[name] for name in ("AP", "APm", "AR100")] == [0, 0, 0]
    assert capsys.readouterr() == ("", "")


def test_refuses_what_does_not_belong_to_the_annotations():
    truths = [truth("1", [[0, 0, 40, 40]], [0])]
    with pytest.raises(ValueError, match="not among the 1 annotated images.*2"):
        coco.evaluate({"2": detections([[0, 0, 4, 4]], [0.9], [0])}, truths, ("a",))
    with pytest.raises(ValueError, match="expected 0..0"):
        coco.evaluate({"1": detections([[0, 0, 4, 4]], [0.9], [1])}, truths, ("a",))


def test_table_names_the_protocol_and_marks_what_does_not_occur():
    truths = [truth("7", [[0, 0, 64, 80]], [1])]
    result = coco.evaluate({"7": detections([[0, 0, 64, 64]], [0.9], [1])}, truths, ("a", "b"))
    lines = coco.table(result, "score > 0.01, NMS 0.5, best 100 kept").splitlines()
    assert lines[0].endswith("score > 0.01, NMS 0.5, best 100 kept")
    assert lines[1].split() + lines[3].split() == TWELVE
    assert lines[2].split() == ["70.00", "100.00", "100.00", "-", "70.00", "-"]
    assert lines[6].split() == ["a", "0", "-", "-"]
    assert lines[7].split() == ["b", "1", "70.00", "100.00"]


def read_official(path):
    """Official instances as annotations, labels by rising category id."""
    official = json.loads(path.read_text())
    categories = sorted(each["id"] for each in official["categories"])
    rows = {each["id"]: [] for each in official["images"]}
    for each in official["annotations"]:
        rows[each["image_id"]].append(each)
    truths = []
    for image in official["images"]:
        mine, size = rows[image["id"]], [image["width"], image["height"]] * 2
        boxes = np.array([each["bbox"] for each in mine], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        truths.append(
            types.Annotation(
                id=str(image["id"]),
                height=image["height"],
                width=image["width"],
                boxes=(boxes / size).astype(np.float32),
                labels=np.array([categories.index(o["category_id"]) for o in mine], np.int32),
                difficult=np.zeros(len(mine), bool),
                crowd=np.array([o["iscrowd"] for o in mine], bool),
                area=np.array([o["area"] for o in mine], np.float32),
            )
        )
    return truths, categories


def made_up(truths, rng):
    """Moved copies of the objects, some with another label, and boxes on nothing."""
    found = {}
    for each in truths:
        size = np.array([each.width, each.height] * 2)
        boxes = np.repeat(each.boxes * size, 2, axis=0)
        boxes = boxes + rng.normal(0, 6, boxes.shape)
        boxes = np.concatenate([boxes, np.sort(rng.uniform(0, 400, (3, 2, 2)), 1).reshape(-1, 4)])
        wrong = rng.random(len(boxes)) < 0.2
        labels = np.concatenate([np.repeat(each.labels, 2), [0, 0, 2]])
        scores = -np.sort(-rng.random(len(boxes)).round(2))  # rounded, so that there are ties
        found[each.id] = detections(boxes, scores, np.where(wrong, 5, labels))
    return found


@pytest.mark.skipif(not SHARED.exists(), reason="needs COCO's official annotations, absent here")
def test_equals_pycocotools_on_the_official_annotations(capsys):
    path = SHARED / "instances_val2017.json"
    truths, categories = read_official(path)
    assert any(each.crowd.any() for each in truths)
    found = made_up(truths, np.random.default_rng(0))
    official = COCO(str(path))
    results = [
        {
            "image_id": int(name),
            "category_id": categories[label],
            "bbox": [float(x) for x in (*box[:2], *(box[2:] - box[:2]))],
            "score": float(score),
        }
        for name, each in found.items()
        for box, score, label in zip(each.boxes, each.scores, each.labels, strict=True)
    ]
    evaluator = COCOeval(official, official.loadRes(results), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    classes = tuple(str(each) for each in categories)
    result = coco.evaluate(found, truths[::-1], classes)
    np.testing.assert_allclose([result[name] for name in TWELVE], evaluator.stats, atol=1e-6)
    assert 0.05 < result["AP"] < 0.95
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    for label, name in enumerate(classes):
        expected = precision[:, :, label].mean()  # all -1 where the class does not occur
        assert result["classes"][name]["AP"] == pytest.approx(expected, abs=1e-6)

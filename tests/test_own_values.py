"""Values as other tools write them: used, or left out with a reason and an example."""

import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from own_folders import BOX, HEIGHT, LINE, WIDTH, boxes, coco, image, said, scan, thing, write, xml
from tiny_sets import jpeg, picture, with_orientation

CAT = ("cat", *map(float, BOX))
NAMES = {"data.yaml": "names: [cat, dog]\n"}

# Sizes


@pytest.mark.parametrize(
    "size",
    [
        "", "<width>0</width><height>0</height>", "<width>40.0</width><height>20.0</height>",
        "<width>-1</width><height>20</height>", "<width>wide</width><height/>",
        "<width>20</width><height>40</height>", "<width>33</width><height>21</height>",
        "<width>nan</width><height>inf</height>",
    ],
)  # fmt: skip
def test_voc_sizes_that_are_none_or_wrong(tmp_path, size):
    write(tmp_path, {"1.jpg": None, "1.xml": xml(size=size)})
    found = scan("voc", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]}
    assert ("size" in said(found)) == ("40.0" not in size)


@pytest.mark.parametrize(
    "keys",
    [
        {"width": None}, {"width": 0, "height": 0}, {"width": "40", "height": "20"},
        {"width": 40.0, "height": 20.0}, {"width": 20, "height": 40}, {"width": True},
        {"width": math.nan}, {"width": [40]}, {"width": 39.5},
    ],
)  # fmt: skip
def test_coco_sizes_that_are_none_or_wrong(tmp_path, keys):
    write(tmp_path, {"1.jpg": None, "a.json": coco("1.jpg", **keys)})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]}
    right = keys.get("width") in ("40", 40.0) and keys["height"]
    assert ("size" in said(found)) == (not right)


def test_coco_without_any_size(tmp_path):
    content = coco("1.jpg")
    del content["images"][0]["width"], content["images"][0]["height"]
    write(tmp_path, {"1.jpg": None, "a.json": content})
    assert boxes(scan("coco", tmp_path)) == {"1.jpg": [CAT]}


def test_images_that_were_resized_after_annotation(tmp_path):
    """Half as large as annotated: seen by the box that is outside, true of all images."""
    double = {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    things = [{"bbox": [60, 20, 20, 20]}, {"image_id": 1, "bbox": [4, 4, 10, 10]}]
    write(tmp_path, {"0.jpg": None, "1.jpg": None})
    write(tmp_path, {"a.json": coco("0.jpg", "1.jpg", things=things, **double)})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"0.jpg": [("cat", 30, 10, 40, 20)], "1.jpg": [("cat", 2, 2, 7, 7)]}
    assert "boxes scaled with it: 2" in said(found)


def test_one_box_outside_does_not_make_an_image_a_resized_one(tmp_path):
    things = [{}, {}, {}, {}, {"bbox": [30, 10, 20, 5]}]
    write(tmp_path, {"0.jpg": None, "a.json": coco("0.jpg", things=things, width=640, height=480)})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"0.jpg": [CAT] * 4 + [("cat", 30.0, 10.0, 40.0, 15.0)]}
    assert "its own is used: 1" in said(found)


def test_a_size_that_is_that_of_the_image_before_its_rotation(tmp_path):
    turned = with_orientation(jpeg(picture(HEIGHT, WIDTH)), 6)
    write(tmp_path, {"1.jpg": turned, "1.xml": xml()})
    found = scan("voc", tmp_path)
    assert boxes(found) == {"1.jpg": [("cat", 5.0, 10.0, 15.0, 30.0)]}
    assert "EXIF rotation" in said(found)
    no_size = xml(thing(box=[6, 11, 15, 30]), size="")  # made on the upright image
    write(tmp_path, {"1.jpg": turned, "1.xml": no_size})
    assert boxes(scan("voc", tmp_path)) == {"1.jpg": [("cat", 5.0, 10.0, 15.0, 30.0)]}


# Elements of VOC's objects


def edges(box: list) -> str:
    return "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))  # noqa: B905


@pytest.mark.parametrize(
    ("inside", "expected", "word"),
    [
        (f"<bndbox>{edges([1, 1, 9, 9])}</bndbox><bndbox>{edges([11, 6, 30, 15])}</bndbox>",
         [[0, 0, 9, 9], BOX], "several boxes"),
        ("<polygon><x1>10</x1><y1>5</y1><x2>30</x2><y2>5</y2><x3>20</x3><y3>15</y3></polygon>",
         [BOX], "outline"),
        ("<polygon><pt><x>10</x><y>5</y></pt><pt><x>30</x><y>15</y></pt></polygon>",
         [BOX], "outline"),
        ("<robndbox><cx>20</cx><cy>10</cy><w>20</w><h>10</h><angle>0</angle></robndbox>",
         [BOX], "rotated"),
        ("<robndbox><cx>20</cx><cy>10</cy><w>10</w><h>20</h><angle>1.570796</angle></robndbox>",
         [BOX], "rotated"),
        ("<pose/>", [], "object without a box: 1"),
        ("<bndbox><xmin>1</xmin></bndbox>", [], "edges are not four numbers: 1"),
        (f"<bndbox>{edges([1, 'a', 3, 4])}</bndbox>", [], r"not four numbers: 1 .*'a'"),
        (f"<bndbox>{edges([5, 5, 5, 5])}</bndbox>", [], "box is empty"),
        (f"<bndbox>{edges(['nan', 5, 9, 9])}</bndbox>", [], "box is not finite"),
    ],
)  # fmt: skip
def test_what_objects_of_voc_have_in_place_of_a_box(tmp_path, inside, expected, word):
    write(tmp_path, {"1.jpg": None, "1.xml": xml(thing(), f"<name>dog</name>{inside}")})
    found = scan("voc", tmp_path)
    assert boxes(found)["1.jpg"] == [CAT, *(("dog", *map(float, box)) for box in expected)]
    assert re.search(word, said(found)) and "1.xml" in said(found)


def test_other_values_of_voc(tmp_path):
    first = thing("", more="<difficult>1</difficult>")
    second = thing(" cat ", box=["11.0", " 6 ", "3e1", "15"], more="<difficult> 1 </difficult>")
    write(tmp_path, {"1.jpg": None, "1.xml": "\ufeff" + xml(first, second)})
    found = scan("voc", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]} and "object without a name: 1" in said(found)
    assert found.splits["train"][0].checked.annotation.difficult.tolist() == [True]
    write(tmp_path, {"2.xml": "<annotations><image/></annotations>"})  # CVAT's
    assert "the root is <annotations>, expected <annotation>" in said(scan("voc", tmp_path))


# JSON of another type


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bbox": None}, "object without a box: 1 .*bbox None"),
        ({"bbox": []}, "object without a box: 1"),
        ({"bbox": {"x": 1}}, r"bbox is not four numbers: 1 .*\{'x': 1\}"),
        ({"bbox": "1 2 3 4"}, "bbox is not four numbers: 1 .*'1 2 3 4'"),
        ({"bbox": [1, 2, 3]}, "bbox is not four numbers: 1"),
        ({"bbox": [1, 2, 3, None]}, "bbox is not four numbers: 1"),
        ({"bbox": [1, 2, True, 4]}, "bbox is not four numbers: 1"),
        ({"bbox": [1, 2, math.nan, 4]}, "box is not finite: 1"),
        ({"bbox": [1, 2, math.inf, 4]}, "box is not finite: 1"),
        (
            {"category_id": None},
            "category that the file does not list: 1 .*None, expected .* 1 cat",
        ),
        ({"category_id": 7}, "category that the file does not list: 1 .*category_id 7"),
        ({"category_id": True}, "category that the file does not list: 1"),
        ({"category_id": [1]}, "category that the file does not list: 1"),
        ({"image_id": 99}, "image that the file does not list: 1 .*image_id 99"),
        ({"image_id": None}, "image that the file does not list: 1 .*image_id None"),
        ({"image_id": {}}, "image that the file does not list: 1"),
        ({"iscrowd": "maybe"}, "iscrowd is neither 0 nor 1: 1 .*'maybe'"),
        ({"iscrowd": 2}, "iscrowd is neither 0 nor 1: 1"),
    ],
)
def test_annotations_of_coco_that_cannot_be_used(tmp_path, change, word):
    write(tmp_path, {"1.jpg": None, "a.json": coco("1.jpg", things=[{}, change])})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]}
    assert re.search(word, said(found))


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": ["10", "5", "20", "10"]}, {"category_id": "1"}, {"category_id": 1.0},
        {"image_id": "0"}, {"iscrowd": "0"}, {"iscrowd": "false"}, {"iscrowd": False},
        {"iscrowd": None}, {"area": "200"}, {"area": None}, {"area": "large"}, {"area": [1]},
        {"segmentation": "none"}, {"id": None}, {"bbox": [10.0, 5.0, 20.0, 10.0]},
    ],
)  # fmt: skip
def test_values_of_coco_of_another_type_that_say_the_same(tmp_path, change):
    write(tmp_path, {"1.jpg": None, "a.json": coco("1.jpg", things=[change])})
    found = scan("coco", tmp_path)
    annotation = found.splits["train"][0].checked.annotation
    assert boxes(found) == {"1.jpg": [CAT]} and annotation.crowd.tolist() == [False]
    np.testing.assert_allclose(annotation.area, [200], rtol=1e-6)
    assert ("area that is no number" in said(found)) == (change.get("area") in ("large", [1]))


@pytest.mark.parametrize("value", ["1", "true", True, 1])
def test_crowds_of_coco(tmp_path, value):
    write(tmp_path, {"1.jpg": None, "a.json": coco("1.jpg", things=[{}, {"iscrowd": value}])})
    annotation = scan("coco", tmp_path).splits["train"][0].checked.annotation
    assert annotation.crowd.tolist() == [False, True]


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"file_name": None}, r"file_name is no text: 1 .*images\[0\] has the file_name None"),
        ({"file_name": 7}, "file_name is no text: 1 .*file_name 7"),
        ({"file_name": ""}, "file_name is no text: 1"),
        ({"file_name": ["a.jpg"]}, "file_name is no text: 1"),
        ({"id": None}, "without a usable id: 1 .*id None"),
        ({"id": math.nan}, "without a usable id: 1"),
    ],
)
def test_images_of_coco_that_cannot_be_used(tmp_path, keys, word):
    content = coco("1.jpg", "2.jpg")
    content["images"][0] |= keys
    write(tmp_path, {"1.jpg": None, "2.jpg": None, "a.json": content})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"2.jpg": [CAT]}
    assert re.search(word, said(found)) and "image that the file does not list: 1" in said(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "it holds a list, expected an object"),
        ('{"images": {}, "annotations": [], "categories": []}', "`images` is {}, expected a list"),
        ('{"shapes": []}', "no `images`, expected a list, it looks like LabelMe's"),
        ('{"annotations": [}', "a.json is not in COCO's format: it is no JSON"),
        ({"images": [], "annotations": [], "categories": [{"id": 1, "name": None}]},
         r"categories\[0\] has the name None, expected text"),
        ({"images": [], "annotations": [], "categories": [{"name": "a"}]},
         r"categories\[0\] has the id None, expected a number"),
        ({"images": [], "annotations": [], "categories": ["cat"]}, r"categories\[0\] is 'cat'"),
        ({"images": [], "annotations": [],
          "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "same id or name"),
    ],
)  # fmt: skip
def test_files_that_are_not_coco(tmp_path, content, message):
    write(tmp_path, {"1.jpg": None, "a.json": content})
    with pytest.raises(ValueError, match=message):
        scan("coco", tmp_path)


def test_entries_of_coco_that_are_there_twice(tmp_path):
    content = coco("1.jpg")
    content["images"] *= 2
    content["categories"] *= 2
    write(tmp_path, {"1.jpg": None, "a.json": content})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]} and "image that is listed twice: 1" in said(found)


def test_classes_that_are_spelt_in_two_ways_are_named(tmp_path):
    things = [thing("traffic light"), thing("Traffic-Light"), thing()]
    write(tmp_path, {"1.jpg": None, "1.xml": xml(*things)})
    found = scan("voc", tmp_path)
    assert "classes that differ only in capitals, spaces or hyphens: 1 (first: ['T" in said(found)


def test_outlines_of_coco_without_boxes(tmp_path):
    counts = [10 * HEIGHT + 5, 10, *[10, 10] * 19, 10 * HEIGHT - 15 + 10]
    mask = {"counts": counts, "size": [HEIGHT, WIDTH]}
    outlines = [[[10, 5, 30, 5, 30, 15]], [[10, 5, 20, 6, 11, 9], [29, 14, 30, 15, 10, 9]], mask]
    things = [{"bbox": None, "segmentation": each} for each in outlines]
    things += [{"bbox": [0, 0, 0, 0], "segmentation": outlines[0]}]
    things += [{"bbox": [], "segmentation": {"counts": "compressed", "size": [20, 40]}}]
    write(tmp_path, {"1.jpg": None, "a.json": coco("1.jpg", things=things)})
    found = scan("coco", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT] * 4}
    assert "that of its outline is used: 4" in said(found)
    assert "object without a box: 1" in said(found)


def test_a_parent_category_of_roboflow_is_no_class(tmp_path):
    content = coco("1.jpg")
    for name, other in (("animals", "bird"), ("cat", "bird")):  # the second like a class of its own
        above = {"id": 0, "name": name, "supercategory": "none"}
        below = [{"id": 1, "name": "cat", "supercategory": name}]
        below += [{"id": 2, "name": other, "supercategory": name}]
        write(tmp_path, {"1.jpg": None, "a.json": content | {"categories": [above, *below]}})
        found = scan("coco", tmp_path)
        assert found.reading.classes == ("cat", "bird") and boxes(found) == {"1.jpg": [CAT]}
        assert "parent category without objects, no class: 1" in said(found)
    own = [{"id": 1, "name": "cat", "supercategory": "cat"}, {"id": 2, "name": "dog"}]
    write(tmp_path, {"a.json": content | {"categories": own}})
    assert scan("coco", tmp_path).reading.classes == ("cat", "dog")


# Lines of YOLO


@pytest.mark.parametrize(
    ("line", "expected", "word"),
    [
        ("1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75", BOX, "polygon, .*: 1 .*line 2: '1 0.25"),
        ("1 0.25 0.75 0.75 0.75 0.5 0.25", BOX, "polygon"),
        ("1 0.5 0.5 0.5 0.5 0.98", BOX, "six numbers"),
        ("dog 0.5 0.5 0.5 0.5", BOX, ""),
        ("1.0\t0.5,0.5,0.5,0.5  # a comment", BOX, ""),
        ("1;0.5;0.5;0.5;0.5", BOX, ""),
        ("# 1 0.5 0.5 0.5 0.5", None, ""),
        ("   ", None, ""),
        ("class x_center y_center width height", None, "not numbers, expected .class cx cy"),
        ("bird 0.5 0.5 0.5 0.5", None, "class is not a number from 0 up: 1"),
        ("-1 0.5 0.5 0.5 0.5", None, "class is not a number from 0 up: 1"),
        ("0.5 0.5 0.5 0.5 0.5", None, "class is not a number from 0 up: 1"),
        ("1 0.5 0.5 0.5", None, "another count of numbers.*: 1"),
        ("1 0.5 0.5 0.5 0.5 1 1 1", None, "another count of numbers.*: 1"),
        ("1 0.5 0.5 nan 0.5", None, "box is not finite: 1"),
        ("1 0.5 0.5 0 0.5", None, "box is empty"),
        ("1 1.5 0.5 0.2 0.5", None, "box lies outside the image: 1"),
    ],
)  # fmt: skip
def test_lines_of_yolo(tmp_path, line, expected, word):
    write(tmp_path, NAMES | {"1.jpg": None, "1.txt": f"\ufeff{LINE}{line}\r\n"})
    found = scan("yolo", tmp_path)
    dog = [("dog", *map(float, expected))] if expected else []
    assert boxes(found) == {"1.jpg": [CAT, *dog]}
    assert re.search(word, said(found)) and bool(word) == bool(said(found))


def test_keypoints_of_yolo(tmp_path):
    write(tmp_path, {"data.yaml": "names: [cat]\nkpt_shape: [2, 3]\n", "1.jpg": None})
    write(tmp_path, {"1.txt": "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 1\n"})
    found = scan("yolo", tmp_path)
    assert boxes(found) == {"1.jpg": [CAT]} and "keypoints, only its box is used: 1" in said(found)


def test_names_that_are_numbers_are_not_numbers_of_classes(tmp_path):
    write(tmp_path, {"data.yaml": "names: ['1', '0']\n", "1.jpg": None, "1.txt": LINE})
    assert boxes(scan("yolo", tmp_path)) == {"1.jpg": [("1", *map(float, BOX))]}


def test_files_of_yolo_without_a_usable_line_are_no_background(tmp_path):
    write(tmp_path, NAMES | {f"{n}.jpg": image() for n in range(4)} | {"0.txt": LINE})
    write(tmp_path, {"1.txt": "0 0.5\n", "2.txt": b"\xff\xfa\x80", "3.txt": LINE.encode("utf-16")})
    found = scan("yolo", tmp_path)
    assert boxes(found) == {"0.jpg": [CAT], "3.jpg": [CAT]}
    assert "annotation file without a usable line: 1" in said(found)
    assert "annotation file that is not text: 1" in said(found)


def test_json_is_read_whatever_its_ids_are(tmp_path):
    content = json.loads(json.dumps(coco("1.jpg", "2.jpg")).replace('"id": 0', '"id": "a"'))
    content = json.loads(json.dumps(content).replace('"image_id": 0', '"image_id": "a"'))
    write(tmp_path, {"1.jpg": None, "2.jpg": None, "a.json": content})
    assert boxes(scan("coco", tmp_path)) == {"1.jpg": [CAT], "2.jpg": [CAT]}


def test_the_script_of_the_docs_for_labelme_and_cvat(tmp_path):
    docs = (pathlib.Path(__file__).parents[1] / "docs" / "own_data.md").read_text("utf-8")
    script = re.search(r"```python\n(import json, pathlib.*?)```", docs, re.DOTALL)[1]
    shapes = [
        {"label": "cat", "shape_type": "rectangle", "points": [[30, 15], [10, 5]]},
        {"label": "dog", "shape_type": "polygon", "points": [[10, 5], [30, 5], [20, 15]]},
        {"label": "dog", "shape_type": "circle", "points": [[20, 10], [25, 10]]},
    ]
    labelme = {"shapes": shapes, "imagePath": "1.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    cvat = (
        '<annotations><image name="b/2.jpg"><box label="cat" xtl="10" ytl="5" xbr="30" ybr="15"/>'
        '<polygon label="cat" points="10,5;30,5;20,15"/><tag label="x"/></image></annotations>'
    )
    write(tmp_path, {"a/1.jpg": None, "a/1.json": labelme, "b/2.jpg": None, "all.xml": cvat})
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    dog = ("dog", *CAT[1:])
    expected = {"a/1.jpg": [CAT, dog, ("dog", 15.0, 5.0, 25.0, 15.0)], "b/2.jpg": [CAT, CAT]}
    assert boxes(scan("coco", tmp_path)) == expected

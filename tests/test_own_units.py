"""Boxes in another unit or order than the format's: the likely mistake is named."""

import pytest
from own_folders import HEIGHT, WIDTH, boxes, coco, scan, thing, write, xml

# Four boxes in pixels, x1 y1 x2 y2, in the lower right of images of 40 x 20.
CORNERS = [[22, 11, 38, 19], [25, 12, 35, 18], [21, 10, 39, 17], [24, 9, 38, 19]]


def sides(box):
    return [*box[:2], box[2] - box[0], box[3] - box[1]]


def centre(box):
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *sides(box)[2:]]


def share(box, of=1):
    return [of * a / b for a, b in zip(box, [WIDTH, HEIGHT] * 2, strict=True)]


def swapped(box):
    return [box[1], box[0], box[3], box[2]]


def folder(root, form, numbers):
    write(root, {f"{n}.jpg": None for n in range(len(numbers))} | {"classes.txt": "cat\n"})
    if form == "coco":
        things = [{"image_id": n, "bbox": box} for n, box in enumerate(numbers)]
        names = [f"{n}.jpg" for n in range(len(numbers))]
        write(root, {"a.json": coco(*names, things=things)})
    for n, box in enumerate(numbers):
        if form == "voc":
            write(root, {f"{n}.xml": xml(thing(box=box))})
        if form == "yolo":
            write(root, {f"{n}.txt": " ".join(map(str, [0, *box]))})


@pytest.mark.parametrize(
    ("form", "read", "word"),
    [
        ("voc", share, "like fractions"),
        ("voc", sides, "like `x y width height`"),
        ("voc", swapped, "like `ymin xmin ymax xmax`"),
        ("coco", lambda box: share(sides(box)), "like fractions"),
        ("coco", list, "like `x1 y1 x2 y2`"),
        ("coco", share, "like fractions|like `x1 y1 x2 y2` in fractions"),
        ("coco", lambda box: swapped(sides(box)), "like `y x height width`"),
        ("yolo", centre, "like pixels"),
        ("yolo", lambda box: share(centre(box), 100), "like pixels|like percent"),
        ("yolo", share, "like `x1 y1 x2 y2` in fractions"),
        ("yolo", lambda box: list(box), "in pixels"),
    ],
)
def test_another_unit_or_order_is_refused_and_named(tmp_path, form, read, word):
    corners = CORNERS if (form, read) != ("yolo", share) else [[2, 1, 18, 9], [1, 1, 10, 8]]
    folder(tmp_path, form, [read(box) for box in corners])
    with pytest.raises(ValueError, match=word) as caught:
        scan(form, tmp_path)
    assert "Expected `" in str(caught.value) and "first: " in str(caught.value)


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("voc", lambda box: [box[0] + 1, box[1] + 1, *box[2:]]),
        ("coco", sides),
        ("yolo", lambda box: share(centre(box))),
    ],
)
def test_the_formats_own_reading_is_accepted_and_few_bad_boxes_do_not_change_it(
    tmp_path, form, read
):
    folder(tmp_path, form, [read(box) for box in CORNERS] + [[0.5, 0.5, 500, 500]])
    found = scan(form, tmp_path)
    assert found.warning is None
    corners = [list(each[1:]) for n in range(4) for each in boxes(found)[f"{n}.jpg"]]
    assert corners == CORNERS


def test_corners_of_coco_that_fit_are_told_by_their_area(tmp_path):
    things = [{"bbox": [1, 1, 11, 9], "area": 80}, {"bbox": [2, 3, 10, 9], "area": 48}]
    write(tmp_path, {"0.jpg": None, "a.json": coco("0.jpg", things=things)})
    with pytest.raises(ValueError, match="look like `x1 y1 x2 y2`: their `area`"):
        scan("coco", tmp_path)


def test_corners_of_coco_of_which_most_fit_are_a_warning(tmp_path):
    boxes = [[1, 2, 11, 9], [2, 3, 10, 8], [1, 1, 9, 7], [20, 8, 38, 19]]
    folder(tmp_path, "coco", boxes)
    assert "1 boxes do not fit, and all would as `x1 y1 x2 y2`" in scan("coco", tmp_path).warning


def test_a_few_boxes_below_a_pixel_are_a_warning(tmp_path):
    folder(tmp_path, "coco", [*map(sides, CORNERS), [0.1, 0.1, 0.5, 0.5]])
    assert scan("coco", tmp_path).warning.startswith("1 boxes are smaller than a pixel: in frac")


def test_what_no_reading_explains_is_a_warning(tmp_path):
    folder(tmp_path, "coco", [[30, 3, 90, 4], [20, 10, 30, 30], [5, 5, 10, 10]])
    warning = scan("coco", tmp_path).warning
    assert warning.startswith("2 of 3 boxes do not fit their images. Expected `x y width")

"""Drawing: what is where, that nothing falls outside, and that names in any script are shown."""

import cv2
import numpy as np
import pytest

from jaxdet import types, visualize

CLASSES = ("cat", "dog", "emu")
GREY = 90


def grey(height, width):
    return np.full((height, width, 3), GREY, np.uint8)


def draw(image, boxes, labels, classes=CLASSES, scores=None):
    return visualize.draw_boxes(
        image, np.array(boxes, float), np.array(labels), classes=classes, scores=scores
    )


def changed(before, after):
    """The extent of what differs, x1 y1 x2 y2, last pixels included."""
    rows, columns = np.nonzero((before != after).any(-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_box_is_drawn_where_it_is_and_the_picture_is_left_alone():
    image = grey(200, 300)
    drawn = draw(image, [[100, 80, 180, 150]], [1])
    assert (image == GREY).all()
    colour = visualize.class_colour(1)
    for x, y in (100, 115), (180, 115), (140, 150), (160, 80):
        assert tuple(drawn[y, x]) == colour, (x, y)
    assert tuple(drawn[115, 140]) == (GREY,) * 3
    left, top, right, bottom = changed(image, drawn)
    assert (left, right, bottom) == (100, 180, 150)
    assert 80 - 20 <= top < 80 - 8  # the label stands on the box


def test_label_of_a_box_at_the_top_hangs_inside_it():
    image = grey(200, 300)
    assert changed(image, draw(image, [[100, 0, 180, 150]], [1])) == (100, 0, 180, 150)
    assert tuple(draw(image, [[100, 0, 180, 150]], [1])[5, 101]) == visualize.class_colour(1)


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (9, 9), (40, 30), (30, 700), (1200, 1600)])
def test_boxes_beyond_the_picture_are_cut_and_long_names_shrink(size):
    height, width = size
    name = "a class with a very long name"
    boxes = [[-50, -50, 2 * width, 2 * height], [width - 1, height - 1, width + 9, height + 9]]
    image = grey(height, width)
    drawn = draw(image, boxes, [0, 0], classes=(name,), scores=np.array([0.5, 0.25]))
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


def test_long_name_on_a_small_picture_is_shown_to_its_end():
    # The last letter is seen to differ, so the name was not cut off at the edge.
    one, other = (
        draw(grey(120, 160), [[5, 60, 90, 100]], [0], classes=("a very long class name " + end,))
        for end in ("of dogs", "of dogW")
    )
    assert changed(one, other)[0] > 100


def test_size_of_names_follows_the_picture():
    def label_height(height, width):
        drawn = draw(grey(height, width), [[0, 0.5 * height, 0.8 * width, 0.9 * height]], [0])
        return 0.5 * height - changed(grey(height, width), drawn)[1]

    assert 12 <= label_height(120, 160) <= 24
    assert 80 <= label_height(2400, 3200) <= 160


@pytest.mark.parametrize("name", ["Zuckerrübe", "自行车", "Ёлка", "한국", "λόγος"])
def test_names_in_other_scripts_are_not_question_marks(name):
    asked, marks = (
        draw(grey(60, 300), [[5, 40, 280, 55]], [0], classes=(text,))
        for text in (name, "?" * len(name))
    )
    assert (asked != marks).any()
    # Every letter is one that the font has: each alone looks unlike a question mark.
    mark = draw(grey(60, 300), [[5, 40, 280, 55]], [0], classes=("?",))
    for letter in name:
        shown = draw(grey(60, 300), [[5, 40, 280, 55]], [0], classes=(letter,))
        assert (shown != mark).any(), letter


def test_best_score_is_on_top():
    boxes = [[50, 60, 250, 150]] * 2
    image = grey(200, 300)
    first = draw(image, boxes, [0, 1], scores=np.array([0.9, 0.8]))
    second = draw(image, boxes, [0, 1], scores=np.array([0.8, 0.9]))
    assert tuple(first[150, 100]) == visualize.class_colour(0)
    assert tuple(second[150, 100]) == visualize.class_colour(1)


def test_colours_are_stable_and_distinct():
    colours = np.array([visualize.class_colour(label) for label in range(80)], float)
    assert len(np.unique(colours, axis=0)) == 80
    first = colours[:8]
    gaps = np.abs(first[:, None] - first[None]).sum(-1) + 1000 * np.eye(8)
    assert gaps.min() > 60


def test_refuses_what_is_no_picture():
    with pytest.raises(ValueError, match=r"float64 \(8, 8, 3\), expected uint8"):
        draw(np.zeros((8, 8, 3)), [], [])
    with pytest.raises(ValueError, match=r"uint8 \(8, 8\), expected uint8 \[H, W, 3\]"):
        draw(np.zeros((8, 8), np.uint8), [], [])


def test_sheet_places_pictures_row_by_row():
    sizes, colours = [(40, 80), (80, 40), (7, 7)], [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    images = [np.full((*size, 3), c, np.uint8) for size, c in zip(sizes, colours, strict=True)]
    page = visualize.sheet(images, columns=2, cell=100)
    assert page.shape == (200, 200, 3)
    for (y, x), colour in zip([(50, 50), (50, 150), (150, 50)], colours, strict=True):
        assert tuple(page[y, x]) == colour
    ground = page[150, 150]
    assert (page[150, 101:] == ground).all()  # no fourth picture
    assert (page[10, :100] == ground).all()  # a wide picture leaves room above
    assert (page[:100, 110] == ground).all()  # a high one beside
    with pytest.raises(ValueError, match="no images"):
        visualize.sheet([], columns=2, cell=100)


def test_found_sheet_scales_boxes_with_the_picture():
    image = grey(50, 100)
    found = types.ImageDetections(
        np.array([[20.0, 10, 80, 40]]), np.array([0.9], np.float32), np.array([2], np.int32)
    )
    page = visualize.detections_sheet([image], [found], classes=CLASSES, columns=1, cell=204)
    assert page.shape == (204, 204, 3)
    # The picture fills 200 x 100, 2 pixels from the left and 52 from the top.
    colour = visualize.class_colour(2)
    for x, y in (42, 120), (162, 120), (100, 132):
        assert tuple(page[y, x]) == colour, (x, y)


def test_batch_sheet_shows_objects_and_only_matched_anchors():
    images = np.full((2, 50, 50, 3), 90.4, np.float32)
    objects = types.Objects(
        boxes=np.array([[[0.1, 0.5, 0.5, 0.9], [0, 0, 0, 0]]] * 2),
        labels=np.array([[1, 0]] * 2),
        mask=np.array([[True, False], [False, False]]),
        weight=np.ones((2, 2)),
    )
    boxes = np.array([[0.75, 0.75, 0.3, 0.3], [0.75, 0.25, 0.3, 0.3]])
    positive = np.array([[True, False], [False, False]])
    page = visualize.batch_sheet(
        images, objects, types.Anchors(boxes, boxes), positive, classes=CLASSES, columns=2, cell=104
    )
    assert page.shape == (104, 208, 3)
    first, second = page[2:102, 2:102], page[2:102, 106:206]
    assert (second == 90).all()
    assert tuple(first[90, 30]) == visualize.class_colour(1)
    anchor = (first == (255, 255, 0)).all(-1)
    rows, columns = np.nonzero(anchor)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (60, 60, 90, 90)


def test_save_png_writes_rgb_and_makes_the_folder(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    visualize.save_png(tmp_path / "new" / "Bild ü.png", image)
    encoded = np.frombuffer((tmp_path / "new" / "Bild ü.png").read_bytes(), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), image)


def overlaps(places):
    a, b = places[:, None], places[None]
    shared = np.minimum(a[..., 2:], b[..., 2:]) > np.maximum(a[..., :2], b[..., :2])
    return shared.all(-1) & ~np.eye(len(places), dtype=bool)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (90, 70), (1600, 40)])
@pytest.mark.parametrize("kind", ["anywhere", "one place", "beyond"])
def test_labels_never_cover_one_another(size, kind):
    rng, limits = np.random.default_rng(0), np.array([*size, *size])
    centres = {"one place": np.array(size) / 2 + rng.normal(0, 3, (40, 2))}
    at = centres.get(kind, rng.random((40, 2)) * size)
    half = rng.random((40, 2)) * 0.3 * size + 1
    boxes = np.concatenate([at - half, at + half], axis=1) * (2 if kind == "beyond" else 1)
    texts = [f"{name} 0.9" for name in ("cat", "a rather long name", "emu", "?") * 10]
    places = visualize.place_labels(boxes, texts, size)
    shown = places[~np.isnan(places).any(axis=1)]
    assert len(shown) >= (25 if size[0] == 640 else 1)
    assert not overlaps(shown).any()
    assert (shown >= 0).all() and (shown <= limits).all()
    np.testing.assert_array_equal(places[:7], visualize.place_labels(boxes[:7], texts[:7], size))
    clipped = np.clip(boxes, 0, limits - 1)
    near = np.minimum(places[:, 2:], clipped[:, 2:]) - np.maximum(places[:, :2], clipped[:, :2])
    assert not (near < -1).any() or min(size) < 100  # each touches its box


def test_labels_of_equal_boxes_are_all_drawn():
    boxes = np.array([[100.0, 80, 180, 150]] * 3)
    drawn = draw(grey(200, 300), boxes, [0, 1, 2], scores=np.array([0.9, 0.8, 0.7]))
    places = visualize.place_labels(boxes, ["cat 0.90", "dog 0.80", "emu 0.70"], (300, 200))
    assert not overlaps(places).any()
    for label, (x1, y1, x2, _) in enumerate(places.astype(int)):
        for x in (x1, x2 - 1):
            assert tuple(drawn[y1, x]) == visualize.class_colour(label)


def test_the_best_score_chooses_its_place_first_and_what_finds_none_is_left_out():
    boxes = np.array([[2.0, 20, 38, 29]] * 9)
    places = visualize.place_labels(boxes, ["cat"] * 9, (40, 30))
    left_out = np.isnan(places).any(axis=1)
    assert not left_out[0] and left_out[-1]
    assert (places[0, 0], places[0, 3]) == (2, 20)  # on its box


def test_ink_can_be_read():
    assert visualize.ink((255, 255, 0)) == (0, 0, 0) and visualize.ink((0, 0, 200)) == (255,) * 3

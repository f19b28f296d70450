"""The report: its numbers by hand, its charts, and the whole page in a browser."""

import dataclasses
import json
import re
from html import escape

import numpy as np
import pytest
from browser import rendered
from conftest import run
from ml_collections import ConfigDict
from test_metrics_errors import CLASSES, FIRST, NOWHERE, SECOND, THIRD, found, truth

from configs import quickstart_classifier
from jaxdet import build, data, types
from jaxdet.engine import evaluate
from jaxdet.metrics import errors, voc_classification
from jaxdet.report import (
    __main__,
    chart,
    compare,
    evidence,
    facts,
    gallery,
    markup,
    numbers,
    page,
    tables,
)
from jaxdet.training import origin
from jaxdet.training.curves import read_curves


def judged(detections, annotation):
    return detections, annotation, errors.classify(detections, annotation)


IMAGES = [
    judged(
        found((0, 0.9, FIRST), (1, 0.7, SECOND), (0, 0.35, NOWHERE)),
        truth((0, FIRST), (0, SECOND), (1, THIRD), name="1"),
    ),
    judged(found((1, 0.6, THIRD), (0, 0.2, FIRST)), truth((1, THIRD), name="2")),
]


def test_the_threshold_is_where_f1_is_best():
    # Right are 0.9 and 0.6 of 4 objects: F1 2/5, 2/6, 4/7, 4/8, 4/9 by falling score.
    at = numbers.best_threshold(IMAGES)
    expected = {"score": 0.6, "precision": 2 / 3, "recall": 2 / 4, "f1": 4 / 7}
    assert at == pytest.approx(expected)
    confident = [numbers.above(image, at["score"]) for image in IMAGES]
    assert [len(each.scores) for each, _, _ in confident] == [2, 1]
    assert [numbers.image_f1(image) for image in confident] == pytest.approx([2 / 5, 1.0])


def test_equal_scores_pass_a_threshold_together():
    tied = [judged(found((0, 0.5, FIRST), (0, 0.5, NOWHERE)), truth((0, FIRST)))]
    curves = numbers.over_threshold(tied)
    assert {name: each.tolist() for name, each in curves.items()} == {
        "score": [0.5],
        "precision": [0.5],
        "recall": [1],
        "f1": [2 / 3],
        "detections": [2],
    }
    best, (confident,) = numbers.best_threshold(tied), [numbers.above(tied[0], 0.5)]
    assert best["f1"] == numbers.image_f1(confident) == 2 / 3


def test_curves_over_the_threshold():
    curves = numbers.over_threshold(IMAGES)
    np.testing.assert_allclose(curves["score"], [0.9, 0.7, 0.6, 0.35, 0.2], rtol=1e-6)
    np.testing.assert_allclose(curves["precision"], [1, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    np.testing.assert_allclose(curves["recall"], [1 / 4, 1 / 4, 2 / 4, 2 / 4, 2 / 4])
    np.testing.assert_allclose(curves["f1"], [2 / 5, 2 / 6, 4 / 7, 4 / 8, 4 / 9])


def test_no_detections_have_no_threshold():
    nothing = [judged(found(), truth((0, FIRST)))]
    assert len(numbers.over_threshold(nothing)["score"]) == 0
    assert set(numbers.best_threshold(nothing).values()) == {0.0}
    assert numbers.image_f1(judged(found(), truth())) == 1.0


def test_confusion():
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # the first object
    expected[0, 1] = 1  # the second, called b
    expected[1, 1], expected[1, 3] = 1, 1  # the third is found once, and once not
    expected[3, 0] = 2  # nothing, called a
    np.testing.assert_array_equal(numbers.confusion(IMAGES, 3), expected)


def test_confusion_prefers_the_own_class_and_leaves_out_difficult_objects():
    near = (0, 0, 20, 19)
    both = judged(found((1, 0.9, FIRST)), truth((0, FIRST), (1, near)))
    table = numbers.confusion([both], 2)
    np.testing.assert_array_equal(table, [[0, 0, 1], [0, 1, 0], [0, 0, 0]])
    hard = judged(found((0, 0.9, FIRST)), truth((0, FIRST), (1, SECOND), difficult=[0, 1]))
    assert numbers.confusion([hard], 2).sum() == 0


def test_ap_by_size():
    small, large = (0, 0, 10, 10), (0, 0, 100, 100)
    annotation = dataclasses.replace(truth((0, small), (0, large)), width=100, height=100)
    both = numbers.ap_by_size(
        [judged(found((0, 0.9, large), (0, 0.8, small)), annotation)], CLASSES
    )
    assert both == {
        "small": {"objects": 1, "mAP": 1.0},
        "medium": {"objects": 0, "mAP": None},
        "large": {"objects": 1, "mAP": 1.0},
    }
    # A false one of the size of the other object costs there alone: precision 1/2 at recall 1.
    wrong = found((0, 0.9, large), (0, 0.85, (80, 80, 90, 90)), (0, 0.8, small))
    sizes = numbers.ap_by_size([judged(wrong, annotation)], CLASSES)
    assert (sizes["small"]["mAP"], sizes["large"]["mAP"]) == (0.5, 1.0)


def test_calibration():
    bins = numbers.calibration(IMAGES, bins=2)
    np.testing.assert_array_equal(bins["count"], [2, 3])
    np.testing.assert_allclose(bins["score"], [0.275, 2.2 / 3], rtol=1e-6)
    np.testing.assert_allclose(bins["precision"], [0, 2 / 3])
    assert bins["error"] == pytest.approx((0.275 * 2 + 0.2) / 5)


def test_class_properties_and_correlation():
    wide = (0, 0, 40, 10)
    of = numbers.class_properties(
        [truth((0, FIRST), (0, wide), (0, wide)), truth((2, FIRST))], CLASSES
    )
    np.testing.assert_array_equal(of["boxes"], [3, 0, 1])
    np.testing.assert_allclose(of["box side, pixels"], [20, np.nan, 20], rtol=1e-6)
    np.testing.assert_allclose(of["width / height"], [4, np.nan, 1], rtol=1e-6)
    # Of the six orders of three points, two are as strong: p is 1/3 however well they lie.
    assert numbers.correlation(np.array([1, 2, 3]), np.array([6, 4, 2])) == pytest.approx(
        (-1, 1 / 3)
    )
    assert numbers.correlation(np.array([1, 2]), np.array([6, 4])) is None
    assert numbers.correlation(np.array([1, 2, 3]), np.array([6, 6, 6])) is None


def test_ranks_are_correlated_and_equal_values_share_theirs():
    # Ranks 0, 1, 2, 3 and 0, 2, 1, 3: 1 - 6 * 2 / (4 * 15) = 0.8, whatever the values.
    x, y = np.array([1.0, 2.0, 50.0, 1e6]), np.array([-9.0, 3.0, 2.0, 4.0])
    rho, p = numbers.correlation(x, y)
    assert rho == pytest.approx(0.8)
    assert p == pytest.approx(8 / 24)  # 4 of the 24 orders have 0.8 or more, 4 -0.8 or less
    # Ranks 0.5, 0.5, 2 and 0, 1, 2: (1.5 x 1) / sqrt(1.5 x 2).
    assert numbers.correlation(np.array([4, 4, 9]), np.array([1, 2, 3]))[0] == pytest.approx(
        1.5 / 3**0.5
    )


def test_p_values_are_those_of_a_t_test_where_both_hold():
    rng = np.random.default_rng(3)
    x = rng.permutation(12)
    weak, strong = 0.5 * x + rng.normal(size=12) * 4, -2 * x + rng.normal(size=12)
    for y in (weak, strong):
        rho, p = numbers.correlation(x, y)
        assert rho == pytest.approx(np.corrcoef(x, np.argsort(np.argsort(y)))[0, 1])
        assert p == pytest.approx(t_test(rho, 12), abs=0.012)


def t_test(r, n):
    """The two-sided p of Pearson's r among n normal points, from the integral of its density."""
    at = np.linspace(-1, 1, 200_001)[1:-1]
    density = (1 - at**2) ** ((n - 4) / 2)
    return density[np.abs(at) >= abs(r)].sum() / density.sum()


def test_chance_is_not_significant():
    rng = np.random.default_rng(0)
    p = [numbers.correlation(rng.normal(size=6), rng.normal(size=6))[1] for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09  # a p-value is uniform


@pytest.mark.parametrize(
    "low, high, log, expected",
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 1500, False, [0, 200, 400, 600, 800, 1000, 1200, 1400]),
        (-0.03, 0.07, False, [-0.02, 0, 0.02, 0.04, 0.06]),
        (3, 90, True, [5, 10, 20, 50]),
        (1, 1e6, True, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (110, 230, True, [120, 140, 160, 180, 200, 220]),
    ],
)
def test_axis_ticks(low, high, log, expected):
    assert chart.Axis("", low, high, log=log).ticks() == pytest.approx(expected)


def test_a_chart_places_values_and_escapes_names():
    x, y = chart.Axis("x", 0, 10), chart.Axis("y", 1, 100, log=True)
    drawn = chart.scatter([("<i>", 5, 10, "#123456")], x=x, y=y, size=(276, 150))
    assert 'cx="152.0" cy="60.0" r="3.5" fill="#123456"' in drawn  # the middle of 200 x 100
    assert "<i>" not in drawn and "&lt;i&gt;" in drawn
    line = chart.lines(
        {"long": (range(5000), range(5000))}, x=chart.Axis("", 0, 4999), y=chart.Axis("", 0, 4999)
    )
    points = re.search(r'class="curve".*points="([^"]*)"', line)[1].split()
    assert len(points) == 300 and points[-1] == "456.0,10.0"


def test_names_in_a_chart_keep_apart_and_off_the_dots():
    x, y = chart.Axis("x", 0, 10), chart.Axis("y", 0, 10)
    points = [(f"class {k}", 5 + 0.3 * k, 5.0, "#000000") for k in range(6)]
    drawn = chart.scatter(points, x=x, y=y)
    at = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', drawn)
    at = np.array(at, float)
    assert len(at) >= 4  # where there is no room a name is only a tooltip
    gaps = np.abs(at[:, None] - at[None])
    assert ((gaps[..., 0] > 35) | (gaps[..., 1] > 10) | np.eye(len(at), dtype=bool)).all()


def test_a_table_has_empty_cells_and_knows_numbers():
    """Of recipes, some values are empty."""
    made = markup.table(["key", "one", "two"], [["init_from", "1", ""], ["every.log", "2", "a"]])
    assert made.count('class="number"') == 3 and made.count('class="text"') == 6


def test_axes_of_one_value_have_an_extent():
    for log in (False, True):
        axis = chart.axis("", [5.0], log=log)
        assert axis.low < 5 < axis.high and axis.ticks()


@pytest.fixture(scope="module")
def judged_set(shapes, trained):
    """The evidence of detections that are right, wrong in several ways, and not there."""
    rng, dataset, (workdir, _) = (
        np.random.default_rng(0),
        data.open("shapes_val", dir=shapes),
        trained,
    )
    guesses = {annotation.id: guess(annotation, rng) for annotation in dataset.annotations()}
    config = json.loads((workdir / "config.json").read_text()) | {"purpose": "A <b> purpose"}
    recipe = build.recipe(ConfigDict(config), dataset.classes)
    return evidence.judge(guesses, dataset, workdir=workdir, recipe=recipe, step=6)


def test_a_classifier_is_judged_by_whole_images(shapes, tmp_path):
    dataset = data.open("shapes_val", dir=shapes)
    guesses = {each.id: whole(each) for each in dataset.annotations()}
    recipe = build.recipe(quickstart_classifier.get_config(), dataset.classes)
    assert recipe.evaluation.metric is voc_classification
    classified = evidence.judge(guesses, dataset, workdir=tmp_path, recipe=recipe, step=6)
    assert classified.intervals == {"mAP11": (1, 1), "mAP_area": (1, 1)}
    assert classified.voc["mAP_area"] == 1 and not any(classified.errors["counts"].values())


def whole(annotation):
    """What a perfect classifier finds."""
    labels = np.unique(annotation.labels)
    box = np.array([[0, 0, annotation.width, annotation.height]], np.float32)
    return types.ImageDetections(box.repeat(len(labels), axis=0), np.ones(len(labels)), labels)


def guess(annotation, rng):
    """Most objects are found, some moved or called something else, and some are not there."""
    there = rng.random(len(annotation.labels)) < 0.9
    boxes = annotation.boxes[there] * np.array([annotation.width, annotation.height] * 2)
    boxes = boxes + rng.normal(0, 6, boxes.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    called = np.where(rng.random(there.sum()) < 0.8, annotation.labels[there], 0)
    return types.ImageDetections(boxes, rng.random(there.sum()), called)


@pytest.fixture(scope="module")
def html(judged_set):
    return page.render(judged_set)


def test_the_page_needs_nothing_but_itself(html, judged_set):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html) and "url(" not in html
    protocol = escape(evaluate.protocol(judged_set.recipe))
    assert "A &lt;b&gt; purpose" in html and f"COCO metric; {protocol}" in html
    assert len(html) < 3e6
    titles = re.findall("<h2>(.*?)</h2>", html)
    assert len(titles) == 13 and titles[0] == "Summary"
    assert len(re.findall('<section id="', html)) == 13 == len(re.findall('<a href="#', html))


def test_no_tile_is_empty(html, judged_set):
    tiles = re.findall(r"<div><b>([^<]*)</b><strong>(\w*)", html)
    assert [name for _, name in tiles[:2]] == ["AP", "AP50"]
    assert all(re.fullmatch(r"\d+\.\d", value) for value, _ in tiles)
    none = dataclasses.replace(judged_set, result=judged_set.result | {"APl": -1.0, "ARl": -1.0})
    assert not {"APl", "ARl"} & set(re.findall(r"<strong>(\w*)", page.summary(none)))


def test_one_ap50_stands_on_the_page(html, judged_set):
    result = judged_set.result
    assert f"<b>{100 * result['AP50']:.1f}</b><strong>AP50</strong>" in html
    for name, each in result["classes"].items():
        assert f"<b>{name} {100 * each['AP50']:.1f}</b>" in html  # the curve's
        row = re.search(rf"<tr><td[^>]*><i[^>]*></i>{name}</td>.*?</tr>", html)[0]
        assert f"</span>{100 * each['AP50']:.1f}</td>" in row  # the table's
    area = f"{100 * judged_set.voc['mAP_area']:.1f}"
    assert f"by which the mean AP50 is {area}." in html
    assert f"AP50 (area under the curve) of {area}" in html


def test_what_is_missed_adds_up(judged_set):
    said = [
        int(n.replace(",", ""))
        for n in re.findall(r"([\d,]+)(?= of | obj| have)", tables.missed(judged_set))
    ]
    by_tide, objects, undetected, near, none = said
    assert near + none == undetected < objects and by_tide <= none


def test_the_matrix_says_what_it_shows(judged_set):
    text = tables.confusion(judged_set)
    assert "predicted class" in text and "true class" in text
    assert "the percentages, are its share of its row" in text and "% of the row" in text
    table = numbers.confusion(judged_set.confident, 5)
    assert re.findall(r"<b>(\d+)</b>", text) == [str(n) for n in table.ravel() if n]
    pairs = re.findall(r"<td[^>]*>(\w+) as (\w+)</td><td[^>]*>(\d+)</td>", text)
    a, b, count = pairs[0]
    classes = judged_set.dataset.classes
    off = table[:-1, :-1] * (1 - np.eye(5, dtype=int))
    assert int(count) == off.max() == off[classes.index(a), classes.index(b)]


def test_galleries_are_full_and_marked(judged_set):
    best, worst = gallery.best_and_worst(judged_set)
    assert best.count("<figure") == worst.count("<figure") == gallery.MAX_IMAGES
    assert 'class="right"' in best and 'class="wrong"' not in best
    assert 'class="wrong"' in worst or 'class="missed"' in worst
    scores = [
        float(s) for s in re.findall(r">\w+ (0\.\d+)<", gallery.confident_mistakes(judged_set))
    ]
    assert len(scores) == gallery.MAX_BOXES and scores == sorted(scores, reverse=True)
    sides = re.findall(r"(\d+) x (\d+) pixels", gallery.missed_objects(judged_set))
    areas = [int(width) * int(height) for width, height in sides]
    assert len(areas) == gallery.MAX_BOXES and areas[0] > areas[-1]


DRIVER = """<script>
  const heads = document.querySelectorAll("table.sortable th");
  const column = i => [...document.querySelectorAll(`table.sortable td:nth-child(${i + 1})`)]
    .map(cell => cell.textContent);
  const sorted = [0, 0, 3, 3].map(i => {
    heads[i].click();
    return column(i);
  });
  const charts = [...document.querySelectorAll(".chart svg")];
  const images = [...document.querySelectorAll("svg.picture image")];
  photos[1].querySelector("button").click();
  const press = key => dialog.dispatchEvent(new KeyboardEvent("keydown", {key}));
  const enlarged = () => dialog.querySelector("image").getAttribute("href");
  const zoom = [dialog.open, enlarged() === images[1].getAttribute("href"),
    dialog.querySelector("svg").getBoundingClientRect().width > innerWidth / 2];
  press("ArrowRight");
  zoom.push(enlarged() === images[2].getAttribute("href"));
  photos[8].querySelector("button").click();
  press("ArrowRight");  // the next image is of another gallery
  zoom.push(photos.length > 9, enlarged() !== images[9].getAttribute("href"));
  dialog.click();
  zoom.push(!dialog.open);
  const width = images.map(image => image.ownerSVGElement.getBoundingClientRect().width);
  const loads = images.map(image => new Promise(done => {
    const copy = new Image();
    copy.onload = () => done(copy.naturalWidth > 0);
    copy.onerror = () => done(false);
    copy.src = image.getAttribute("href");
  }));
  Promise.all(loads).then(fits => {
    const said = {sorted, zoom, width: Math.min(...width), fits: fits.every(Boolean),
      images: fits.length,
      charts: charts.map(chart => chart.getBoundingClientRect().height),
      tooWide: document.documentElement.scrollWidth > innerWidth};
    document.body.append(Object.assign(document.createElement("pre"),
      {id: "said", textContent: JSON.stringify(said)}));
  });
</script>"""


def test_the_page_works_in_a_browser(html, tmp_path):
    (tmp_path / "report.html").write_text(html.replace("</body>", DRIVER + "</body>"))
    shown = rendered((tmp_path / "report.html").as_uri(), tmp_path / "profile")
    said = json.loads(re.search(r'<pre id="said">(.*?)</pre>', shown)[1])
    names, backwards, low, high = said["sorted"]
    assert names == sorted(names) == backwards[::-1] and len(names) == 5
    numbers_ = [float(text) for text in low]
    assert len(set(numbers_)) > 1
    assert numbers_ == sorted(numbers_, reverse=True) and low == high[::-1]
    assert said["fits"] and said["images"] == 2 * gallery.MAX_IMAGES + 2 * gallery.MAX_BOXES
    assert len(said["charts"]) == 2 + 2 + 5 + 3 + 1 and min(said["charts"]) > 100
    assert all(said["zoom"]), said["zoom"]
    assert not said["tooWide"] and said["width"] > 100


def test_the_command(trained, tmp_path):
    workdir, _ = trained
    output = tmp_path / "new" / "report.html"
    said = run(f"--workdir={workdir}", f"--output={output}", module="jaxdet.report")
    assert f"{output}, " in said
    text, last = output.read_text(), read_curves(workdir)["eval"]
    for name in ("AP", "AP50", "ARl"):  # as training found them
        assert f"<b>{100 * last[name][1][-1]:.1f}</b><strong>{name}</strong>" in text
    assert "step 6 of 6; " in text and "COCO metric; input 64x64" in text
    assert "The recipe is quickstart, with" in text and "model.backbone.channels" in text
    began = json.loads((workdir / origin.ORIGIN).read_text())
    assert began["flags"][0] == "--config=configs/quickstart.py"
    assert began["began"].replace("T", " ") in text and f"--workdir={workdir}" in text
    assert facts.NOT_RECORDED not in text


def test_what_is_not_recorded_is_said(judged_set, tmp_path):
    old = facts.card(dataclasses.replace(judged_set, workdir=tmp_path))
    assert old.count(facts.NOT_RECORDED) == 2
    assert "<dd>shapes_train: 1,000 images, " in old and "<dt>Seed</dt><dd>0</dd>" in old
    assert "quickstart, the most similar of jaxdet&#x27;s, with" in old
    elsewhere = facts.card(dataclasses.replace(judged_set, step=0))
    assert "the weights were converted" in elsewhere and "Seed" not in elsewhere


@pytest.mark.parametrize(
    "flags, recipe",
    [
        (["--config=a/quickstart.py", "--config.seed=1"], "a/quickstart.py"),
        (["--config.seed=1", "-config", "ssd300_voc"], "ssd300_voc"),
        (["--workdir=x"], ""),
    ],
)
def test_the_recipe_among_the_flags(flags, recipe):
    assert facts._recorded_recipe(flags) == recipe


@pytest.fixture(scope="module")
def other(judged_set):
    """Another detector, which finds every object of the first image and none of the second."""
    images = judged_set.dataset.annotations()
    perfect = {each.id: right(each) for each in images if each.id != images[1].id}
    workdir, recipe = judged_set.workdir.parent / "other", judged_set.recipe
    return evidence.judge(perfect, judged_set.dataset, workdir=workdir, recipe=recipe, step=6)


def right(annotation):
    boxes = annotation.boxes * np.array([annotation.width, annotation.height] * 2)
    return types.ImageDetections(boxes, np.full(len(boxes), 0.9), annotation.labels)


def test_comparison_counts_what_one_finds_and_the_other_does_not(judged_set, other):
    both = compare.found(judged_set, other)
    a, b = (np.concatenate(each) for each in (both.a, both.b))
    objects = len(judged_set.dataset.table.labels)
    assert both.counts() == ((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum())
    assert sum(both.counts()) == objects
    second = len(judged_set.dataset.annotations()[1].labels)
    assert (~b).sum() == second  # all of the second image, and no others
    of_classes = np.array([both.counts(label) for label in range(5)]).sum(axis=0)
    np.testing.assert_array_equal(of_classes, both.counts())


def test_comparison_shows_the_images(judged_set, other):
    text = compare.render(judged_set, other)
    counts = compare.found(judged_set, other).counts()
    for what, count in zip(
        ("both find", "only run finds", "only other finds"), counts, strict=False
    ):
        assert f"<b>{count:,}</b><strong>{what}</strong>" in text
    only_run, only_other = (re.split("<h2>Only (?:run|other) finds</h2>", text))[1:]
    assert only_run.count("<figure") == 2 * min(1, counts[1])  # the second image, by both
    assert only_other.count("<figure") == 2 * compare.MAX_PAIRS
    assert "other; other alone finds" in only_other
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)


def test_two_of_one_name_are_called_by_their_paths(judged_set):
    twin = dataclasses.replace(judged_set, workdir=judged_set.workdir / ".." / "run")
    assert compare.names(judged_set, twin) == (str(judged_set.workdir), str(twin.workdir))


def test_both_pages_show_intervals(html, judged_set, other):
    low, high = (f"{100 * end:.1f}" for end in judged_set.intervals["AP"])
    space = "\N{NO-BREAK SPACE}"
    assert f"mean over IoU 0.50 to 0.95 [{low}{space}to{space}{high}]" in html
    difference = other.result["AP"] - judged_set.result["AP"]
    page = compare.summary(judged_set, other, compare.found(judged_set, other))
    found = re.search(rf"\+{100 * difference:.1f} \[\+(.*?){space}to{space}\+(.*?)\]", page)
    low, high = map(float, found.groups())
    assert low < 100 * difference < high


def test_detectors_of_other_classes_are_not_compared(trained, shapes):
    dataset = data.open("shapes_val", dir=shapes)
    others = dataclasses.replace(dataset, classes=("disc", "ring", "sphere"))
    with pytest.raises(ValueError, match=r"5 classes, .*\(shapes_val\) has 3; .* and 'sphere'$"):
        evidence.gather(trained[0], dir=None, root=None, dataset=others)


@pytest.mark.parametrize("flags", [(), ("--workdir=a", "--compare", "a", "b"), ("--compare", "a")])
def test_one_workdir_or_two(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(list(flags))
    assert stopped.value.code == 2 and "--compare" in capsys.readouterr().err


def test_a_workdir_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="^jaxdet: no checkpoint in"):
        __main__.main([f"--workdir={tmp_path}"])

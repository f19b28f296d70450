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
from jaxdet.metrics import coco, errors, voc_classification
from jaxdet.report import __main__, chart, evidence, gallery, numbers, page
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


def test_no_detections_have_no_threshold():
    nothing = [judged(found(), truth((0, FIRST)))]
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
    assert numbers.correlation(np.array([1, 2, 3]), np.array([6, 4, 2])) == pytest.approx(-1)
    assert numbers.correlation(np.array([1, 2]), np.array([6, 4])) is None
    assert numbers.correlation(np.array([1, 2, 3]), np.array([6, 6, 6])) is None


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
    drawn = chart.scatter([("<b>", 5, 10)], x=x, y=y, size=(266, 166))  # 200 x 100 within
    assert 'cx="152.0" cy="76.0"' in drawn  # the middle of both axes
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn
    line = chart.lines(
        {"long": (range(5000), range(5000))}, x=chart.Axis("", 0, 4999), y=chart.Axis("", 0, 4999)
    )
    points = re.search(r'class="curve".*points="([^"]*)"', line)[1].split()
    assert len(points) == 300 and points[-1] == "426.0,26.0"


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
    return evidence.classify(
        guesses,
        dataset,
        workdir=workdir,
        recipe=build.recipe(ConfigDict(config), dataset.classes),
        step=6,
        result=coco.evaluate(guesses, dataset.annotations(), dataset.classes),
    )


def test_a_classifier_is_judged_by_whole_images(shapes, tmp_path):
    dataset = data.open("shapes_val", dir=shapes)
    guesses = {each.id: whole(each) for each in dataset.annotations()}
    recipe = build.recipe(quickstart_classifier.get_config(), dataset.classes)
    assert recipe.evaluation.metric is voc_classification
    classified = evidence.classify(
        guesses, dataset, workdir=tmp_path, recipe=recipe, step=6, result={}
    )
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
    assert not re.findall(r'(?:src|href)="(?!data:)', html) and "url(" not in html
    protocol = escape(evaluate.protocol(judged_set.recipe))
    assert "A &lt;b&gt; purpose" in html and f"COCO metric; {protocol}." in html
    assert len(html) < 3e6
    titles = re.findall("<h2>(.*?)</h2>", html)
    assert len(titles) == 12 and titles[0] == "Summary"


def test_galleries_are_full_and_marked(judged_set):
    best, worst = gallery.best_and_worst(judged_set)
    assert best.count("<figure>") == worst.count("<figure>") == gallery.MAX_IMAGES
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
  const charts = [...document.querySelectorAll("svg.chart")];
  const images = [...document.querySelectorAll("svg.picture image")];
  const loads = images.map(image => new Promise(done => {
    const copy = new Image();
    copy.onload = () => done(copy.naturalWidth === image.width.baseVal.value);
    copy.onerror = () => done(false);
    copy.src = image.getAttribute("href");
  }));
  Promise.all(loads).then(fits => {
    const said = {sorted, fits: fits.every(Boolean), images: fits.length,
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
    assert len(said["charts"]) == 2 + 5 + 3 + 1 and min(said["charts"]) > 100
    assert not said["tooWide"]


def test_the_command(trained, tmp_path):
    workdir, _ = trained
    output = tmp_path / "new" / "report.html"
    said = run(f"--workdir={workdir}", f"--output={output}", module="jaxdet.report")
    assert f"{output}, " in said
    text, last = output.read_text(), read_curves(workdir)["eval"]
    for name in ("AP", "AP50", "ARl"):  # as training found them
        assert f"<b>{100 * last[name][1][-1]:.2f}</b><span>{name}</span>" in text
    assert "Checkpoint at step 6" in text and "COCO metric; input 64x64" in text


def test_a_workdir_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="^jaxdet: no checkpoint in"):
        __main__.main([f"--workdir={tmp_path}"])

"""NMS with fixed shapes against plain greedy loops, under fuzzing."""

import functools

import jax
import numpy as np
import pytest
from conftest import ROOT
from test_configs import CONFIGS, load

from jaxdet import build, choices
from jaxdet.boxes import nms, suppression
from jaxdet.engine import evaluate


def iou(box, others):
    side = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(side, 0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def diou(box, others, beta=0.6):
    """As `iou`, less a power of the distance of the centres in diagonals of the hull."""
    centre = lambda box: (box[..., :2] + box[..., 2:]) / 2
    hull = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
    c2, d2 = (hull**2).sum(1), ((centre(box) - centre(others)) ** 2).sum(1)
    return iou(box, others) - np.where(c2 > 0, d2 / np.where(c2 > 0, c2, 1), 0) ** beta


def greedy(boxes, scores, score_threshold, iou_threshold, max_kept, overlap=iou):
    """(anchor, class) of what survives, by falling score; equal scores by anchor, then class."""
    anchor, label = np.nonzero(scores > score_threshold)
    order = np.argsort(-scores[anchor, label], kind="stable")
    kept = []
    for a, k in zip(anchor[order], label[order], strict=True):
        same = [other for other, of_class in kept if of_class == k]
        if not same or overlap(boxes[a], boxes[same]).max() <= iou_threshold:
            kept.append((a, k))
        if len(kept) == max_kept:
            break
    return kept


def soft(boxes, scores, score_threshold, max_kept, factor):
    """(anchor, class, score) of soft NMS in float64, by its pseudo code (figure 3)."""
    left = {(a, k): float(scores[a, k]) for a, k in np.ndindex(*scores.shape)}
    kept = []
    while len(kept) < max_kept and max(left.values(), default=-np.inf) > score_threshold:
        a, k = max(left, key=lambda place: (left[place], -place[0], -place[1]))
        kept.append((a, k, left.pop((a, k))))
        others = [other for other, of_class in left if of_class == k]
        for other, share in zip(others, factor(iou(boxes[a], boxes[others])), strict=True):
            left[other, k] *= share
    return kept


@functools.partial(jax.jit, static_argnames="max_kept")
def select(boxes, scores, score_threshold, iou_threshold, max_kept):
    return nms.greedy(
        boxes,
        scores,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_kept=max_kept,
    )


def random_boxes(rng, count, grid):
    """Corners on a coarse grid, so that IoUs, duplicates and empty boxes abound; sums are exact."""
    low = rng.integers(0, grid, (count, 2))
    side = rng.integers(0, grid // 2, (count, 2))
    return (np.concatenate([low, low + side], 1) / 64).astype(np.float32)


def assert_same(found, kept, boxes, scores):
    assert found.valid.sum() == len(kept)
    np.testing.assert_array_equal(found.valid, np.arange(len(found.valid)) < len(kept))
    anchors, labels = np.array(kept, int).reshape(-1, 2).T
    n = len(kept)
    np.testing.assert_array_equal(found.labels[:n], labels)
    np.testing.assert_array_equal(found.scores[:n], scores[anchors, labels])
    np.testing.assert_array_equal(found.boxes[:n], boxes[anchors])
    assert not found.boxes[n:].any()
    assert not found.scores[n:].any()


@pytest.mark.parametrize("max_kept", [5, 100])
@pytest.mark.parametrize("iou_threshold", [0.3, 0.45, 0.5, 0.6, 0.7])
def test_fuzz_against_greedy(iou_threshold, max_kept):
    rng = np.random.default_rng(max_kept)
    for seed in range(8):
        boxes = random_boxes(rng, 300, grid=(6, 12, 40, 64)[seed % 4])
        scores = rng.uniform(size=(300, 4)).astype(np.float32)
        if seed % 2:
            scores = np.round(scores * 16) / 16  # ties
        threshold = np.float32((0.01, 0.5, 0.9)[seed % 3])
        found = select(boxes, scores, threshold, iou_threshold, max_kept=max_kept)
        kept = greedy(boxes, scores, threshold, iou_threshold, max_kept)
        assert_same(found, kept, boxes, scores)


@pytest.mark.parametrize("chunk", [1, 7, 64, 4096])
def test_the_chunk_does_not_show(monkeypatch, chunk):
    monkeypatch.setattr(suppression, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 100, grid=20)
    scores = np.round(rng.uniform(size=(100, 3)) * 20).astype(np.float32) / 20
    scores[0, 0] = np.inf  # still comes first
    arguments = {"score_threshold": 0.1, "iou_threshold": 0.45, "max_kept": 60}
    found = nms.greedy(boxes, scores, **arguments)
    assert_same(found, greedy(boxes, scores, *arguments.values()), boxes, scores)


def test_everything_covers_everything():
    boxes = np.tile(np.float32([[0.1, 0.1, 0.5, 0.5]]), (900, 1))
    scores = np.random.default_rng(0).uniform(0.1, 1, (900, 2)).astype(np.float32)
    found = select(boxes, scores, 0.01, 0.45, max_kept=100)
    assert_same(found, greedy(boxes, scores, 0.01, 0.45, 100), boxes, scores)
    assert found.valid.sum() == 2


def test_a_chain_of_suppressions():
    # Each box covers the next one only: the first, third, fifth ... survive.
    low = np.arange(400, dtype=np.float32)[:, None] * [[1, 0]]
    boxes = np.concatenate([low, low + [[3, 1]]], 1).astype(np.float32)
    scores = np.linspace(1, 0.5, 400, dtype=np.float32)[:, None]
    found = select(boxes, scores, 0.01, 0.45, max_kept=300)
    assert_same(found, [(i, 0) for i in range(0, 400, 2)], boxes, scores)


def test_no_candidates():
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 30, grid=20)
    scores = np.full((30, 3), 0.01, np.float32)
    found = select(boxes, scores, 0.01, 0.45, max_kept=10)
    assert_same(found, [], boxes, scores)


def test_fewer_scores_than_places():
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 1, 0.9], [0.5, 0.5, 0.5, 0.5]])
    scores = np.float32([[0.2], [0.9], [0.5]])
    found = select(boxes, scores, 0.01, 0.5, max_kept=8)
    assert_same(found, [(1, 0), (2, 0)], boxes, scores)


def test_the_best_class_alone_against_greedy_of_it():
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=40)
    run = jax.jit(functools.partial(nms.greedy, best_class=True, **limits))
    for seed in range(4):
        boxes, scores = few(seed, ties=seed > 1)
        best = np.arange(3)[None] == scores.argmax(axis=1)[:, None]  # of ties the first
        kept = greedy(boxes.astype(np.float64), np.where(best, scores, 0), *limits.values())
        found = run(boxes, scores)
        assert_same(found, kept, boxes, scores)
        every_class = select(boxes, scores, 0.2, 0.3, max_kept=40)
        assert not np.array_equal(found.labels, every_class.labels)


def test_vmap_over_images():
    rng = np.random.default_rng(5)
    boxes = np.stack([random_boxes(rng, 400, grid) for grid in (8, 60, 20)])
    scores = rng.uniform(size=(3, 400, 2)).astype(np.float32)
    scores[1] /= 1000  # an image without candidates amid others
    found = jax.jit(jax.vmap(lambda b, s: select(b, s, 0.01, 0.45, max_kept=50)))(boxes, scores)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], found)
        assert_same(one, greedy(boxes[i], scores[i], 0.01, 0.45, 50), boxes[i], scores[i])


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
def test_plain_nms_against_greedy(iou_threshold):
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 500, grid=24)
    scores = rng.normal(size=500).astype(np.float32)
    scores[rng.uniform(size=500) < 0.2] = -np.inf  # these do not count
    run = jax.jit(suppression.nms, static_argnames="max_kept")
    index, valid = run(boxes, scores, iou_threshold=iou_threshold, max_kept=40)
    kept = [a for a, _ in greedy(boxes, scores[:, None], -np.inf, iou_threshold, 40)]
    np.testing.assert_array_equal(index[valid], kept)
    assert valid.sum() == len(kept)


def test_double_precision():
    rng = np.random.default_rng(3)
    boxes, scores = random_boxes(rng, 300, 40), rng.random((300, 3), np.float32)
    with jax.enable_x64(True):
        found = select(boxes.astype(np.float64), scores.astype(np.float64), 0.1, 0.45, 20)
    assert found.scores.dtype == np.float64
    assert_same(found, greedy(boxes, scores, 0.1, 0.45, 20), boxes, scores)


def few(seed, ties):
    """A small image, with scores that are multiples of a quarter if there are to be ties."""
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 60, grid=(8, 20)[seed % 2])
    scores = rng.uniform(size=(60, 3)).astype(np.float32)
    return boxes, np.ceil(scores * 4) / 4 if ties else scores


@pytest.mark.parametrize("beta", [0.6, 1.0])
def test_diou_against_greedy_with_that_overlap(beta):
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=40)
    run = jax.jit(functools.partial(nms.diou, beta=beta, **limits))
    for seed in range(4):
        boxes, scores = few(seed, ties=seed > 1)
        overlap = functools.partial(diou, beta=beta)
        kept = greedy(boxes.astype(np.float64), scores, *limits.values(), overlap)
        assert_same(run(boxes, scores), kept, boxes, scores)


def test_diou_keeps_what_greedy_suppresses_beside_it():
    boxes = np.float32([[0, 0, 0.4, 0.4], [0.1, 0, 0.5, 0.4], [0, 0, 0.4, 0.4]])
    scores = np.float32([[0.9], [0.8], [0.7]])
    limits = dict(score_threshold=0.1, iou_threshold=0.5, max_kept=3)
    assert nms.greedy(boxes, scores, **limits).valid.sum() == 1
    assert_same(nms.diou(boxes, scores, **limits), [(0, 0), (1, 0)], boxes, scores)


def test_agnostic_against_greedy_of_the_best_classes():
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=40)
    run = jax.jit(functools.partial(nms.agnostic, **limits))
    for seed in range(4):
        boxes, scores = few(seed, ties=seed > 1)
        kept = greedy(boxes, scores.max(1, keepdims=True), *limits.values())
        best = scores.argmax(1)
        assert_same(run(boxes, scores), [(a, best[a]) for a, _ in kept], boxes, scores)


@pytest.mark.parametrize("max_kept", [7, 250])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_against_its_pseudo_code(method, max_kept):
    factors = {
        "linear": lambda iou: np.where(iou > 0.3, 1 - iou, 1),
        "gaussian": lambda iou: np.exp(-(iou**2) / 0.4),
    }
    limits = dict(score_threshold=0.05, iou_threshold=0.3, max_kept=max_kept)
    run = jax.jit(functools.partial(nms.soft, method=method, sigma=0.4, **limits))
    for seed in range(4):
        # With ties, decayed scores that are equal in exact arithmetic are rounded apart.
        boxes, scores = few(seed, ties=False)
        kept = soft(boxes.astype(np.float64), scores, 0.05, max_kept, factors[method])
        found, count = run(boxes, scores), len(kept)
        assert found.valid.sum() == count
        np.testing.assert_array_equal(found.valid, np.arange(max_kept) < count)
        np.testing.assert_array_equal(found.labels[:count], [k for _, k, _ in kept])
        np.testing.assert_array_equal(found.boxes[:count], boxes[[a for a, _, _ in kept]])
        np.testing.assert_allclose(found.scores[:count], [s for *_, s in kept], rtol=1e-5)
        assert not found.boxes[count:].any() and not found.scores[count:].any()


def test_soft_with_ties_duplicates_and_by_hand():
    boxes = np.float32([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.4], [0, 0, 0.4, 0.2], [0.6, 0.6, 1, 1]])
    scores = np.float32([[0.5, 0.5], [0.5, 0], [0.4, 0], [0.5, 0]])
    limits = dict(score_threshold=0.0, iou_threshold=0.4, max_kept=8)
    found = nms.soft(boxes, scores, method="linear", **limits)
    # Of equal scores the first anchor, then the first class; a duplicate has no score left.
    assert found.valid.sum() == 4
    np.testing.assert_allclose(found.scores[:5], [0.5, 0.5, 0.5, 0.2, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes[:4], boxes[[0, 0, 3, 2]])
    np.testing.assert_array_equal(found.labels[:4], [0, 1, 0, 0])
    with pytest.raises(ValueError, match=r"method is 'cubic', expected one of linear, gaussian"):
        nms.soft(boxes, scores, method="cubic", **limits)


@pytest.mark.parametrize("name", choices.names("nms"))
def test_images_one_by_one_and_together_give_the_same(name):
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=30)
    run = functools.partial(getattr(nms, name), **limits)
    boxes, scores = map(
        np.stack, zip(*(few(seed, ties=seed > 1) for seed in range(4)), strict=True)
    )
    scores[1] /= 10  # an image without candidates
    one_by_one = jax.jit(lambda *given: jax.lax.map(lambda one: run(*one), given))(boxes, scores)
    together = jax.jit(jax.vmap(run))(boxes, scores)
    assert 0 == one_by_one.valid[1].sum() < one_by_one.valid[0].sum()
    for a, b in zip(jax.tree.leaves(one_by_one), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_recipe_names_an_nms_with_options():
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    config = load(path).get_config()
    del config.evaluation.nms  # ml_collections keeps the type of a key: it was a string
    config.evaluation.nms = dict(name="soft", method="linear")
    chosen = build.recipe(config, ("a", "b")).detector.nms
    limits = {k: config.evaluation[k] for k in ("score_threshold", "iou_threshold", "max_kept")}
    assert chosen.func is nms.soft and chosen.keywords == {**limits, "method": "linear"}
    boxes, scores = few(0, ties=False)
    found = nms.soft(boxes, scores, **limits, method="linear")
    for a, b in zip(jax.tree.leaves(chosen(boxes, scores)), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    config.evaluation.nms.iou_threshold = 0.6  # a limit is a key of its own
    with pytest.raises(ValueError, match=r"config\.evaluation\.nms: there is no 'iou_threshold'"):
        build.recipe(config, ("a", "b"))


def torchvision_ssd(boxes, scores, *, candidates, score_threshold, iou_threshold, max_kept):
    """(anchor, class) in the words of torchvision's SSD.postprocess_detections."""
    found = []
    for label in range(scores.shape[1]):
        keep = np.flatnonzero(scores[:, label] > score_threshold)
        keep = keep[np.argsort(-scores[keep, label], kind="stable")][:candidates]
        alone = np.full_like(scores, -1)
        alone[keep, label] = scores[keep, label]
        found += greedy(boxes, alone, score_threshold, iou_threshold, len(scores))
    found.sort(key=lambda place: -scores[place])
    return found[:max_kept]


@pytest.mark.parametrize(
    ("name", "most"), [("ssdlite320_mobilenet_v3_coco", 300), ("ssd300_coco_torchvision", 400)]
)
def test_recipes_of_torchvision_have_its_number_of_candidates(name, most):
    """Both reach their limit, which changes what is found; without the key there is none."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.9, (900, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.01, 0.1, (900, 2))], 1).astype(np.float32)
    scores = rng.permutation(2 * 900).reshape(900, 2).astype(np.float32) / 1800
    config = load(ROOT / "configs" / f"{name}.py").get_config()
    evaluation = config.evaluation
    limits = {key: evaluation[key] for key in ("score_threshold", "iou_threshold")}
    evaluation.max_kept = 1000  # or that limit would hide the other
    recipe = build.recipe(config, ("a", "b"))
    assert f"best {most} of each class, class-wise NMS" in evaluate.protocol(recipe)
    found = recipe.detector.nms(boxes, scores)
    expected = torchvision_ssd(boxes, scores, candidates=most, max_kept=1000, **limits)
    assert evaluation.candidates == most and len(expected) > most
    anchors, labels = np.array(expected).T
    count = int(found.valid.sum())
    assert count == len(expected)
    np.testing.assert_array_equal(found.labels[:count], labels)
    np.testing.assert_array_equal(found.boxes[:count], boxes[anchors])
    np.testing.assert_array_equal(found.scores[:count], scores[anchors, labels])
    del config.evaluation.candidates  # a recipe of an earlier version
    all_of_them = build.recipe(config, ("a", "b")).detector.nms(boxes, scores)
    assert all_of_them.valid.sum() > count


def test_of_equal_scores_the_first_anchors_are_candidates():
    scores = np.array([[0.5, 0.1], [0.7, 0.1], [0.5, 0.1], [0.5, 0.9]], np.float32)
    best = functools.partial(suppression.best_of_each_class, scores)
    found = best(2, floor=0.0)
    low = -np.inf
    np.testing.assert_array_equal(
        found, np.array([[0.5, 0.1], [0.7, low], [low, low], [low, 0.9]], np.float32)
    )
    assert best(4, floor=0.0) is scores
    np.testing.assert_array_equal(best(2, floor=0.5), scores)  # no class has more above it


def test_a_negative_number_of_candidates_is_refused():
    config = load(ROOT / "configs" / "ssd300_coco_torchvision.py").get_config()
    config.evaluation.candidates = -1
    with pytest.raises(ValueError, match="config.evaluation.candidates is -1, expected at least"):
        build.recipe(config, ("a", "b"))

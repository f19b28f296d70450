"""Exported files give what the live detector gives, run without it, and refuse what they cannot."""

import importlib
import json
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
import thin_recipe
from conftest import ROOT
from PIL import Image

import jaxdet
from jaxdet import build
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import check, contract, onnx, stablehlo, write

pytest.importorskip("flatbuffers")
CLASSES = ("cat", "dog", "bird")
PACKAGES = ("jax2onnx", "onnxsim", "onnxruntime")


def pretrained(name="quickstart", *, spread=5, fit=None, **evaluation):
    """A small detector with random weights, whose scores differ by `spread` times as usual."""
    config = thin_recipe.get_config(name)
    with config.ignore_type():
        config.evaluation.update(**dict(dict(score_threshold=0.01, max_kept=20), **evaluation))
        config.model.fit = fit or config.model.fit
    recipe = build.recipe(config, CLASSES)
    variables = recipe.detector.init(jax.random.key(0))
    params = dict(variables["params"])
    for head in {"head", "roi_head"} & {*params}:
        params[head] = jax.tree.map(lambda x: spread * x if x.ndim > 1 else x, params[head])
    return Pretrained(recipe, {**variables, "params": params}, step=3)


@pytest.fixture(scope="module")
def detector():
    return pretrained()


def images(detector, count, dtype="uint8"):
    shape = (count, *write.input_shape(detector, None), 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def live(detector, given):
    run = jax.jit(lambda variables, x: contract.detections(detector.detector, variables, x))
    return jax.device_get(run(detector.variables, given))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_stablehlo_gives_the_bits_of_the_live_detector(detector, tmp_path, dtype):
    for batch in 2, None:
        file = jaxdet.export(
            detector, tmp_path / "x.jaxdet", format="stablehlo", batch=batch, dtype=dtype
        )
        run, about = stablehlo.runner(file)
        given = images(detector, 2, dtype)
        expected = live(detector, given)
        if batch is None:  # one image after the other
            each = [live(detector, given[i : i + 1]) for i in range(2)]
            expected = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        found = jax.device_get(run(given))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        assert found[0].min() > 5 and about["classes"] == list(CLASSES)
        assert about["input"]["dtype"] == dtype and about["step"] == 3


def test_every_platform_gets_its_own_forms(detector, tmp_path):
    """Off the CPU a convolution is one convolution; on it, images of any number come in turn."""
    file = jaxdet.export(detector, tmp_path / "x.jaxdet", format="stablehlo")
    texts = {name: stablehlo.read(file, name)[0].mlir_module() for name in stablehlo.PLATFORMS}
    assert {name: stablehlo.read(file, name)[0].platforms for name in texts} == {
        name: (name,) for name in texts
    }
    convolutions = {name: text.count("stablehlo.convolution") for name, text in texts.items()}
    layers = sum("kernel" in str(path) for path, _ in jax.tree.leaves_with_path(detector.variables))
    assert convolutions["tpu"] == convolutions["cuda"] == layers


def test_a_file_needs_neither_the_recipe_nor_jaxdet(detector, tmp_path):
    """The program of docs/export.md, which imports neither."""
    file = jaxdet.export(detector, tmp_path / "x.jaxdet", format="stablehlo")
    said = run_example(0, file)
    assert said.startswith("[") and ("cat" in said or "dog" in said or "bird" in said)


def run_example(number, *arguments):
    """Runs a Python program of docs/export.md from an unrelated folder; what it printed."""
    text = (ROOT / "docs" / "export.md").read_text()
    program = re.findall(r"```python\n(.*?)```", text, re.S)[number]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("options", [{}, dict(nms="none"), dict(batch=3)])
def test_a_file_is_loaded_like_a_workdir(detector, tmp_path, options):
    """One image gets the bits of the live detector; several, whose forms differ, the same boxes."""
    file = jaxdet.export(detector, tmp_path / "x.jaxdet", format="stablehlo", **options)
    loaded = jaxdet.load(file)
    assert loaded.classes == detector.classes
    photos = [photo(70, 90), photo(400, 333), photo(5, 8)]
    ours, found = detector(photos[1]), loaded(photos[1])
    exact = options == {}
    assert len(found) == len(ours) > 5
    np.testing.assert_array_equal(found.labels, ours.labels)
    np.testing.assert_allclose(found.scores, ours.scores, rtol=0 if exact else 1e-5)
    np.testing.assert_allclose(found.boxes, ours.boxes, atol=1e-4)
    for one, other in zip(loaded(photos), detector(photos), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def photo(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def test_settings_of_a_file_with_and_without_nms(detector, tmp_path):
    inside = jaxdet.load(jaxdet.export(detector, tmp_path / "a", format="stablehlo"))
    none = jaxdet.load(jaxdet.export(detector, tmp_path / "b", format="stablehlo", nms="none"))
    image, changed = photo(70, 90), dict(iou=0.2, agnostic=True, score=0.001, max=30)
    for settings in changed, dict(score=0.4, max=3, classes=["dog"]):
        ours, found = detector(image, **settings), none(image, **settings)
        np.testing.assert_array_equal(found.labels, ours.labels)
        np.testing.assert_allclose(found.scores, ours.scores, rtol=1e-5)
    assert len(inside(image, max=3)) == 3 and len(inside(image, score=0.9999)) == 0
    for key, value in changed.items():
        with pytest.raises(ValueError, match="NMS is inside .* export the model again with"):
            inside(image, **{key: value})
    with pytest.raises(ValueError, match="is exported already; export a workdir"):
        jaxdet.export(inside, tmp_path / "c", format="stablehlo")


def test_an_image_that_a_file_cannot_hold(tmp_path):
    """Where the input's longer side depends on the image, a file has one shape."""
    given = pretrained("quickstart_faster_rcnn", fit=dict(name="shorter_side", longest=300))
    file = jaxdet.export(given, tmp_path / "x", format="stablehlo", size=(160, 224))
    loaded = jaxdet.load(file)
    assert len(loaded(photo(80, 110))) > 0
    with pytest.raises(ValueError, match="needs an input of 220x160, and .* has 160x224"):
        loaded(photo(110, 80))


def test_candidates_without_nms(detector, tmp_path):
    file = jaxdet.export(detector, tmp_path / "x.jaxdet", format="stablehlo", nms="none")
    boxes, scores = jax.device_get(stablehlo.runner(file)[0](images(detector, 3, "float32")))
    assert boxes.shape == (3, scores.shape[1], 4) and scores.shape[2] == len(CLASSES)


def onnx_session(detector, file, **options):
    for name in PACKAGES:
        pytest.importorskip(name)
    import onnxruntime

    jaxdet.export(detector, file, format="onnx", **options)
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "quickstart_yolov1",
        "quickstart_yolov2",
        "quickstart_yolov3",
        "quickstart_yolox",
    ],
)
def test_onnx_finds_every_detection(tmp_path, name):
    """Any number of images; the numbers of detections, boxes, scores and classes."""
    spread = {"quickstart": 5, "quickstart_yolox": 4}.get(name, 1)  # scores are alike at first
    detector = pretrained(name, spread=spread, score_threshold=0.0)
    session = onnx_session(detector, tmp_path / "x.onnx")
    for count in 1, 3:
        given = images(detector, count)
        found = session.run(None, {"images": given})
        ours = live(detector, given)
        assert ours[0].min() > 0
        for one, other, exact in zip(found, ours, (0, 1e-2, 1e-5, 0), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, atol=exact, rtol=exact)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(CLASSES) and about["fit"] in (
        "stretch",
        "letterbox",
        "top_left",
    )


def test_another_rule_by_name(tmp_path):
    """Soft-NMS has no operator in ONNX; a file can have class-wise NMS instead, and says so."""
    detector = pretrained(nms=dict(name="soft", sigma=0.1), iou_threshold=0.2)
    file = jaxdet.export(detector, tmp_path / "x", format="stablehlo", nms="greedy")
    loaded, image = jaxdet.load(file), photo(70, 90)
    greedy = pretrained(nms="greedy", iou_threshold=0.2)
    assert "class-wise NMS" in loaded.about["protocol"] and loaded.about["nms"] == "greedy"
    np.testing.assert_array_equal(loaded(image).scores, greedy(image).scores)
    assert not np.array_equal(loaded(image).scores, detector(image).scores)
    assert len(detector(image, agnostic=True)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("nms", ["agnostic", dict(name="greedy", best_class=True)])
def test_an_onnx_file_is_loaded_like_a_workdir(tmp_path, nms):
    """With the rules that choose candidates before NMS."""
    detector = pretrained(score_threshold=0.0, nms=nms, candidates=9)
    onnx_session(detector, tmp_path / "x.onnx", dtype="float32")
    loaded, images = jaxdet.load(tmp_path / "x.onnx"), [photo(70, 90), photo(400, 333)]
    for one, other in zip(loaded(images), detector(images), strict=True):
        assert 0 < len(one) <= 20
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)


@pytest.fixture(scope="module")
def tflite_file(detector, tmp_path_factory):
    for name in write._NEEDS["tflite"]:
        pytest.importorskip(name)
    return jaxdet.export(detector, tmp_path_factory.mktemp("t") / "x.tflite", format="tflite")


@pytest.mark.slow
def test_tflite_has_the_candidates(detector, tflite_file):
    """Loaded, with NMS by us, it finds what the live detector finds."""
    exact = jaxdet.export(
        detector, tflite_file.with_name("float"), format="tflite", dtype="float32"
    )
    loaded, image = jaxdet.load(exact), photo(70, 90)
    assert loaded.about["batch"] == 1 and loaded.about["outputs"] == ["boxes", "scores"]
    for settings in {}, dict(iou=0.2, agnostic=True):
        ours, found = detector(image, **settings), loaded(image, **settings)
        matched = check.Difference()
        check._add(matched, *((x.boxes, x.scores, x.labels) for x in (ours, found)))
        assert matched.live > 5 and matched.equal, str(matched)
    assert [len(each) for each in loaded([image] * 3)] == [len(loaded(image))] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart_yolov3", "quickstart_yolox"])
def test_tflite_of_other_families(tmp_path, tflite_file, name):
    spread = {"quickstart_yolox": 4}.get(name, 1)
    detector = pretrained(name, spread=spread, score_threshold=0.0)
    file = jaxdet.export(detector, tmp_path / "x.tflite", format="tflite", batch=2)
    exported, given = jaxdet.load(file), images(detector, 2)
    live = jax.jit(lambda variables, x: contract.candidates(detector.detector, variables, x))
    expected = jax.device_get(live(detector.variables, given))
    for one, other, exact in zip(exported._run(given), expected, (1e-2, 1e-5), strict=True):
        np.testing.assert_allclose(one, other, atol=exact, rtol=1e-3)  # sides are exponentials


@pytest.mark.slow
def test_tflite_in_8_bits(detector, tflite_file, tmp_path):
    for i in range(3):
        Image.fromarray(photo(60 + i, 80)).save(tmp_path / f"{i}.png")
    small = jaxdet.export(detector, tmp_path / "x.tflite", format="tflite", int8=tmp_path)
    assert small.stat().st_size < 0.5 * tflite_file.stat().st_size
    loaded, given = jaxdet.load(small), images(detector, 1)
    assert loaded.about["int8"] == 3
    (boxes, scores), (exact, their_scores) = (
        loaded._run(given),
        jaxdet.load(tflite_file)._run(given),
    )
    assert 0 < np.abs(scores - their_scores).mean() < 0.05
    assert 0 < np.abs(boxes - exact).mean() < 2


@pytest.mark.slow
def test_the_program_of_the_docs_for_tflite(detector, tflite_file, tmp_path):
    """Its NMS, in NumPy, keeps what ours keeps."""
    Image.fromarray(images(detector, 1)[0]).save(tmp_path / "x.png")
    said = run_example(2, tflite_file, tmp_path / "x.png")
    found = detector(tmp_path / "x.png", score=0.3)
    assert len(said.splitlines()) == len(found) > 0
    for line, name, score in zip(said.splitlines(), found.names, found.scores, strict=True):
        assert line.startswith(name) and abs(float(line.split()[1]) - score) < 2e-3


@pytest.mark.slow
def test_the_program_of_the_docs(detector, tmp_path):
    onnx_session(detector, tmp_path / "x.onnx")
    Image.fromarray(images(detector, 1)[0]).resize((90, 70)).save(tmp_path / "x.png")
    said = run_example(1, tmp_path / "x.onnx", tmp_path / "x.png")
    assert re.search(r"^(cat|dog|bird) 0\.\d{3} \[", said, re.M)


def test_what_cannot_be_exported_is_one_line(detector, tmp_path):
    cases = {
        "format is 'onxn'; did you mean 'onnx'": dict(format="onxn"),
        "batch is 0, expected at least 1": dict(format="stablehlo", batch=0),
        "nms is 'insde'": dict(format="stablehlo", nms="insde"),
        "dtype is 'int8'": dict(format="stablehlo", dtype="int8"),
        "int8 is for format='tflite', not for 'stablehlo'": dict(format="stablehlo", int8="photos"),
    }
    for message, options in cases.items():
        with pytest.raises(ValueError) as caught:
            jaxdet.export(detector, tmp_path / "x", **options)
        assert message.split(";")[0].split(" is ")[0] in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="there is no folder"):
        jaxdet.export(detector, tmp_path / "missing" / "x", format="stablehlo")
    (tmp_path / "text.jaxdet").write_text("no zip")
    with pytest.raises(ValueError, match="is no file of `jaxdet export"):
        stablehlo.read(tmp_path / "text.jaxdet", "cpu")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "another zip")
    with pytest.raises(ValueError, match="is no file of `jaxdet export"):
        stablehlo.read(tmp_path / "other.zip", "cpu")


def test_a_missing_extra_is_named(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(write.importlib.util, "find_spec", lambda name: None)
    for format, extra in ("onnx", "export"), ("tflite", "tflite"):
        said = rf"needs .*, .*pip install 'jaxdet\[{extra}\]'"
        with pytest.raises(ImportError, match=said):
            jaxdet.export(detector, tmp_path / "x", format=format)


def test_rules_without_an_operator_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="no operator for nms='soft', only for greedy and agnostic"
    ):
        contract.check_nms("soft", ("greedy", "agnostic"), "ONNX")


def test_two_stages_are_refused_by_onnx():
    given = write.subject(
        pretrained("quickstart_faster_rcnn"), None, batch=1, nms="none", dtype="uint8"
    )
    with pytest.raises(ValueError, match="two stages .*--format=stablehlo can"):
        onnx.model(given, batch=1, nms="none", dtype="uint8")


def test_the_command_checks_what_it_wrote(detector, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jaxdet, "load", lambda workdir: detector)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(images(detector, 1)[0]).resize((50 + i, 40)).save(
            tmp_path / "photos" / f"{i}.png"
        )
    common = ["--workdir=W", "--format=stablehlo", f"--output={tmp_path / 'x.jaxdet'}", "--batch=2"]
    assert export_command([*common, f"--check={tmp_path / 'photos'}"]) == 0
    said = capsys.readouterr().out
    (count, found) = map(
        int, re.search(r"batch 2: (\d+) images: (\d+) detections live", said).groups()
    )
    assert count == 3 and 0 < found <= 3 * 20  # the fourth row, a copy, does not count
    assert "largest difference of scores 0.0e+00" in said
    monkeypatch.setattr(check, "MOST_SCORE", -1.0)  # nothing is near enough
    assert export_command([*common, f"--check={tmp_path / 'photos'}"]) == 1
    with pytest.raises(SystemExit, match="has no image"):
        (tmp_path / "empty").mkdir()
        export_command([*common, f"--check={tmp_path / 'empty'}"])


def export_command(arguments):
    return importlib.import_module("jaxdet.export").main(arguments)


def test_the_function_is_not_hidden_by_the_command_of_its_name(detector, tmp_path):
    importlib.import_module("jaxdet.export")
    file = jaxdet.export(detector, tmp_path / "x", format="stablehlo", batch=1)
    assert jaxdet.load(file).classes == CLASSES

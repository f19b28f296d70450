"""The programs of docs/ that run exported files without Python: in C++, and in a browser."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser import rendered, served
from conftest import ROOT
from PIL import Image
from test_export import images, onnx_session, pretrained

pytestmark = pytest.mark.slow
WEB = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def folder_with(variable, *files):
    """The folder that an environment variable names; skips if one of `files` is not in it."""
    folder = Path(os.environ.get(variable, "unset"))
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        pytest.skip(f"${variable} ({folder}) has no {', '.join(missing)}")
    return folder


def detections(session, pixels):
    """Name, score and box of each detection in one input, by Python's ONNX Runtime."""
    names = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    (count,), boxes, scores, labels = (x[0] for x in session.run(None, {"images": pixels}))
    return [(names[labels[i]], scores[i], boxes[i]) for i in range(count)]


def assert_same(found, expected, within):
    """The same detections, in any order, with boxes `within` pixels and the printed score."""
    assert len(found) == len(expected) > 3
    for name, score, box in expected:
        assert any(
            other == name and abs(s - score) < 2e-3 and np.abs(np.subtract(b, box)).max() < within
            for other, s, b in found
        ), (name, score, box, found)


def test_the_program_in_cpp(tmp_path):
    """Compiled by the line in docs/export.md, it prints what Python finds."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: g++ is not installed")
    release = folder_with("ONNXRUNTIME", "include/onnxruntime_cxx_api.h", "lib/libonnxruntime.so")
    detector = pretrained()
    session = onnx_session(detector, tmp_path / "x.onnx")
    pixels = images(detector, 1)
    Image.fromarray(pixels[0]).save(tmp_path / "x.ppm")
    Image.fromarray(pixels[0]).resize((10, 10)).save(tmp_path / "small.ppm")

    text = (ROOT / "docs" / "export.md").read_text()
    (program,) = re.findall(r"```cpp\n(.*?)```", text, re.S)
    (compile_,) = re.findall(r"^g\+\+ .*$", text, re.M)
    (tmp_path / "detect.cpp").write_text(program)
    environment = os.environ | {"ONNXRUNTIME": str(release.resolve())}
    subprocess.run(compile_, shell=True, cwd=tmp_path, env=environment, check=True)

    def run(*arguments):
        return subprocess.run(
            ["./detect", *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    done = run("x.onnx", "x.ppm")
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^(\w+) (\S+) \[(.*)\]$", done.stdout, re.M)
    found = [(name, float(score), np.fromstring(box, sep=",")) for name, score, box in lines]
    expected = [each for each in detections(session, pixels) if each[1] > 0.3]
    assert_same(found, expected, within=0.1)
    for arguments, said in (
        (["x.onnx"], "usage: detect MODEL.onnx IMAGE.ppm\n"),
        (["x.onnx", "small.ppm"], "small.ppm is no binary PPM of 64x64 pixels\n"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(
    "name", ["quickstart", "quickstart_yolov3", "quickstart_yolox", "yolox_nano_coco"]
)
def test_the_page(tmp_path, name):
    """It stretches, letterboxes, or places at the top left, and finds what Python finds."""
    web = folder_with("ONNXRUNTIME_WEB", *WEB)
    for file in WEB:
        shutil.copy(web / file, tmp_path)
    spread = {"quickstart": 5, "quickstart_yolox": 4, "yolox_nano_coco": 20}.get(name, 1)
    detector = pretrained(name, spread=spread, score_threshold=0.0)
    session = onnx_session(detector, tmp_path / "model.onnx")
    pixels = images(detector, 1)
    height, width = pixels.shape[1:3]
    rows = {"stretch": (0, height), "letterbox": (12, height - 12), "top_left": (0, height - 24)}
    fit = session.get_modelmeta().custom_metadata_map["fit"]
    first, last = rows[fit]  # with the aspect kept, an image as wide as the input is not resized
    Image.fromarray(pixels[0, first:last]).save(tmp_path / "x.png")
    pixels[0, :first] = pixels[0, last:] = np.round(detector.detector.fill)

    page = (ROOT / "docs" / "browser" / "index.html").read_text()
    with served(tmp_path, page, until="tr, .error") as address:
        address += "?image=x.png&score=0"
        shown = rendered(address, tmp_path / "profile", milliseconds=None)
    found = [
        (name, float(score), np.fromstring(box, sep=" "))
        for name, score, box in re.findall(r"</i>(\w+)</td><td>(.*?)</td><td>(.*?)</td>", shown)
    ]
    moved = np.tile([0, first], 2)
    limits = np.tile([width, last - first], 2)
    expected = [
        (name, score, np.clip(box - moved, 0, limits))
        for name, score, box in detections(session, pixels)
    ]
    assert_same(found, expected, within=0.1)


def test_the_page_says_what_is_wrong(tmp_path):
    web = folder_with("ONNXRUNTIME_WEB", *WEB)
    for file in WEB:
        shutil.copy(web / file, tmp_path)
    (tmp_path / "other.onnx").write_bytes(b"")
    page = (ROOT / "docs" / "browser" / "index.html").read_text()
    for model, said in {
        "none.onnx": "there is no none.onnx beside this page",
        "other.onnx": "the model is no file of `jaxdet export --format=onnx`",
    }.items():
        with served(tmp_path, page, until="tr, .error") as address:
            shown = rendered(f"{address}?model={model}", tmp_path / "profile", milliseconds=None)
        assert re.findall(r'class="error">(.*?)<', shown) == [said]

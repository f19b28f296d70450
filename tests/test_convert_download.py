"""Published weights: the table, and downloads from a server on this machine."""

import dataclasses
import hashlib
import http.server
import runpy
import socket
import threading

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, run
from test_convert import whole

import jaxdet
from jaxdet import build, cache
from jaxdet.backbones.mobilenet_v2 import mobilenet_v2
from jaxdet.convert import download, published, weights
from jaxdet.engine import init_from

CONTENT = np.random.default_rng(0).bytes(50_000)
RIGHT = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the first answers break off after `breaks` bytes, once each."""

    breaks, ranges = [], []

    def do_GET(self):
        Server.ranges.append(self.headers.get("Range"))
        if "missing" in self.path:
            self.send_error(404, "Not Found")
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = Server.breaks.pop(0) if Server.breaks else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(monkeypatch, tmp_path):
    """The address of a server; the cache is empty."""
    monkeypatch.setenv("JAXDET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Server, "breaks", [])
    monkeypatch.setattr(Server, "ranges", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def entry(address, *, file="a-b.pth", sha256=RIGHT):
    return published.Published("some:net", f"{address}/{file}", sha256, "MIT")


@pytest.mark.parametrize("sha256", [RIGHT, RIGHT[:8], ""])
def test_a_file_is_downloaded_once_verified_and_announced(address, capfd, sha256):
    file = download.fetch(entry(address, sha256=sha256))
    assert file.read_bytes() == CONTENT and file.parent == cache.folder("weights")
    assert not list(file.parent.glob("*.part"))
    said = capfd.readouterr().out
    assert f"some:net from {address}/a-b.pth" in said and "licence MIT" in said
    assert (sha256 or "no checksum published") in said and str(file) in said
    if not sha256:
        assert f"SHA-256 {RIGHT} of a-b.pth" in said
    assert download.fetch(entry(address, sha256=sha256)) == file
    assert len(Server.ranges) == 1 and not capfd.readouterr().out


def test_a_broken_download_goes_on_where_it_broke_off(address):
    Server.breaks = [20_000, 35_000]
    assert download.fetch(entry(address)).read_bytes() == CONTENT
    assert Server.ranges == [None, "bytes=20000-", "bytes=35000-"]


def test_what_breaks_off_again_and_again_is_kept_for_the_next_time(address):
    Server.breaks = [10_000, 10_001, 10_002]
    with pytest.raises(ValueError, match="broke off .* before the end.* put it at .*a-b.pth") as no:
        download.fetch(entry(address))
    assert "\n" not in str(no.value)
    assert download.fetch(entry(address)).read_bytes() == CONTENT
    assert Server.ranges[-1] == "bytes=10002-"


def test_another_checksum_is_refused_and_nothing_is_kept(address):
    with pytest.raises(ValueError, match=f"SHA-256 begins with {RIGHT[:8]}, expected 00000000"):
        download.fetch(entry(address, sha256="0" * 64))
    assert not [file for file in cache.folder("weights").iterdir() if file.name != ".lock"]
    (cache.folder("weights") / "a-b.pth").write_bytes(CONTENT[:-1])  # put there by hand
    with pytest.raises(ValueError, match="remove it to download it again"):
        download.fetch(entry(address))


def test_without_the_file_or_a_network_one_line_says_where_to_put_it(address, monkeypatch):
    with pytest.raises(ValueError, match="the server answers 404 Not Found.*put it at .*missing"):
        download.fetch(entry(address, file="missing.pth"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ValueError, match="refused.* put it at .*/a-b.pth") as no:
        download.fetch(entry(nobody))
    assert "\n" not in str(no.value)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setattr(download, "SECONDS", 0.1)
        with pytest.raises(ValueError, match=r"\(timed out\).* put it at "):
            download.fetch(entry(f"http://127.0.0.1:{silent.getsockname()[1]}"))


def test_the_cache_can_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXDET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder("weights") == tmp_path / "jaxdet" / "weights"
    monkeypatch.setenv("JAXDET_CACHE", str(tmp_path / "own"))
    assert cache.folder("weights") == tmp_path / "own" / "weights"


def recipe_of(name):
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]()


@pytest.mark.parametrize("each", published.DETECTORS, ids=lambda each: each.name)
def test_published_detectors_fit_their_recipes(each):
    recipe = build.recipe(recipe_of(each.recipe), ("one", "two"))
    assert recipe.model in weights.sources()[each.source].MODELS
    assert published.detector(each.name) is each


@pytest.mark.parametrize(
    "each", [*published.CLASSIFIERS, *published.DETECTORS], ids=lambda each: each.name
)
def test_checksums_are_those_in_the_names(each):
    assert each.address.startswith("https://") and each.licence
    assert len(each.sha256) in (0, 8, 64) and set(each.sha256) <= set("0123456789abcdef")
    if len(each.sha256) == 8:
        assert f"-{each.sha256}." in each.file
    if each.backbone:
        sources = weights.sources().values()
        assert any(each.backbone in getattr(source, "BACKBONES", {}) for source in sources)


def test_imagenet_is_the_classifier_that_suits_the_recipe():
    chosen = lambda name: published.classifier("imagenet", recipe_of(name).model).name
    assert chosen("ssd300_voc") == "caffe:vgg16"  # its pixels are not divided
    assert chosen("faster_rcnn_vgg16_voc") == "torchvision:vgg16"
    assert chosen("faster_rcnn_resnet50_fpn_coco") == "torchvision:resnet50"
    assert chosen("mobilenet_v2_ssd320_voc") == "torchvision:mobilenet_v2"
    assert chosen("mobilenet_v3_ssd320_voc") == "lufficc:mobilenet_v3"
    assert chosen("ssdlite320_mobilenet_v3_coco") == "torchvision:mobilenet_v3_large"
    assert chosen("efficientnet_b3_ssd300_voc") == "lufficc:efficientnet_b3"
    assert chosen("yolov3_darknet53_416_voc") == "darknet:darknet53"
    for name in ("quickstart", "yolov4_608_coco"):
        with pytest.raises(ValueError, match="no ImageNet classifier is published for .*resnet50"):
            chosen(name)


def test_names_that_do_not_fit_are_refused_with_those_that_do():
    model = recipe_of("ssd300_voc").model
    assert published.classifier("torchvision:vgg16", model).backbone == "vgg16"
    with pytest.raises(
        ValueError, match="there is no torchvision:vgg1 .*did you mean torchvision:vgg16"
    ):
        published.classifier("torchvision:vgg1", model)
    with pytest.raises(ValueError, match="torchvision:resnet50 is not for .*'vgg16'"):
        published.classifier("torchvision:resnet50", model)
    with pytest.raises(ValueError, match="was trained with {'squeeze_first': False}"):
        published.classifier(
            "timm:mobilenetv3_large_100", recipe_of("mobilenet_v3_ssd320_voc").model
        )
    with pytest.raises(ValueError, match="did you mean yolov3-tiny?"):
        published.detector("yolov3-tinny")
    assert not published.is_name("runs/typo") and not published.is_name("gs://bucket/run")


def test_a_run_starts_from_a_name(monkeypatch, tmp_path):
    """The file of the table, put into the cache by hand, as its refusal says."""
    shapes = whole(mobilenet_v2())
    config = recipe_of("mobilenet_v2_ssd320_voc")
    config.init_from = "imagenet"
    monkeypatch.setenv("JAXDET_CACHE", str(tmp_path))
    table = [dataclasses.replace(each, sha256="") for each in published.CLASSIFIERS]
    monkeypatch.setattr(published, "CLASSIFIERS", table)
    file = cache.folder("weights") / published.classifier("imagenet", config.model).file
    file.parent.mkdir()
    rng = np.random.default_rng(0)
    where = weights.backbone_table("mobilenet_v2")
    ours = {path: name for name, path in where.items() if path and name.startswith("features")}
    given = theirs(shapes, ours, rng)
    safetensors.numpy.save_file(given, file)
    init_from.check("imagenet", config.model)
    path = init_from.source(config.init_from, config.model)
    assert str(path) == str(file)
    found = weights.load_backbone(path, shapes, model=("mobilenet_v2",))
    kernel = found["params"]["backbone"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, given["features.0.0.weight"].transpose(2, 3, 1, 0))


def theirs(shapes, ours, rng):
    """Random arrays of a classifier under torchvision's names."""
    leaves = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    found = {}
    for tree in shapes.values():
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree["backbone"])[0]:
            *module, last = (key.key for key in path)
            shape = [leaf.shape[axis] for axis in (3, 2, 0, 1)] if leaf.ndim == 4 else leaf.shape
            name = f"{ours['/'.join(module)]}.{leaves.get(last, last)}"
            found[name] = rng.random(shape, np.float32)
    return found


@pytest.mark.slow
def test_a_published_detector_is_converted_by_its_name(shared, tmp_path):
    cache = tmp_path / "cache" / "weights"
    cache.mkdir(parents=True)
    (cache / "yolov3-tiny.weights").symlink_to(shared / "weights" / "yolov3-tiny.weights")
    options = dict(module="jaxdet.convert", JAXDET_CACHE=str(tmp_path / "cache"))
    said = run("--from=yolov3-tiny", f"--workdir={tmp_path / 'run'}", **options)
    assert "59 arrays from" in said and "8,852,366 parameters" in said
    assert len(jaxdet.load(tmp_path / "run").classes) == 80


def test_the_command_says_what_goes_together(tmp_path):
    for arguments in (["--from=yolov3"], ["--weights=a", f"--workdir={tmp_path}"]):
        said = run(*arguments, module="jaxdet.convert", ok=False)
        assert "expected --workdir, and --from, or both --source and --weights" in said
    assert "yolov4-tiny" in run("--from=list", module="jaxdet.convert")

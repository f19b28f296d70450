"""Speed of exported files on the CPU: the live detector, ONNX Runtime and OpenVINO, in turn.

    python benchmarks/export.py
    python benchmarks/export.py --configs ssdlite320_mobilenet_v3_coco --peer=ENV/bin/python
    python benchmarks/export.py --configs mobilenet_v2_ssd320_voc --batch_sizes 1 --profile

The network and its decoding, without NMS, random weights, noise: the best of `--repeats` calls, in
milliseconds an image. `--peer` is the Python of an environment with torchvision, whose own export
of SSDLite320 (one image, with NMS) is timed beside ours with NMS; scores must exceed `SCORE`, which
no score of these weights does. `--profile` prints which operations the time goes to.
"""

import argparse
import collections
import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import onnxruntime
from timing import report, seconds_in_turn

from jaxdet import build, recipes
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import contract
from jaxdet.exports.write import export

CONFIGS = ("ssd300_voc", "mobilenet_v2_ssd320_voc", "yolov4_tiny_416_coco")
SCORE = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", nargs="*", default=CONFIGS)
    parser.add_argument("--batch_sizes", nargs="*", type=int, default=(1, 8))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peer")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name in options.configs:
        for batch_size in options.batch_sizes if options.peer is None else [1]:
            with tempfile.TemporaryDirectory() as folder:
                compare(name, batch_size, Path(folder), options)


def compare(name: str, batch_size: int, folder: Path, options: argparse.Namespace) -> None:
    """Prints the time of every program for one recipe and one number of images."""
    config = recipes.read(name)
    config.evaluation.score_threshold = SCORE
    classes = tuple(f"class {i}" for i in range(80 if name.endswith("coco") else 20))
    recipe = build.recipe(config, classes)
    found = Pretrained(recipe, recipe.detector.init(jax.random.key(0)), step=0)
    nms = "inside" if options.peer else "none"
    file = export(found, folder / "ours.onnx", format="onnx", batch=batch_size, nms=nms)
    side = recipe.detector.size
    images = np.random.default_rng(0).integers(0, 256, (batch_size, side, side, 3), np.uint8)
    live = jax.jit(partial(contract.program(nms), recipe.detector))
    programs = {
        "live": repeated(lambda: jax.block_until_ready(live(found.variables, images))),
        "onnxruntime": repeated(partial(session(file).run, None, {contract.INPUT: images})),
        "openvino": openvino(file, images),
    }
    if options.peer:
        theirs = folder / "theirs.onnx"
        script = Path(__file__).with_name("torchvision_export.py")
        subprocess.run([options.peer, script, theirs, str(SCORE)], check=True)
        image = np.moveaxis(images[0], 2, 0).astype(np.float32) / 255
        programs["torchvision"] = repeated(partial(session(theirs).run, None, {"image": image}))
    times = seconds_in_turn(programs, repeats=options.repeats)
    for what, seconds in times.items():
        ratio = min(times["live"]) / min(seconds)
        more = dict(batch=batch_size, nms=nms, faster_than_live=round(ratio, 2))
        report(f"{what}/{name}", 1e3 * min(seconds) / batch_size, "ms/image", **more, **machine())
    if options.profile:
        profile(file, images, folder)


def session(file: Path, **options) -> onnxruntime.InferenceSession:
    """ONNX Runtime with a file, on all cores."""
    given = onnxruntime.SessionOptions()
    given.log_severity_level = 3
    for key, value in options.items():
        setattr(given, key, value)
    return onnxruntime.InferenceSession(str(file), given, providers=["CPUExecutionProvider"])


def openvino(file: Path, images: np.ndarray) -> Callable[[int], None]:
    """OpenVINO with a file, in float32."""
    from openvino import Core

    model = Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = model.create_infer_request()
    return repeated(lambda: request.infer([images]))


def repeated(function: Callable) -> Callable[[int], None]:
    """A program that calls `function` several times."""

    def run(calls: int) -> None:
        for _ in range(calls):
            function()

    return run


def machine() -> dict[str, str]:
    """The processor, and the versions of what is timed."""
    from openvino import __version__ as version

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    (model, *_) = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    versions = {"onnxruntime": onnxruntime.__version__, "openvino": version.split("-")[0]}
    return {"processor": model, **versions}


def profile(file: Path, images: np.ndarray, folder: Path) -> None:
    """Prints ONNX Runtime's milliseconds for each kind of operation, the best of thirty calls."""
    options = dict(enable_profiling=True, profile_file_prefix=str(folder / "profile"))
    run = session(file, **options)
    for _ in range(30):
        run.run(None, {contract.INPUT: images})
    events = json.loads(Path(run.end_profiling()).read_text())
    took = collections.defaultdict(list)
    for event in events:
        if event["name"].endswith("_kernel_time"):
            took[event["name"]].append((event["dur"], event["args"]))
    kinds = collections.Counter()
    for calls in took.values():
        duration, about = min(calls, key=lambda call: call[0])
        shapes = [next(iter(each.values())) for each in about["input_type_shape"]]
        kind = about["op_name"]
        if (
            "Conv" in kind
        ):  # the second input is the kernel: outputs, inputs of a group, height, width
            sides = f"{shapes[1][2]}x{shapes[1][3]}" if len(shapes[1]) == 4 else ""
            kind += f" {sides}" + (" depthwise" if shapes[1][1] == 1 else "")
        kinds[kind] += duration / 1e3
    for kind, milliseconds in kinds.most_common(12):
        report(f"profile/{kind}", milliseconds, "ms", batch=len(images))


if __name__ == "__main__":
    main()

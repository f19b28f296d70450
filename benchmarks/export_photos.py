"""Whether ONNX Runtime finds what the live detectors find, family by family, on photos.

    python benchmarks/export_photos.py --photos=coco/val2017
    python benchmarks/export_photos.py --photos=photos --workdirs runs/yolov3_tiny --configs

Those of YOLOv4 have greedy NMS, as ONNX has none by DIoU. `--plain` compares with the live detector
itself, its convolutions in their plain forms: what it does not find is left to rounding.
Weights of recipes are random, with statistics of BatchNorm from eight of the photos, heads scaled
until scores differ, and a score threshold that leaves NMS `CANDIDATES` an image. A line says, for
batches of 1 and 8 in ONNX Runtime, how many detections of the live detector (in batches of 8) the
file has: same class, IoU > 0.999, scores within 1e-4.
"""

import argparse
import tempfile
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxdet
from jaxdet import backend, build, data, recipes
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import check, contract
from jaxdet.exports.predictor import place
from jaxdet.exports.runners import open_file
from jaxdet.exports.write import export
from jaxdet.training import progress

CANDIDATES = 150  # of an image
MOST_KEPT = 200
CONFIGS = (
    "ssd300_voc",
    "mobilenet_v2_ssd320_voc",
    "mobilenet_v3_ssd320_voc",
    "efficientnet_b3_ssd300_voc",
    "ssdlite320_mobilenet_v3_coco",
    "yolov1_vgg16_320_voc",
    "yolov2_darknet19_416_voc",
    "yolov3_darknet53_416_voc",
    "yolov4_608_coco",
    "yolov4_tiny_416_coco",
    "yolox_nano_coco",
    "retinanet_resnet50_fpn_coco",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--configs", nargs="*", default=CONFIGS)
    parser.add_argument("--workdirs", nargs="*", default=())
    parser.add_argument("--size", type=int, default=416, help="at most, of inputs")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    for workdir in options.workdirs:
        compare(Path(workdir).name, jaxdet.load(workdir), options.photos, options.plain)
    for name in options.configs:
        made = random(name, options.photos, options.size)
        compare(name, made, options.photos, options.plain)


def compare(name: str, detector: Pretrained, photos: Path, plain: bool) -> None:
    """Prints what the live detector and the file find."""
    shape = (detector.detector.size,) * 2
    paths, _ = data.images_in(photos)
    live = jax.jit(partial(contract.detections, detector.detector))
    if plain:
        run = plain_forms(detector)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = export(detector, Path(folder) / "x.onnx", format="onnx")
            run = open_file(file).run
    totals = {1: check.Difference(images=len(paths)), 8: check.Difference(images=len(paths))}
    for pixels, count in inputs(detector, paths, shape):
        ours = list(check._each(jax.device_get(live(detector.variables, pixels))))[:count]
        whole = list(check._each(run(pixels)))
        single = [next(check._each(run(pixels[i : i + 1]))) for i in range(count)]
        for i in range(count):
            check._add(totals[1], ours[i], single[i])
            check._add(totals[8], ours[i], whole[i])
    for batch_size, total in totals.items():
        print(f"{name}, batch {batch_size}: {total}", flush=True)


def plain_forms(found: Pretrained):
    """The live detector without the CPU's own forms of convolutions, as a function of images."""

    def predict(variables, pixels):
        with backend.lowering_for("portable"):
            boxes, scores = found.detector.forward(variables, pixels)
        return backend.per_image(found.detector.nms, boxes, scores)

    given = types.SimpleNamespace(predict=predict)
    run = jax.jit(partial(contract.detections, given))
    return lambda images: jax.device_get(run(found.variables, images))


def inputs(detector: Pretrained, paths: list[Path], shape: tuple[int, int]):
    """Batches of 8 inputs uint8, and how many of each count."""
    fixed = dict(shape=shape, fit=detector.detector.fit, fill=detector.detector.fill)
    placed = jax.jit(partial(place, **fixed, dtype="uint8"))
    for start in progress.bar(range(0, len(paths), 8), unit="batch", leave=False):
        batch = [data.read_image(path) for path in paths[start : start + 8]]
        canvas = (2 * shape[0], 2 * shape[1])
        images = [data.to_canvas(image, canvas) for image in batch + batch[-1:] * (8 - len(batch))]
        pixels, *sizes = map(np.stack, zip(*images, strict=True))
        yield np.asarray(placed(pixels, np.stack(sizes, 1).astype(np.int32))[0]), len(batch)


def random(name: str, photos: Path, size: int) -> Pretrained:
    """A recipe's detector with random weights that find things in the photos."""
    config = recipes.read(name)
    config.model.size = min(config.model.size, size)
    config.evaluation.max_kept = MOST_KEPT
    if config.evaluation.get("nms") == "diou":
        config.evaluation.nms = "greedy"
    classes = tuple(f"class {i}" for i in range(80 if name.endswith("coco") else 20))
    detector = build.recipe(config, classes).detector
    variables = detector.init(jax.random.key(0))
    found = Pretrained(build.recipe(config, classes), variables, step=0)
    paths, _ = data.images_in(photos)
    pixels = next(inputs(found, paths[:8], (detector.size,) * 2))[0].astype(np.float32)
    variables = with_statistics(detector, variables, pixels)
    variables, scores = spread(detector, variables, pixels)
    best = np.sort(scores.ravel())[::-1]
    config.evaluation.score_threshold = float(best[CANDIDATES * len(pixels)])
    return Pretrained(build.recipe(config, classes), variables, step=0)


def with_statistics(detector, variables: dict, pixels: np.ndarray) -> dict:
    """The variables with statistics of BatchNorm that are those of `pixels`, to a rounding."""
    if not variables.get("batch_stats"):
        return variables

    @jax.jit
    def update(variables):
        options = dict(train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})
        return detector.net.apply(variables, pixels, **options)[1]["batch_stats"]

    # running = share * old + (1 - share) * new; with old 0 and 1 both are known
    def at(value: float):
        stats = jax.tree.map(lambda x: jnp.full_like(x, value), variables["batch_stats"])
        return update({**variables, "batch_stats": stats})

    zero, one = at(0.0), at(1.0)
    stats = jax.tree.map(lambda a, b: a / (1 - (b - a)), zero, one)
    return {**variables, "batch_stats": stats}


def spread(detector, variables: dict, pixels: np.ndarray) -> tuple[dict, np.ndarray]:
    """The variables with a head scaled so that the scores of anchors differ, and these [B, A, K].

    Layers for boxes alone stay as they are: a rounding may not move a box by its own width.
    """
    forward = jax.jit(detector.forward)

    def scaled_by(factor: float, path: tuple, x: jax.Array) -> jax.Array:
        return x if x.ndim == 1 or path[0].key.startswith("boxes") else factor * x

    for factor in 2.0 ** np.arange(12):
        scale = partial(scaled_by, factor)
        head = jax.tree_util.tree_map_with_path(scale, variables["params"]["head"])
        scaled = {**variables, "params": {**variables["params"], "head": head}}
        scores = np.asarray(forward(scaled, pixels)[1])
        if np.log(scores.max(2) + 1e-9).std() > 0.4:
            break
    return scaled, scores


if __name__ == "__main__":
    main()

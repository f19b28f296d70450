"""Speed of inference with a recipe's detector: milliseconds per image, without and with NMS.

    python benchmarks/forward.py --config=configs/mobilenet_v2_ssd320_voc.py --batch_size=8
    python benchmarks/forward.py --config=configs/ssd300_coco_torchvision.py --peer=torchvision \
        --dtype=bfloat16

Weights are random and images are noise, so all scores are alike; `benchmarks/postprocess.py` times
NMS with realistic candidates. `--peer` is a checkout of the public PyTorch reference (lufficc/SSD;
for YOLOv2 yjh0410/PyTorch_YOLOv2), whose forward pass and decoding (with NMS of at most one image)
are timed in alternation with ours; or torchvision, unchanged and compiled, with its NMS. For YOLOv4
it is Tianxiaomo/pytorch-YOLOv4, for YOLOX Megvii-BaseDetection/YOLOX, with their NMS, and both
networks have the same weights, which leave NMS 400 anchors per image.
"""

import argparse
import importlib
import pathlib

import jax
import numpy as np
import peer
from timing import report, seconds_in_turn

from jaxdet import build, recipes

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peer", type=pathlib.Path)
    options = parser.parse_args()

    config = recipes.read(options.config)
    config.model.dtype = options.dtype
    name = pathlib.Path(options.config).stem
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(CLASSES)))
    detector, variables = recipe.detector, recipe.detector.init(jax.random.key(0))
    shape = (options.batch_size, detector.size, detector.size, 3)
    pixels = jax.random.uniform(jax.random.key(1), shape, maxval=255)
    theirs = {}
    if options.peer == pathlib.Path("torchvision"):
        import torchvision_peer

        shapes = options.batch_size, options.dtype, CLASSES, config.model.size
        theirs = torchvision_peer.inference(name, *shapes)
    elif options.peer and name.startswith(("yolov4", "yolox")):
        module = importlib.import_module(
            "yolox_peer" if name.startswith("yolox") else "yolov4_peer"
        )
        given = options.peer, name, recipe, np.asarray(pixels)
        theirs["peer"], detector, variables = module.inference(*given)
    elif options.peer:
        make = make_yolov2_peer if name.startswith("yolov2") else make_peer
        theirs["peer"] = make(options.peer, name, options.batch_size)
    programs = make_ours(detector, variables, pixels) | theirs
    times = seconds_in_turn(programs, repeats=options.repeats)
    more = {"batch": options.batch_size, "dtype": options.dtype}
    for what, seconds in times.items():
        ms = 1e3 * np.median(seconds) / options.batch_size
        report(f"{what}/{name}", ms, "ms/image", **more)
        if what not in ("forward", "predict"):
            ratio = np.median(np.divide(seconds, times["predict"]))
            report(f"ratio/{name}", ratio, f"times the speed of the {what}", **more)


def make_ours(detector, variables, pixels) -> dict:
    """Our network with decoding, and with NMS."""
    functions = {"forward": jax.jit(detector.forward), "predict": jax.jit(detector.predict)}

    def repeated(function):
        def run(calls: int) -> None:
            jax.block_until_ready([function(variables, pixels) for _ in range(calls)])

        return run

    return {what: repeated(function) for what, function in functions.items()}


def make_peer(checkout: pathlib.Path, name: str, batch_size: int):
    """The reference's forward pass, softmax and decoding."""
    import torch

    cfg, model = peer.build(checkout, name)
    from ssd.modeling.anchors.prior_box import PriorBox
    from ssd.utils import box_utils

    model.eval()
    priors, size = PriorBox(cfg)(), cfg.INPUT.IMAGE_SIZE
    images = torch.rand(batch_size, 3, size, size) * 255 - 110

    def run(calls: int) -> None:
        with torch.no_grad():
            for _ in range(calls):
                logits, codes = model.box_head.predictor(model.backbone(images))
                torch.nn.functional.softmax(logits, dim=2)
                box_utils.convert_locations_to_boxes(codes, priors, 0.1, 0.2)

    return run


def make_yolov2_peer(checkout: pathlib.Path, name: str, batch_size: int):
    """The reference's forward pass; it decodes the first image of the batch only."""
    import torch

    np.int = int  # noqa: NPY001 (it is written for an older numpy)

    size = int(name.split("_")[2])  # yolov2_darknet19_416_voc
    model = peer.build_yolov2(checkout, size).eval()
    images = torch.rand(batch_size, 3, size, size)

    def run(calls: int) -> None:
        with torch.no_grad():
            for _ in range(calls):
                model(images)

    return run


if __name__ == "__main__":
    main()

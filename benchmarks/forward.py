"""Speed of inference with a recipe's detector: milliseconds a picture, without and with NMS.

    python benchmarks/forward.py --config=configs/mobilenet_v2_ssd320_voc.py --batch_size=8

Weights are fresh and pictures are noise, so scores are all alike; `benchmarks/postprocess.py` times
NMS with realistic candidates."""

import argparse
import pathlib
import runpy

import jax
from timing import median_ms, report

from jaxdet import build

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()

    config = runpy.run_path(options.config)["get_config"]()
    config.model.dtype = options.dtype
    detector = build.detector(config, tuple(f"class {i}" for i in range(CLASSES)))
    variables = detector.init(jax.random.key(0))
    shape = (options.batch_size, detector.size, detector.size, 3)
    pixels = jax.random.uniform(jax.random.key(1), shape, maxval=255)
    forward = jax.jit(lambda v, x: detector.net.apply(v, x, train=False))
    name, more = pathlib.Path(options.config).stem, {"batch": options.batch_size}
    for what, function in (("forward", forward), ("predict", jax.jit(detector.predict))):
        ms = median_ms(function, variables, pixels, repeats=options.repeats)
        per_picture = ms / options.batch_size
        report(f"{what}/{name}", per_picture, "ms/picture", dtype=options.dtype, **more)


if __name__ == "__main__":
    main()

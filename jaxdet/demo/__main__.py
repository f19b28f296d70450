"""Try a detector on your own images in a local web page.

    python -m jaxdet.demo --workdir=DIR [--port=8000]
    python -m jaxdet.demo --model=FILE.onnx       a file of `jaxdet export`
    python -m jaxdet.demo --workdir=runs/quickstart

serves a page to this machine only: drop images or use the camera, see the detections, move the
score threshold, choose classes. Programs can `POST /detect` with an image file as the body:

    curl --data-binary @image.jpg http://127.0.0.1:8000/detect

The answer is `{"width", "height", "boxes", "names", "scores"}`, highest score first, with boxes as
x1 y1 x2 y2 in pixels of the image. A body that is not an image, or is too large, gets a 4xx status
and `{"error"}`. `POST /detect?text=N` also says in `labels` where names with letters of N pixels
have room (x1 y1 x2 y2, or null).

Requests must name this machine as their host, or a web site could reach the demo through its
visitors' browsers. --host=0.0.0.0 opens it to other machines instead, without a password.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np
from etils import epath

import jaxdet
from jaxdet import build, cli
from jaxdet.demo.server import HOST, Server
from jaxdet.engine import evaluate, inference
from jaxdet.exports.predictor import Exported
from jaxdet.training import curves


def about(workdir: epath.Path, detector: inference.Predictor) -> list[str]:
    """Sentences on a detector: its name, its model, what it was trained on, how good it is."""
    if isinstance(detector, Exported):
        facts = detector.about
        trained = f"exported at step {facts['step']:,}" if facts["step"] else "exported"
        return [workdir.name, facts["family"], trained, facts["protocol"]]
    assert isinstance(detector, inference.Pretrained)
    recipe, step = detector.recipe, detector.step
    (family,) = build.names_of(recipe.config["model"]["detector"])
    backbone = recipe.config["model"].get("backbone")
    model = f"{family} with {' + '.join(build.names_of(backbone))}" if backbone else family
    trained = f"trained on {recipe.data.train}, {step:,} steps"
    return [
        workdir.resolve().name,
        model,
        trained if step else f"converted weights, in a recipe for {recipe.data.train}",
        _accuracy(workdir, recipe, step),
    ]


def _accuracy(workdir: epath.Path, recipe: build.Recipe, step: int) -> str:
    """The metric's main number for a checkpoint, from the log or the file of an evaluation."""
    name = recipe.evaluation.metric.MAIN
    steps, values = curves.read_curves(workdir).get("eval", {}).get(name, ([], []))
    known = dict(zip(steps, values, strict=True))
    file, where = workdir / evaluate.RESULT, recipe.data.eval
    if step not in known and file.exists():
        result = json.loads(file.read_text())
        if result["step"] == step and name in result:
            known, where = {step: result[name]}, result["set"]
    if step not in known:
        return f"not yet evaluated on {where}"
    return f"{name} {100 * known[step]:.1f} % on {where}"


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page until interrupted."""
    return cli.call("demo", __doc__, _add_arguments, _demo, argv)


def _demo(args: argparse.Namespace) -> None:
    with Server(port=args.port, host=args.host) as server:  # first: a busy port is said at once
        workdir = epath.Path(args.workdir).expanduser()
        server.detector = jaxdet.load(workdir)
        server.about = about(workdir, server.detector)
        print("compiling ...", flush=True)
        server.detector.detect([np.zeros((8, 8, 3), np.uint8)])  # or the first visitor would wait
        if server.is_open:
            print(f"anyone who can reach {args.host} may use it: there is no password")
        print(f"{server.url} (Ctrl+C to stop)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    where = "folder of a trained detector, or exported file"
    parser.add_argument("--workdir", "--model", required=True, help=where)
    parser.add_argument("--port", type=cli.port, default=8000, help="0 for any free one")
    parser.add_argument("--host", default=HOST, help=f"default {HOST}, for this machine alone")


if __name__ == "__main__":
    sys.exit(main())

"""Convert weights that were trained elsewhere into a checkpoint.

    python -m jaxdet.convert --from=yolov3-tiny --workdir=runs/yolov3_tiny
    python -m jaxdet.convert --source=lufficc --weights=vgg_ssd300_voc0712.pth \
        --config=ssd300_voc --workdir=runs/lufficc_ssd300
    python -m jaxdet.convert --source=darknet --weights=yolov3-tiny.weights \
        --config=yolov3_tiny_416_coco --workdir=runs/yolov3_tiny

writes what `jaxdet.load`, `jaxdet.predict` and `jaxdet.main --mode=eval` read, and what another
run starts from with `--config.init_from=runs/lufficc_ssd300`. --from downloads published weights
by name and takes their recipe, unless --config names another; --from=list lists them. Every array
of the file is used exactly once, or nothing is written. If the weights are for other classes than
`config.data.train` has, all but their last layers are used; the layers that start fresh are
printed.
"""

from typing import Any

import jax
from absl import flags
from clu import parameter_overview
from etils import epath

from jaxdet import build, cli, data, recipes
from jaxdet.choices import check_name
from jaxdet.convert import download, files, published, weights
from jaxdet.training import checkpoint, origin, workdir

SOURCES = sorted(name for name, file in weights.sources().items() if hasattr(file, "MODELS"))

FROM = flags.DEFINE_string("from", None, "the name of published weights; list: print the names")
SOURCE = flags.DEFINE_enum("source", None, SOURCES, "whose parameter names the weights use")
WEIGHTS = flags.DEFINE_string("weights", None, "a .safetensors, .pth, .pt or .weights file")


def main() -> None:
    """Converts the weights that the flags name."""
    if FROM.value == "list":
        print("\n".join(f"{each.name:33} {each.recipe}" for each in published.DETECTORS))
        return
    given = {"--from": FROM.value, "--source": SOURCE.value, "--weights": WEIGHTS.value}
    if cli.WORKDIR.value is None or [name for name, value in given.items() if value] not in (
        ["--from"],
        ["--source", "--weights"],
    ):
        raise ValueError("expected --workdir, and --from, or both --source and --weights")
    folder = epath.Path(cli.WORKDIR.value).expanduser()
    if FROM.value is None:
        if cli.CONFIG.value is None:
            raise ValueError("--weights needs the recipe that they fit: --config=FILE")
        convert(cli.CONFIG.value, SOURCE.value, WEIGHTS.value, folder)
        return
    chosen = published.detector(FROM.value)
    _check_free(folder)
    file = download.fetch(chosen)
    config = cli.CONFIG.value or recipes.read(chosen.recipe)
    convert(config, chosen.source, str(file), folder)


def _check_free(folder: epath.Path) -> None:
    if (folder / checkpoint.FOLDER).exists():
        raise ValueError(f"{folder} already has checkpoints; use another --workdir")


def convert(config: Any, source: str, file: str, folder: epath.Path) -> None:
    """Writes the weights in `file`, which use the names of `source`, as a checkpoint in `folder`.

    ValueError if the folder is in use, or if the weights do not fit the recipe's network.
    """
    _check_free(folder)
    files.check(file)  # before anything is built
    names = build.data(config)
    recipe = build.recipe(config, data.classes(names.train, **names.place))
    module = weights.sources()[source]
    known = {" + ".join(model): model for model in module.MODELS}
    check_name(" + ".join(recipe.model), known, f"--source={source} for this recipe")
    key = jax.random.key(recipe.seed)
    shapes = jax.eval_shape(recipe.detector.init, key)
    entries = weights.entries(file, module, recipe.model, shapes)
    parts = dict(class_parts=recipe.class_parts)
    variables, fresh = weights.fill(entries, shapes, **parts)
    if fresh:
        variables, _ = weights.fill(entries, recipe.detector.init(key), **parts)
    workdir.claim(folder, recipe.config)
    origin.record(folder)
    path = checkpoint.write(folder, variables, recipe.description)
    count = parameter_overview.count_parameters(variables["params"])
    print(f"{len(entries) - len(fresh)} arrays from {file}; {count:,} parameters")
    if fresh:
        print(f"freshly initialised, as the file is for other classes: {', '.join(fresh)}")
    print(f"checkpoint   {path}")


if __name__ == "__main__":
    cli.run(main, required=[])

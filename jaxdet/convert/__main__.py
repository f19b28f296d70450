"""Convert weights that were trained elsewhere into a checkpoint.

    python -m jaxdet.convert --source=lufficc --weights=vgg_ssd300_voc0712.pth \
        --config=configs/ssd300_voc.py --workdir=runs/lufficc_ssd300

writes what `jaxdet.load`, `jaxdet.predict` and `jaxdet.main --mode=eval` read, and what another
run starts from with `--config.init_from=runs/lufficc_ssd300`. Every array of the file is used
exactly once, or nothing is written. If the weights are for other classes than `config.data.train`
has, all but their last layers are used; the layers that start fresh are printed.
"""

from typing import Any

import jax
from absl import flags
from clu import parameter_overview
from etils import epath

from jaxdet import build, cli, data
from jaxdet.choices import check_name
from jaxdet.convert import weights
from jaxdet.training import checkpoint, origin, workdir

SOURCES = sorted(name for name, file in weights.sources().items() if hasattr(file, "MODELS"))

SOURCE = flags.DEFINE_enum("source", None, SOURCES, "Whose parameter names the weights use.")
WEIGHTS = flags.DEFINE_string("weights", None, "A .safetensors, .pth, .pt or .weights file.")


def main() -> None:
    """Converts the weights that the flags name."""
    folder = epath.Path(cli.WORKDIR.value).expanduser()
    convert(cli.CONFIG.value, SOURCE.value, WEIGHTS.value, folder)


def convert(config: Any, source: str, file: str, folder: epath.Path) -> None:
    """Writes the weights in `file`, which use the names of `source`, as a checkpoint in `folder`.

    ValueError if the folder is in use, or if the weights do not fit the recipe's network.
    """
    if (folder / checkpoint.FOLDER).exists():
        raise ValueError(f"{folder} already has checkpoints; use another --workdir")
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
    cli.run(main, required=["config", "source", "weights", "workdir"])

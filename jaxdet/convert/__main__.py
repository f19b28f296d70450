"""Make a checkpoint of weights that were trained elsewhere.

    python -m jaxdet.convert --source=lufficc --weights=vgg_ssd300_voc0712.pth \
        --config=configs/ssd300_voc.py --workdir=runs/lufficc_ssd300

writes what `jaxdet.load`, `jaxdet.predict` and `jaxdet.main --mode=eval` read, and what another
run begins from with `--config.init_from=runs/lufficc_ssd300`. Every array of the file is used
exactly once, or nothing is written. Weights for other classes than those of `config.data.train`
give all but their last layers; which ones start fresh is printed.
"""

import importlib
from typing import Any

import jax
from absl import flags
from clu import parameter_overview
from etils import epath

from jaxdet import build, checkpoint, command, data, workdir
from jaxdet.convert import weights

# Whose names; one file each.
SOURCES = ("caffe_vgg", "darknet", "lufficc", "mmdet", "torchvision", "yjh0410")

SOURCE = flags.DEFINE_enum("source", None, SOURCES, "Whose names the weights have.")
WEIGHTS = flags.DEFINE_string("weights", None, "A .safetensors, .pth, .pt or .weights file.")


def main() -> None:
    """Converts what the flags name."""
    folder = epath.Path(command.WORKDIR.value).expanduser()
    convert(command.CONFIG.value, SOURCE.value, WEIGHTS.value, folder)


def convert(config: Any, source: str, file: str, folder: epath.Path) -> None:
    """Writes the weights in `file`, which have the names of `source`, as a checkpoint in `folder`.

    ValueError where the folder is in use, or the weights do not fit the recipe's network.
    """
    if (folder / checkpoint.FOLDER).exists():
        raise ValueError(f"{folder} has checkpoints already; use another --workdir")
    place = dict(dir=config.data.dir, root=config.data.root or None)
    classes = data.classes(config.data.train, **place)
    detector = build.detector(config, classes)
    module, backbone = importlib.import_module(f"jaxdet.convert.{source}"), config.model.backbone
    build.check_name(backbone.name, module.MODELS, f"--source={source} for config.model.backbone")
    key = jax.random.key(config.seed)
    shapes = jax.eval_shape(detector.init, key)
    entries = weights.entries(file, module, backbone.name, shapes)
    variables, fresh = weights.adopt(entries, shapes)
    if fresh:
        variables, _ = weights.adopt(entries, detector.init(key))
    workdir.claim(folder, checkpoint.plain(config))
    description = {"config": checkpoint.plain(config), "classes": list(classes)}
    path = checkpoint.write(folder, variables, description)
    count = parameter_overview.count_parameters(variables["params"])
    print(f"{len(entries) - len(fresh)} arrays of {file}; {count:,} parameters")
    if fresh:
        print(f"not from the file, for it has other classes: {', '.join(fresh)}")
    print(f"checkpoint   {path}")


if __name__ == "__main__":
    command.run(main, required=["config", "source", "weights", "workdir"])

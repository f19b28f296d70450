"""A recipe of configs/ made small enough to train in a test: --config=tests/thin_recipe.py:NAME."""

import importlib

from ml_collections import ConfigDict


def get_config(name: str) -> ConfigDict:
    """The recipe at an eighth of its channels and 64 pixels, on the generated shapes."""
    config = importlib.import_module(f"jaxdet.configs.{name}").get_config()
    config.model.size = 64
    for part in (config.model.backbone, config.model.neck):
        if part.name == "fpn":
            part.channels = 16
        elif "channels" not in part:
            part.width = 0.125
    config.data.update(train="shapes_train", eval="shapes_val", batch_size=8)
    if isinstance(config.data.canvas, int):
        config.data.canvas = 64
    config.evaluation.batch_size = 40
    config.schedule = dict(name="constant", steps=4, peak=1e-3)
    config.step.sizes = ()
    config.every.update(log=1, checkpoint=100)
    return config

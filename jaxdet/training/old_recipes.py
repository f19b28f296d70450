"""Translates recipes of earlier versions, stored in checkpoints and workdirs, to today's format.

Only this file knows the old format. `translated` is applied wherever a stored config is read;
`successor` is for messages about an old key: what it is called now.
"""

import copy
from typing import Any

_WINDOW = ("expand_probability", "expand_max", "crop_min_ious", "mirror_probability")
_COLOUR = ("brightness", "contrast", "saturation", "hue", "swap_probability")

_SUCCESSORS = {
    "evaluation.letterbox": "model.fit, 'letterbox' or 'stretch'",
    "model.letterbox": "model.fit, 'letterbox' or 'stretch'",
    "augment.name": "augment.window.name",
    "augment.mixup_alpha": "augment.mix=({'name': 'mixup', 'alpha': 1.5},)",
    **{f"augment.{key}": f"augment.window.{key}" for key in _WINDOW},
    **{f"augment.{key}": f"augment.colour.{key}" for key in _COLOUR},
    "model.backbone.batch_norm": "model.backbone.norm",
    "model.neck.batch_norm": "model.neck.norm",
    "model.detector.label_smoothing": "model.detector.class_loss.label_smoothing, twice the number",
}

# Parts that used to be separate files and are now options of other parts.
_PARTS = {
    "mobilenet_v2_mmdet": {"name": "mobilenet_v2", "norm": "slow_batch_norm"},
    "mobilenet_v3_torchvision": {
        "name": "mobilenet_v3",
        "section_6_3": True,
        "squeeze_first": False,
        "norm": "slow_batch_norm",
    },
    "passthrough_darknet": {"name": "passthrough", "reorg": "darknet_reorg"},
}


# Losses that recipes now name, and that used to be fixed.
_LOSSES = {
    "ssd": {"box_loss": "smooth_l1", "class_loss": "cross_entropy"},
    "yolov1": {"box_loss": "mse"},
    "yolov2": {"box_loss": "yolov2", "class_loss": "cross_entropy"},
    "yolov3": {"box_loss": "yolov3", "class_loss": "bce"},
}


def successor(key: str) -> str | None:
    """The current name of a key of an old recipe, "evaluation.letterbox"; None if unknown."""
    return _SUCCESSORS.get(key)


def part_successor(name: str) -> str | None:
    """What replaces the old name of a backbone or neck in a recipe; None if unknown."""
    if name not in _PARTS:
        return None
    return f"dict({', '.join(f'{key}={value!r}' for key, value in _PARTS[name].items())})"


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A config, plain JSON values, in today's format; one that is already in it is unchanged."""
    config = copy.deepcopy(config)
    evaluation, model = config.get("evaluation", {}), config.get("model", {})
    if "letterbox" in evaluation:
        model["letterbox"] = evaluation.pop("letterbox")
        evaluation["nms"] = "greedy"
        model["detector"] = _translated_detector(model["detector"])
    if "letterbox" in model:
        model["fit"] = "letterbox" if model.pop("letterbox") else "stretch"
    if "label_smoothing" in model.get("detector", {}):
        model["detector"] = _with_smoothed_classes(model["detector"])
    for part in ("backbone", "neck"):
        if part in model:
            model[part] = _translated_part(model[part])
    if "name" in config.get("augment", {}):
        config["augment"] = _translated_augment(config["augment"])
    return config


def _translated_part(block: Any) -> Any:
    if not isinstance(block, dict):
        return block  # several necks, which old recipes do not have
    block = {**block, **_PARTS.get(block["name"], {})}
    if "batch_norm" in block:
        block["norm"] = "batch_norm" if block.pop("batch_norm") else "none"
    return block


def _translated_detector(block: dict[str, Any]) -> dict[str, Any]:
    losses = dict(_LOSSES.get(block["name"], {}))
    if block["name"] == "yolov2" and not block.get("direct_location", True):
        losses["box_loss"] = "mse"
    return {**losses, **block}


def _with_smoothed_classes(block: dict[str, Any]) -> dict[str, Any]:
    """YOLOv3's targets were 1 - `label_smoothing` and `label_smoothing`."""
    block = dict(block)
    amount, loss = 2 * block.pop("label_smoothing"), block.get("class_loss", "bce")
    if amount:
        options = loss if isinstance(loss, dict) else {"name": loss}
        block["class_loss"] = {**options, "label_smoothing": amount}
    return block


def _translated_augment(augment: dict[str, Any]) -> dict[str, Any]:
    taken = lambda keys: {key: augment[key] for key in keys if key in augment}
    alpha = augment.get("mixup_alpha", 0.0)
    return {
        "window": {"name": "expand_and_crop", **taken(_WINDOW)},
        "colour": {"name": "distort", **taken(_COLOUR)},
        "mix": [{"name": "mixup", "alpha": alpha}] if alpha > 0 else [],
    }

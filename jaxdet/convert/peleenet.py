"""Parameter names of github.com/Robert-JunWang: PeleeNet (PyTorch) and Pelee's SSD304 (Caffe).

The classifier initialises a backbone. Pelee's names are those of the convolutions in its Caffe
graph: `stage1_1/branch1a.weight`; what the layers `/bn` and `/scale` after one hold is its
`bn_mean` and `bn_var`, `bn_weight` and `bn_bias`. These weights fit the recipe `pelee_ssd304_voc`.
"""

from collections.abc import Mapping

import numpy as np

_COUNTS = (3, 4, 8, 6)  # dense layers of every stage
_STEM = ("stem1", "stem2a", "stem2b", "stem3")
_BRANCHES = ("branch1a", "branch1b", "branch2a", "branch2b", "branch2c")
_LAYERS = [(stage, i) for stage, count in enumerate(_COUNTS, 1) for i in range(1, count + 1)]


def _both(blocks: Mapping[str, str]) -> dict[str, str]:
    """The convolution and the normalisation of every block: {theirs: ours}."""
    both = ("conv", "norm")
    return {f"{theirs}.{k}": f"{ours}/{k}" for theirs, ours in blocks.items() for k in both}


_classifier = _both(
    {f"features.stemblock.{name}": name for name in _STEM}
    | {
        f"features.denseblock{stage}.denselayer{i}.{branch}": f"dense{stage}_{i}/{branch}"
        for stage, i in _LAYERS
        for branch in _BRANCHES
    }
    | {f"features.transition{stage}": f"transition{stage}" for stage in range(1, 5)}
) | {"classifier": None}

BACKBONES = {"peleenet": _classifier}

_PREDICTIONS = {"": "shortcut", "/b2a": "conv1", "/b2b": "conv2", "/b2c": "conv3"}
_FIRST_EXTRA = "stage4_tb/relu/ext1/fe1_1"  # Caffe's name for it

_ssd304 = _both(
    {name: f"backbone/{name}" for name in _STEM}
    | {
        f"stage{stage}_{i}/{branch}": f"backbone/dense{stage}_{i}/{branch}"
        for stage, i in _LAYERS
        for branch in _BRANCHES
    }
    | {f"stage{stage}_tb": f"backbone/transition{stage}" for stage in range(1, 5)}
    | {
        f"stage4_tb/ext/pm{i + 2}{theirs}": f"neck/block{i}/{ours}"
        for i in range(5)
        for theirs, ours in _PREDICTIONS.items()
    }
)
_ssd304 |= {
    f"ext1/fe{i}_{j}" if (i, j) != (1, 1) else _FIRST_EXTRA: f"neck/conv{i}_{j}"
    for i in (1, 2, 3)
    for j in (1, 2)
}
_ssd304 |= {
    f"ext/pm{i + 1}_mbox_{theirs}": f"head/{ours}{i}"
    for i in range(6)
    for theirs, ours in {"conf": "logits", "loc": "boxes"}.items()
}

MODELS = {("ssd", "pelee_extras", "peleenet"): _ssd304}  # by the recipe's family, neck, backbone

_LEAVES = {"bn_weight": "weight", "bn_bias": "bias", "bn_mean": "running_mean"}
_LEAVES |= {"bn_var": "running_var"}


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with a convolution and its normalisation as two modules, and seeing RGB, not BGR.

    The background is the first class, and the order of the default boxes is ours.
    """
    found = {}
    for name, array in weights.items():
        layer, _, leaf = name.rpartition(".")
        if leaf in _LEAVES:
            name = f"{layer}.norm.{_LEAVES[leaf]}"
        elif f"{layer}.bn_weight" in weights:
            name = f"{layer}.conv.{leaf}"
        found[name] = array[:, ::-1] if name == "stem1.conv.weight" else array
    return found

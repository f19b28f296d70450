"""A study: do the changes that were best on generated images help on blood cells, too?

    python -m jaxdet.prepare --format=voc --root=BCCD --name=bccd
    python -m jaxdet.sweep --config=configs/study/blood_cells.py --workdir=runs/study/blood_cells

where BCCD is github.com/Shenggan/BCCD_Dataset's folder with Annotations and JPEGImages. The network
is that of `configs/study/shapes.py` at 224 pixels, as platelets are small. The set has a test
split, which no choice was made with. Published: nothing. Measured here: see docs/study.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs.study import shapes
from jaxdet.studies import Seeds, changed

SEEDS = Seeds(baseline=3, change=3)
# By their difference to the baseline, in order. `nms_diou` was the fifth when half of the changes
# had run.
BEST = (
    *("squeeze_excite", "sam", "cbam_spatial", "vgg16_features"),
    *("nms_soft", "nms_soft_linear", "nms_diou"),
)
CHANGES = {name: shapes.CHANGES[name] for name in BEST}


def get_config(change: str = "baseline") -> ConfigDict:
    """The baseline of the shapes study on blood cells, with one of its changes."""
    config = shapes.get_config()
    config.model.size = 224
    config.model.detector.scales = (0.06, 0.15, 0.3, 0.5, 0.7)
    config.data.update(train="bccd/train", eval="bccd/val", max_objects=64)
    return changed(config, CHANGES, change)

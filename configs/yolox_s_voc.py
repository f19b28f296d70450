"""YOLOX-S on PASCAL VOC07+12 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.main --config=configs/yolox_s_voc.py --workdir=runs/yolox_s_voc \
        --config.data.root=VOCdevkit --config.init_from=runs/yolox_s

starts from the weights that were converted for `yolox_s_coco`. Published: nothing. Measured here:
no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc, yolox_s_coco

EPOCH = 259  # steps: 16,551 images in batches of 64


def get_config() -> ConfigDict:
    """The reference's example: COCO's recipe with one epoch of warm-up."""
    config = yolox_s_coco.get_config()
    voc = ssd300_voc.get_config()
    config.data.update(train=voc.data.train, eval=voc.data.eval, canvas=512, max_objects=64)
    config.schedule.update(steps=300 * EPOCH, warmup=1 / 300)
    config.evaluation.metric = "voc"
    return config

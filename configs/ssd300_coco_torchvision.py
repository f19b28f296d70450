"""SSD300 with VGG16 on COCO 2017 as torchvision trains it (arXiv:1512.02325).

    python -m jaxdet.main --config=configs/ssd300_coco_torchvision.py \
        --workdir=runs/ssd300_torchvision --config.data.root=coco \
        --config.init_from=vgg16_reducedfc.pth

Published: 25.1 AP on val2017 (torchvision, ssd300_vgg16, COCO_V1, trained on train2017 with the 91
classes of which 80 exist). It starts fc6 and fc7 from random weights and changes brightness by a
factor; this recipe keeps the weights of these layers, and SSD's shift. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco


def get_config() -> ConfigDict:
    """torchvision's recipe: 120 epochs of the 117,266 images that have objects."""
    config = ssd300_coco.get_config()
    config.model.detector.update(clip_anchors="sides", clip_detections=True)
    config.schedule.update(steps=439_680, boundaries=(80 / 120, 110 / 120))
    config.schedule.update(peak=2e-3, warmup=1_000 / 439_680, warmup_start=1e-3)
    config.evaluation.candidates = 400
    config.step.frozen = ("backbone/conv1_1", "backbone/conv1_2")
    return config

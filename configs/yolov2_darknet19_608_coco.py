"""YOLOv2 with Darknet-19 on COCO 2017, for `yolov2.weights` (arXiv:1612.08242, section 2).

    python -m jaxdet.main --config=configs/yolov2_darknet19_608_coco.py --workdir=runs/yolov2_coco \
        --config.data.root=coco --config.init_from=darknet19_448.conv.23

Published: AP 21.6 and AP50 44.0 on test-dev (paper, Table 5). Rates, steps and priors are those of
yolov2.cfg. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov2_darknet19_416_voc

# Priors in cells of 32 pixels, as in yolov2.cfg.
CELLS = (
    (0.57273, 0.677385),
    (1.87446, 2.06253),
    (3.33843, 5.47434),
    (7.88282, 3.52778),
    (9.77052, 9.16828),
)


def get_config() -> ConfigDict:
    """The VOC recipe with COCO's priors, evaluated at 608 pixels."""
    config = yolov2_darknet19_416_voc.get_config()
    config.model.size = 608
    config.model.detector.priors = (tuple((32 * w, 32 * h) for w, h in CELLS),)
    config.data.update(train="coco_2017_train", eval="coco_2017_val", canvas=640, max_objects=100)
    config.schedule.update(steps=500_200, warmup=10 / 5002)
    config.schedule.boundaries = (4000 / 5002, 4500 / 5002)
    config.evaluation.update(metric="coco", score_threshold=0.001)
    return config

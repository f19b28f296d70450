"""YOLOv4 on COCO 2017 (Bochkovskiy et al. 2020, arXiv:2004.10934; Darknet's cfg/yolov4.cfg).

    python -m jaxdet.convert --source=darknet --weights=yolov4.weights \
        --config=configs/yolov4_608_coco.py --workdir=runs/yolov4

Published: AP 43.5 and AP50 65.7 on test-dev at 608 pixels, 41.2 and 62.8 at 416 (AlexeyAB/darknet,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov4_416_voc


def get_config() -> ConfigDict:
    """Darknet's schedule; images are stretched to the square, as there."""
    config = yolov4_416_voc.get_config()
    config.model.update(size=608, fit="stretch")
    config.data.update(train="coco_2017_train", eval="coco_2017_val", canvas=640, max_objects=100)
    config.schedule = dict(name="step_decay", steps=500_500, epochs=0.0)
    config.schedule.boundaries = (4000 / 5005, 4500 / 5005)
    config.schedule.update(peak=1.3e-3, factor=0.1, warmup=10 / 5005, warmup_start=1e-3)
    config.evaluation.update(metric="coco", score_threshold=0.001, iou_threshold=0.6)
    return config

"""YOLOv3-tiny, trained on COCO, fine-tuned on PASCAL VOC2012 (Darknet's cfg/yolov3-tiny.cfg).

    python -m jaxdet.main --config=configs/yolov3_tiny_416_voc.py --workdir=runs/tiny_voc \
        --config.data.root=VOCdevkit --config.init_from=runs/yolov3_tiny

where `runs/yolov3_tiny` is what `configs/yolov3_tiny_416_coco.py` says how to convert. Published:
nothing. Measured here: see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_tiny_416_coco


def get_config() -> ConfigDict:
    """A short schedule for a network that has seen the classes before: an hour on two CPU cores."""
    config = yolov3_tiny_416_coco.get_config()
    config.data.update(train="voc_2012_train", eval="voc_2012_val", canvas=500, batch_size=16)
    config.schedule = dict(name="cosine", steps=1_200, peak=1e-3, end=0.0)
    config.schedule.update(warmup=100 / 1_200, warmup_start=0.1, epochs=0.0)
    config.augment.window.update(expand_probability=0.3, expand_max=2.0)
    config.step.update(sizes=(), ema_decay=0.99)
    config.evaluation.metric = "voc"
    config.every.update(log=10, picture=400, checkpoint=200, evaluation=200)
    return config

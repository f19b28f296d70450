"""YOLOv1 at a quarter of its channels on generated pictures: no download, two CPU cores.

    python -m jaxdet.main --config=configs/quickstart_yolov1.py --workdir=runs/quickstart_yolov1

From random weights it needs far longer than the other quickstarts. Published: nothing. Measured
here: AP50 41.2 on `shapes_val` in 700 steps with the backbone of `quickstart_yolov2`.
"""

from ml_collections import ConfigDict

from configs import quickstart, yolov1_vgg16_320_voc


def get_config() -> ConfigDict:
    """The quickstart with the neck, head and loss of `yolov1_vgg16_320_voc`."""
    config = quickstart.get_config()
    config.model = yolov1_vgg16_320_voc.get_config().model
    config.model.size = 224
    # VGG has no BatchNorm: from random weights it would need far longer than minutes.
    config.model.backbone = dict(name="darknet19", batch_norm=True, width=0.25)
    config.model.neck.width = 0.25
    config.schedule.update(steps=1000, peak=2e-3)
    config.optimiser.clip_norm = 10.0  # the first gradients are fifty times as large as later ones
    return config

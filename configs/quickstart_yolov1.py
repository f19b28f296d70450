"""YOLOv1 with VGG16, a quarter of its channels, on generated images: two CPU cores, no download.

    python -m jaxdet.main --config=configs/quickstart_yolov1.py --workdir=runs/quickstart_yolov1 \
        --config.init_from=runs/quickstart_classifier

comes after the command of `quickstart_classifier`: as in the paper, the backbone is a trained
classifier. From random weights, training takes far longer. Published: nothing. Measured here: AP50
85.2 on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart, yolov1_vgg16_320_voc


def get_config() -> ConfigDict:
    """The quickstart with the neck, head and loss of `yolov1_vgg16_320_voc`."""
    config = quickstart.get_config()
    config.model = yolov1_vgg16_320_voc.get_config().model
    config.model.size = 224
    config.model.backbone = dict(name="vgg16_features", norm="batch_norm", width=0.25)
    config.model.neck.width = 0.25
    config.data.batch_size = 8
    config.schedule.update(steps=1400, peak=2e-3, warmup=50 / 1400)
    config.optimiser.clip_norm = 10.0  # the first gradients are five times as large as later ones
    return config

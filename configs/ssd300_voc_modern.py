"""SSD300 with VGG16 on PASCAL VOC07+12, with what the study of parts found to help.

    python -m jaxdet.main --config=configs/ssd300_voc_modern.py --workdir=runs/ssd300_modern \
        --config.data.root=VOCdevkit --config.init_from=vgg16_imagenet.safetensors

Published: nothing; it should beat the 77.7 mAP of `ssd300_voc` on VOC2007 test. Measured here: no;
its choices are, see docs/study.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """The classic recipe, changed."""
    return modern(ssd300_voc.get_config())


def modern(config: ConfigDict) -> ConfigDict:
    """A classic recipe with AdamW, a cosine, and attention on the maps that the head sees."""
    neck = config.model.neck.to_dict()
    del config.model.neck  # its type changes
    config.model.neck = (neck, dict(name="attended", attention="squeeze_excite"))
    config.schedule = dict(name="cosine", steps=120_000, peak=2e-4, end=0.0)
    config.schedule.update(warmup=500 / 120_000, warmup_start=0.1, epochs=0.0)
    config.optimiser = dict(name="adamw", weight_decay=0.01, clip_norm=0.0)
    return config

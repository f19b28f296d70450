"""A light Faster R-CNN with MobileNetV2 and small inputs on PASCAL VOC07+12.

    python -m jaxdet.main --config=configs/faster_rcnn_mobilenet_v2_320_voc.py \
        --workdir=runs/faster_rcnn --config.data.root=VOCdevkit \
        --config.init_from=mobilenet_v2_imagenet.safetensors

Published: nothing. Measured here: on 1,500 photos of VOC2012, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_mobilenet_v3_320_fpn_coco, ssd300_voc


def get_config() -> ConfigDict:
    """Half the channels and hidden units of torchvision's small model, maps of strides 16 to 64."""
    config = faster_rcnn_mobilenet_v3_320_fpn_coco.get_config()
    config.model.backbone = dict(name="mobilenet_v2", strides=(16, 32))
    config.model.neck.channels = 128
    config.model.roi_head.hidden = (512, 512)
    detector = config.model.detector
    detector.anchor_sizes = ((32.0, 64.0), (128.0, 192.0), (256.0, 384.0))
    detector.update(strides=(16, 32), candidates=(256, 150), proposals=(256, 150))
    detector.update(proposal_score=0.0, regions_drawn=64)
    voc = ssd300_voc.get_config()
    config.data.update(train=voc.data.train, eval=voc.data.eval, max_objects=64, batch_size=8)
    # 12 epochs of 16,551 images.
    config.schedule.update(steps=24_800, peak=0.01, warmup=100 / 24_800)
    config.schedule.boundaries = (165 / 248, 227 / 248)
    config.evaluation.update(metric="voc", batch_size=10, score_threshold=0.01)
    return config

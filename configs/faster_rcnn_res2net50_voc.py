"""Faster R-CNN with Res2Net-50 on PASCAL VOC07+12 (Gao et al. 2019, arXiv:1904.01169).

    python -m jaxdet.main --config=configs/faster_rcnn_res2net50_voc.py --workdir=runs/res2net \
        --config.data.root=VOCdevkit --config.init_from=res2net50_26w_4s.pth

Published: 74.4 mAP on VOC2007 (paper). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco, faster_rcnn_vgg16_voc


def get_config() -> ConfigDict:
    """The paper's backbone with a feature pyramid.

    A pyramid finds small objects better than the map of stride 16 alone (C4), costs less than the
    fifth stage on every region, and is what mmdetection's Res2Net detectors have.
    """
    config = faster_rcnn_resnet50_fpn_coco.get_config()
    voc = faster_rcnn_vgg16_voc.get_config()
    config.model.backbone.update(name="res2net50")
    config.model.backbone.norm.epsilon = 1e-5
    config.model.size, config.model.fit.longest = 608, 1024
    config.data.canvas = ((608, 832), (832, 608), (608, 1024), (1024, 608))
    config.data.update(train=voc.data.train, eval=voc.data.eval, max_objects=64, batch_size=8)
    # 12 epochs of 16,551 images.
    config.schedule.update(steps=24_800, peak=0.01, warmup=1_000 / 24_800)
    config.schedule.boundaries = (165 / 248, 227 / 248)
    config.evaluation.update(metric="voc")
    return config

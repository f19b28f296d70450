"""Faster R-CNN with VGG16 on PASCAL VOC07+12 (Ren et al. 2015, arXiv:1506.01497).

    python -m jaxdet.main --config=configs/faster_rcnn_vgg16_voc.py --workdir=runs/faster_rcnn \
        --config.data.root=VOCdevkit --config.init_from=vgg16.pth

Published: 73.2 mAP (paper, table 3) on VOC2007 test, 11-point, trained on VOC2007 trainval +
VOC2012 trainval, 69.9 on VOC2007 trainval alone; 75.2 and 74.7 for 07+12 in the best
reimplementations. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco, ssd300_voc


def get_config() -> ConfigDict:
    """The paper's network in chenyuntc's form, in batches of 1 image with a random half mirrored.

    There are no rates of their own for biases, which both double, and no dropout. The fully
    connected layers start from scratch unless the file of `init_from` is a Faster R-CNN.
    """
    config = faster_rcnn_resnet50_fpn_coco.get_config()
    config.model.size = 600
    config.model.fit.longest = 1000
    config.model.backbone = dict(name="vgg16_features", strides=(16,))
    config.model.neck = dict(name="identity")
    config.model.roi_head = dict(name="fast_rcnn", hidden=(4096, 4096))
    config.model.detector = dict(
        name="faster_rcnn",
        anchor_sizes=((128.0, 256.0, 512.0),),
        strides=(16,),
        original=True,
        candidates=(12_000, 6_000),
        proposals=(2_000, 300),
        proposal_side=25.6,  # 16 pixels of a photo of 500 x 375
        anchors_drawn=256,
        regions_drawn=128,
        pool="roi_pool",
        rpn_box_loss=dict(name="smooth_l1", beta=1 / 9),
        box_loss=dict(name="smooth_l1", beta=1.0),
    )
    voc = ssd300_voc.get_config()
    config.data.update(train=voc.data.train, eval=voc.data.eval, max_objects=64, batch_size=1)
    config.data.canvas = ((600, 816), (816, 600), (600, 1008), (1008, 600))
    # 14 epochs of 16,551 images, the last 4 at a tenth of the rate.
    config.schedule.update(steps=231_700, boundaries=(10 / 14,), peak=1e-3, warmup=0.0)
    config.optimiser.weight_decay = 5e-4
    config.step.frozen = ("backbone/conv1_*", "backbone/conv2_*")
    config.evaluation.update(metric="voc", batch_size=1, iou_threshold=0.3, max_kept=300)
    return config

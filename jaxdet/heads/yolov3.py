"""YOLOv3's head: that of YOLOv2 on every map (arXiv:1804.02767, section 2.3)."""

from jaxdet.heads.yolov2 import YOLOHead

yolov3 = YOLOHead

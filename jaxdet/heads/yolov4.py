"""YOLOv4's head: that of YOLOv3 (arXiv:2004.10934, section 3.4)."""

from jaxdet.heads.yolov2 import YOLOHead

yolov4 = YOLOHead

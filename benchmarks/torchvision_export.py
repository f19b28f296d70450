"""Writes torchvision's own ONNX export of SSDLite320, with random weights, to a file.

    python benchmarks/torchvision_export.py FILE.onnx SCORE

For an environment with torch, torchvision and onnx, which needs no jaxdet; `export.py` runs it.
"""

import sys

import torch
import torchvision

file, score_threshold = sys.argv[1], float(sys.argv[2])
options = dict(weights=None, weights_backbone=None, num_classes=81, score_thresh=score_threshold)
model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(**options).eval()
images = [torch.rand(3, 320, 320)]
names = dict(input_names=["image"], output_names=["boxes", "scores", "labels"])
torch.onnx.export(model, (images,), file, opset_version=17, dynamo=False, **names)

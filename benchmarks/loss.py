"""Times SSD300's matching, loss and gradient for a batch: one JSON line per figure.

    python benchmarks/loss.py [--inputs DIR] [--batch 32] [--peer CHECKOUT]

The gradient is that of the summed losses with respect to logits and codes. DIR holds loss_gt.npz
(boxes [B, 10, 4] xyxy, labels [B, 10] from 1); without it, such boxes are generated from a seed.
CHECKOUT is a clone of github.com/lufficc/SSD; with it (and PyTorch installed) the reference is
timed on the same numbers in the same run.
"""

import argparse
import importlib.util
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from postprocess import as_anchors, ssd300_anchors
from timing import median_ms, report

from jaxdet.boxes import codecs, matching
from jaxdet.boxes.iou import from_cxcywh
from jaxdet.losses.multibox import multibox
from jaxdet.types import Objects, Raw

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=pathlib.Path)
    parser.add_argument("--batch", type=int, default=32, help="of generated inputs")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--peer", type=pathlib.Path, metavar="CHECKOUT")
    arguments = parser.parse_args()

    if arguments.inputs:
        with np.load(arguments.inputs / "loss_gt.npz") as stored:
            truth, labels = stored["boxes"], stored["labels"]
    else:
        truth, labels = make_truth(arguments.batch)
    priors = ssd300_anchors()
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(truth), len(priors), CLASSES + 1)).astype(np.float32) * 2
    codes = rng.normal(size=(len(truth), len(priors), 4)).astype(np.float32)
    inputs = jax.device_put((logits, codes))

    run = jax.jit(jax.value_and_grad(total_loss, (0, 1)))
    for slots in (10, 64):
        objects = jax.device_put(pad(truth, labels, slots))
        ms = median_ms(run, *inputs, objects, priors, repeats=arguments.repeats)
        loss = float(run(*inputs, objects, priors)[0])
        more = {"batch": len(truth), "slots": slots, "loss": loss}
        report("match_loss_gradient", ms, "ms/batch", **more)
    if arguments.peer:
        peer = make_peer(arguments.peer, logits, codes, truth, labels, priors)
        peer_ms = median_ms(peer, repeats=arguments.repeats)
        report("match_loss_gradient_peer", peer_ms, "ms/batch", batch=len(truth), loss=peer())
        report("match_loss_gradient_ratio", peer_ms / ms, "times faster", slots=slots)


def total_loss(logits, codes, objects, priors):
    """The box and class losses of a batch, each divided by the number of positives."""
    anchors = as_anchors(priors)
    targets = jax.vmap(lambda of_one: matching.match(anchors, of_one))(objects)
    raw = Raw(boxes=codes, logits=logits)
    parts = multibox(raw, targets, objects, anchors, codec=codecs.from_anchor())
    return sum(part / jnp.maximum(count, 1) for part, count in parts.values())


def make_truth(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten boxes per image, [B, 10, 4] xyxy, and their labels [B, 10], counted from 1."""
    rng = np.random.default_rng(0)
    side = rng.uniform(0.05, 0.6, (batch, 10, 2))
    low = rng.uniform(size=side.shape) * (1 - side)
    truth = np.concatenate([low, low + side], axis=-1).astype(np.float32)
    return truth, rng.integers(1, CLASSES + 1, (batch, 10))


def pad(truth: np.ndarray, labels: np.ndarray, slots: int) -> Objects:
    """The ground truth as Objects [B, slots]."""
    free = ((0, 0), (0, slots - truth.shape[1]))
    mask = np.pad(np.ones(labels.shape, bool), free)
    return Objects(
        boxes=np.pad(truth, (*free, (0, 0))),
        labels=np.pad(labels.astype(np.int32) - 1, free),
        mask=mask,
        weight=mask.astype(np.float32),
    )


def make_peer(checkout: pathlib.Path, logits, codes, truth, labels, priors):
    """The reference's matching, loss and gradient on the same numbers, as a function to time."""
    import torch

    sys.path.insert(0, str(checkout))
    from ssd.utils import box_utils

    # Loaded by path: the package around it needs torchvision, the file does not.
    spec = importlib.util.spec_from_file_location(
        "loss", checkout / "ssd/modeling/box_head/loss.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    criterion = module.MultiBoxLoss(neg_pos_ratio=3)
    corners = torch.tensor(np.asarray(from_cxcywh(priors)))
    centres = torch.tensor(priors)
    truth, labels = torch.tensor(truth), torch.tensor(labels)
    logits = torch.tensor(logits, requires_grad=True)
    codes = torch.tensor(codes, requires_grad=True)

    def run() -> float:
        logits.grad = codes.grad = None
        pairs = [
            box_utils.assign_priors(b, of_one, corners, 0.5)
            for b, of_one in zip(truth, labels, strict=True)
        ]
        wanted = box_utils.convert_boxes_to_locations(
            torch.stack([box_utils.corner_form_to_center_form(b) for b, _ in pairs]),
            centres,
            0.1,
            0.2,
        )
        parts = criterion(logits, codes, torch.stack([of_one for _, of_one in pairs]), wanted)
        loss = sum(parts)
        loss.backward()
        return loss.item()

    return run


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Every figure that is asked for on an accelerator, a JSON line each: the training step in bfloat16
# with its share of the peak, inference with NMS, both beside torchvision's, and the time that a
# real training waits for its input. What programs say besides goes to stderr. Needs torchvision.
#
#   VOCDEVKIT=VOCdevkit benchmarks/accelerator.sh > benchmarks/results/h200.jsonl
#
# BATCH (64), REPEATS (5) and STEPS (300) can be set; without VOCDEVKIT nothing is trained.
set -euo pipefail
cd "$(dirname "$0")/.."

export XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 # the rest is the peer's, in the same process
how=(--dtype=bfloat16 --batch_size="${BATCH:-64}" --repeats="${REPEATS:-5}")

for name in ssdlite320_mobilenet_v3_coco ssd300_coco_torchvision; do
  for figure in train_step forward; do
    python "benchmarks/$figure.py" --config="configs/$name.py" "${how[@]}" --peer=torchvision
  done
done
for name in mobilenet_v2_ssd320_voc ssd300_voc; do
  for figure in train_step forward; do
    python "benchmarks/$figure.py" --config="configs/$name.py" "${how[@]}"
  done
done

if [ -n "${VOCDEVKIT:-}" ]; then
  unset XLA_PYTHON_CLIENT_MEM_FRACTION
  workdir=$(mktemp -d)
  trap 'rm -rf "$workdir"' EXIT
  python -m jaxdet.main --config=configs/mobilenet_v2_ssd320_voc.py --workdir="$workdir" \
    --config.data.root="$VOCDEVKIT" --config.data.train=voc_2012_train \
    --config.data.eval=voc_2012_val --config.data.batch_size="${BATCH:-64}" \
    --config.model.dtype=bfloat16 --config.schedule.steps="${STEPS:-300}" \
    --config.schedule.boundaries="()" --config.every.picture=0 --config.every.evaluation=0 >&2
  grep share_waiting_for_input "$workdir/metrics.jsonl"
fi

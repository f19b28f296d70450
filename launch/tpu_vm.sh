#!/usr/bin/env bash
# Trains one recipe on a Cloud TPU VM and deletes the VM afterwards.
#
# Needs gcloud, logged in, and these variables:
#   PROJECT   the Google Cloud project that pays
#   ZONE      a zone with the accelerator, for example us-west4-a
#   CONFIG    a recipe, for example configs/ssd300_voc.py
#   WORKDIR   where checkpoints and logs go, a gs:// path or a folder on the VM
# and may have:
#   NAME (jaxdet), ACCELERATOR (v5litepod-8), VERSION (v2-alpha-tpuv5-lite), SPOT (1 for a
#   preemptible VM), ARGUMENTS (more for jaxdet.main, for example --config.schedule.steps=1000)
#
# Costs: the VM is billed from `create` until `delete`; the trap below deletes it also when a step
# in between fails. DRY_RUN=1 prints every command and runs none.
#
#   PROJECT=mine ZONE=us-west4-a CONFIG=configs/ssd300_voc.py WORKDIR=gs://mine/ssd300 launch/tpu_vm.sh
set -euo pipefail

: "${PROJECT:?}" "${ZONE:?}" "${CONFIG:?}" "${WORKDIR:?}"
NAME=${NAME:-jaxdet}
ACCELERATOR=${ACCELERATOR:-v5litepod-8}
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
cd "$(dirname "$0")/.."

run() {
  printf '+ %q' "$1" && printf ' %q' "${@:2}" && echo
  [[ ${DRY_RUN:-} == 1 ]] || "$@"
}
tpu() { run gcloud compute tpus tpu-vm "$1" "$NAME" --project="$PROJECT" --zone="$ZONE" "${@:2}"; }
on_workers() { tpu ssh --worker=all --command="$1"; }

trap 'tpu delete --quiet' EXIT
tpu create --accelerator-type="$ACCELERATOR" --version="$VERSION" ${SPOT:+--spot}
run git archive --format=tar.gz --prefix=jaxdet/ --output=/tmp/jaxdet.tar.gz HEAD
run gcloud compute tpus tpu-vm scp /tmp/jaxdet.tar.gz "$NAME": --project="$PROJECT" --zone="$ZONE" \
  --worker=all
on_workers "tar xzf jaxdet.tar.gz && python3 -m venv env && env/bin/pip install -q -e 'jaxdet[tpu]'"
on_workers "cd jaxdet && ../env/bin/python -m jaxdet.main --config=$CONFIG --workdir=$WORKDIR ${ARGUMENTS:-}"

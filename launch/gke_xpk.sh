#!/usr/bin/env bash
# Trains one recipe on TPUs in Google Kubernetes Engine, with xpk.
#
# Creates a cluster with one slice, builds a container image of this checkout, runs the training as
# a workload that Kubernetes restarts, waits until it has finished, and deletes the cluster.
#
# Needs xpk 1.0 or newer (pip install xpk; it needs gcloud, kubectl and docker), gcloud logged in,
# and these variables:
#   PROJECT   the Google Cloud project to bill
#   ZONE      a zone with the accelerator, for example us-west4-a
#   CONFIG    a recipe: a name, for example ssd300_voc, or a file of this checkout
#   WORKDIR   where checkpoints and logs go: a gs:// path, since a pod's disk is deleted with it
# Optional:
#   NAME (jaxdet; for cluster and workload), ACCELERATOR (v5litepod-16), SPOT (1 for spot nodes,
#   cheaper, but can be preempted), RETRIES (20)
# Arguments are passed to jaxdet.main.
#
# Steps lost: none if a preempted training can save after its next step, within the two minutes it
# is given (Google gives a spot node 30 seconds); otherwise those since the last checkpoint, at most
# --config.every.checkpoint. Every restart resumes from the newest checkpoint in WORKDIR, and so
# does this command when run again. Every pod prepares the images again.
# Time billed: from `cluster create` (about half an hour) until `cluster delete`; if this machine
# dies in between, run the last command that DRY_RUN=1 shows. DRY_RUN=1 prints every command and
# runs none.
#
#   PROJECT=mine ZONE=us-west4-a SPOT=1 CONFIG=ssd300_voc WORKDIR=gs://mine/ssd300 \
#     launch/gke_xpk.sh --config.model.dtype=bfloat16
set -euo pipefail

: "${PROJECT:?}" "${ZONE:?}" "${CONFIG:?}" "${WORKDIR:?}"
NAME=${NAME:-jaxdet}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}
RETRIES=${RETRIES:-20}
CAPACITY=--on-demand
[[ ${SPOT:-} != 1 ]] || CAPACITY=--spot
[[ $WORKDIR == gs://* ]] || { echo "WORKDIR is $WORKDIR, expected a gs:// path" >&2; exit 2; }
cd "$(dirname "$0")/.."
SOURCE=${TMPDIR:-/tmp}/$NAME

exec 3>&1 # commands are printed there, even those whose output is captured
run() {
  { printf '+' && printf ' %q' "$@" && echo; } >&3
  [[ ${DRY_RUN:-} == 1 ]] || "$@"
}
PLACE=(--cluster="$NAME" --project="$PROJECT" --zone="$ZONE")

printf -v TRAIN ' %q' python -m jaxdet.main --config="$CONFIG" --workdir="$WORKDIR" "$@"
# `exec`, so that SIGTERM reaches the training and not a shell around it.
COMMAND="pip install -q -e '.[tpu]' && exec$TRAIN"

run mkdir -p "$SOURCE"
run git archive --format=tar --output="$SOURCE.tar" HEAD
run tar -xf "$SOURCE.tar" -C "$SOURCE"
existing=$(run gcloud container clusters list --filter="name=$NAME" --format='value(name)' \
  --project="$PROJECT")
if [[ -n $existing ]]; then
  echo "there is already a cluster $NAME, maybe of another run: delete it, or set NAME" >&2
  exit 2
fi
trap 'run xpk cluster delete "${PLACE[@]}" --force' EXIT
run xpk cluster create "${PLACE[@]}" --tpu-type="$ACCELERATOR" --num-slices=1 \
  "$CAPACITY"
run xpk workload create "${PLACE[@]}" --workload="$NAME" --tpu-type="$ACCELERATOR" --num-slices=1 \
  --base-docker-image=python:3.12 --script-dir="$SOURCE" --max-restarts="$RETRIES" \
  --restart-on-exit-codes=75 --termination-grace-period-seconds=120 --command="$COMMAND"
run xpk workload list "${PLACE[@]}" --wait-for-job-completion="$NAME"

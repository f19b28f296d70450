#!/usr/bin/env bash
# Trains one recipe on all GPUs of this host, in one process.
#
# SIGTERM and Ctrl-C let the training save and stop; a training that was stopped by anything else
# that lets it save (exit code 75) is started again, up to RETRIES times.
#
# Needs jaxdet installed (pip install -e '.[cuda]') and these variables:
#   CONFIG    a recipe, for example configs/ssd300_voc.py
#   WORKDIR   where checkpoints and logs go: a folder, or a gs:// path
# and may have:
#   CUDA_VISIBLE_DEVICES (all), RETRIES (20), PYTHON (python)
# Arguments go to jaxdet.main.
#
# Costs in steps: a training that is told to stop saves at its next step and loses none; after a
# crash or a power cut those since the last checkpoint are lost, at most --config.every.checkpoint.
# This command run again goes on from the newest checkpoint in WORKDIR; for a host that is rebooted
# put it into crontab behind @reboot. DRY_RUN=1 prints the command and does not run it.
#
#   CONFIG=configs/ssd300_voc.py WORKDIR=runs/ssd300 launch/multi_gpu.sh --config.data.batch_size=256
set -euo pipefail

: "${CONFIG:?}" "${WORKDIR:?}"
RETRIES=${RETRIES:-20}
PYTHON=${PYTHON:-python}
cd "$(dirname "$0")/.."

TRAIN=("$PYTHON" -m jaxdet.main --config="$CONFIG" --workdir="$WORKDIR" "$@")
printf '+' && printf ' %q' "${TRAIN[@]}" && echo
[[ ${DRY_RUN:-} != 1 ]] || exit 0

# Bash hands no signal on by itself. Once told to stop it starts nothing again.
stopped=0 child=
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child"' TERM INT
for ((try = 0; try <= RETRIES; try++)); do
  "${TRAIN[@]}" &
  child=$!
  # A signal ends `wait`, but not the training.
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
  code=0
  wait "$child" || code=$?
  ((code == 75 && stopped == 0)) || exit "$code"
done
echo "still not finished after $RETRIES retries" >&2
exit "$code"

#!/usr/bin/env bash
# Trains one recipe on all GPUs of this host, in one process.
#
# On SIGTERM and Ctrl-C the training saves and stops. If anything else made it save and stop (exit
# code 75), it is started again, up to RETRIES times.
#
# Needs jaxdet installed (pip install -e '.[cuda]') and these variables:
#   CONFIG    a recipe: a name, for example ssd300_voc, or a file of your own
#   WORKDIR   where checkpoints and logs go: a folder, or a gs:// path
# Optional:
#   CUDA_VISIBLE_DEVICES (all), RETRIES (20), PYTHON (python)
# Arguments are passed to jaxdet.main.
#
# Steps lost: none if the training is told to stop, as it saves after its next step; after a crash
# or a power cut those since the last checkpoint, at most --config.every.checkpoint. Run again, this
# command resumes from the newest checkpoint in WORKDIR; to survive reboots, put it into crontab
# after @reboot. DRY_RUN=1 prints the command and does not run it.
#
#   CONFIG=ssd300_voc WORKDIR=runs/ssd300 launch/multi_gpu.sh --config.data.batch_size=256
set -euo pipefail

: "${CONFIG:?}" "${WORKDIR:?}"
RETRIES=${RETRIES:-20}
PYTHON=${PYTHON:-python}

TRAIN=("$PYTHON" -m jaxdet.main --config="$CONFIG" --workdir="$WORKDIR" "$@")
printf '+' && printf ' %q' "${TRAIN[@]}" && echo
[[ ${DRY_RUN:-} != 1 ]] || exit 0

# Bash does not forward signals. Once told to stop, this script starts nothing again.
stopped=0 child=
trap 'stopped=1; [[ -z $child ]] || kill -TERM "$child"' TERM INT
for ((try = 0; try <= RETRIES; try++)); do
  "${TRAIN[@]}" &
  child=$!
  ((stopped == 0)) || kill -TERM "$child" # told before its number was known
  # A signal ends `wait`, but not the training.
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
  code=0
  wait "$child" || code=$?
  ((code == 75 && stopped == 0)) || exit "$code"
done
echo "still not finished after $RETRIES retries" >&2
exit "$code"

#!/usr/bin/env bash
# Trains one recipe on a Cloud TPU VM or pod slice, and deletes what it created.
#
# Requests the TPU as a queued resource, waits until it is ready, installs this checkout on all
# workers, starts the training there as a systemd service (a broken connection does not end it),
# shows its output, and deletes the queued resource and the VM whatever happens. If the TPU is
# preempted, it requests another one, up to RETRIES times.
#
# Needs gcloud, logged in, and these variables:
#   PROJECT   the Google Cloud project to bill
#   ZONE      a zone with the accelerator, for example us-west4-a
#   CONFIG    a recipe: a name, for example ssd300_voc, or a file of this checkout
#   WORKDIR   where checkpoints and logs go: a gs:// path, since the VM's disk is deleted with it
# Optional:
#   NAME (jaxdet), ACCELERATOR (v5litepod-8), VERSION (v2-alpha-tpuv5-lite), SPOT (1 for a spot
#   VM, cheaper, but can be preempted), RETRIES (20)
# Arguments are passed to jaxdet.main.
#
# Steps lost: none if a preempted training can save after its next step before the VM is gone
# (Google gives 30 seconds); otherwise those since the last checkpoint, at most
# --config.every.checkpoint. The next VM resumes from the newest checkpoint in WORKDIR, and so does
# this command when run again. Every worker prepares the images again.
# Time billed: from `create` until `delete`. Run it where it can stay up, for example in tmux: if
# this machine dies, the VM stays until you delete it with the last command that DRY_RUN=1 shows.
# DRY_RUN=1 prints every command and runs none.
#
#   PROJECT=mine ZONE=us-west4-a SPOT=1 CONFIG=ssd300_voc WORKDIR=gs://mine/ssd300 \
#     launch/tpu_vm.sh --config.model.dtype=bfloat16
set -euo pipefail

: "${PROJECT:?}" "${ZONE:?}" "${CONFIG:?}" "${WORKDIR:?}"
NAME=${NAME:-jaxdet}
ACCELERATOR=${ACCELERATOR:-v5litepod-8}
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
RETRIES=${RETRIES:-20}
CAPACITY=
[[ ${SPOT:-} != 1 ]] || CAPACITY=--spot
POLL=30 # seconds
[[ $WORKDIR == gs://* ]] || { echo "WORKDIR is $WORKDIR, expected a gs:// path" >&2; exit 2; }
cd "$(dirname "$0")/.."
SOURCE=${TMPDIR:-/tmp}/$NAME.tar.gz
exec 3>&1 # commands are printed there, even those whose output is captured

run() {
  { printf '+' && printf ' %q' "$@" && echo; } >&3
  [[ ${DRY_RUN:-} == 1 ]] || "$@"
}
queue() { run gcloud compute tpus queued-resources "$1" "$NAME" "${@:2}" "${PLACE[@]}"; }
on_workers() { run gcloud compute tpus tpu-vm ssh "$NAME" --worker=all --command="$1" "${PLACE[@]}"; }
PLACE=(--project="$PROJECT" --zone="$ZONE")

wait_for_vm() {
  local state
  while true; do
    state=$(queue describe --format='value(state.state)')
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED) return 255 ;;
    esac
    [[ ${DRY_RUN:-} != 1 ]] || return 0
    sleep "$POLL"
  done
}

printf -v TRAIN ' %q' -m jaxdet.main --config="$CONFIG" --workdir="$WORKDIR" "$@"
# uv provides a newer Python than the VM has.
SETUP="tar xzf jaxdet.tar.gz && python3 -m pip install -q --user uv && \
~/.local/bin/uv venv -q --allow-existing --python=3.12 env && \
~/.local/bin/uv pip install -q --python=env/bin/python -e 'jaxdet[tpu]'"
# systemd sends SIGTERM when the VM is shut down. gcloud repeats a command whose connection broke,
# so the service is started only if it is not running, and watching it again does no harm.
START="systemctl is-active -q jaxdet || sudo systemd-run --unit=jaxdet --uid=\$USER \
--working-directory=\$HOME/jaxdet --property=StandardOutput=append:\$HOME/jaxdet.log \
--property=StandardError=append:\$HOME/jaxdet.log \$HOME/env/bin/python$TRAIN"
WATCH="tail -n +1 -F jaxdet.log & while systemctl is-active -q jaxdet; do sleep 5; done; \
kill \$!; exit \$(systemctl show --property=ExecMainStatus --value jaxdet)"

attempt() {
  queue create --node-id="$NAME" --accelerator-type="$ACCELERATOR" \
    --runtime-version="$VERSION" ${CAPACITY:+"$CAPACITY"}
  wait_for_vm
  run gcloud compute tpus tpu-vm scp "$SOURCE" "$NAME:jaxdet.tar.gz" --worker=all "${PLACE[@]}"
  on_workers "$SETUP"
  on_workers "$START"
  on_workers "$WATCH"
}
delete() { queue delete --force --quiet; }

run git archive --format=tar.gz --prefix=jaxdet/ --output="$SOURCE" HEAD
existing=$(run gcloud compute tpus queued-resources list --filter="name~(^|/)$NAME\$" \
  --format='value(name)' "${PLACE[@]}")
if [[ -n $existing ]]; then
  echo "there is already a queued resource $NAME, maybe of another run: delete it, or set NAME" >&2
  exit 2
fi
trap delete EXIT
for ((try = 0; try <= RETRIES; try++)); do
  ((try == 0)) || delete
  set +e # in a condition `set -e` would have no effect inside the function
  (set -e; attempt)
  code=$?
  set -e
  # 75: the training was told to stop, and saved. 255: the VM is gone.
  ((code == 75 || code == 255)) || exit "$code"
done
echo "still not finished after $RETRIES retries" >&2
exit "$code"

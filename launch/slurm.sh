#!/usr/bin/env bash
# Trains one recipe on the GPU nodes of a SLURM cluster: submits itself as a batch job.
#
# One process per GPU; they find one another through SLURM's variables. The job is told to stop
# GRACE seconds before its time is up, or when it is preempted; it saves and is requeued, up to
# RETRIES times. Watch it with `squeue --me` and `tail -F jaxdet-*.log`, end it with `scancel`.
#
# Needs to run on a login node, in an environment with jaxdet (pip install -e '.[cuda]') that the
# compute nodes can see too, with these variables:
#   CONFIG    a recipe: a name, for example ssd300_voc, or a file of your own
#   WORKDIR   where checkpoints and logs go: a folder that all nodes can see, or a gs:// path
# Optional:
#   NAME (jaxdet), NODES (1), GPUS (8 per node), CPUS (8 per GPU, to decode the images),
#   TIME (24:00:00 per job), GRACE (180), RETRIES (20), PYTHON (python)
# and all that sbatch itself reads, such as SBATCH_PARTITION, SBATCH_ACCOUNT and SBATCH_QOS.
# Arguments are passed to jaxdet.main.
#
# Steps lost: none if a stopped job can save after its next step, within GRACE (preemption: the
# partition's GraceTime, or KillWait if it has none; scancel: KillWait); otherwise those since the
# last checkpoint, at most --config.every.checkpoint. A requeued or repeated job resumes from the
# newest checkpoint in WORKDIR.
# DRY_RUN=1 prints every command and runs none.
#
#   NODES=2 CONFIG=ssd300_coco WORKDIR=/scratch/me/ssd300_coco SBATCH_PARTITION=gpu \
#     launch/slurm.sh --config.data.root=/scratch/me/coco --config.data.batch_size=256
set -euo pipefail

: "${CONFIG:?}" "${WORKDIR:?}"
NAME=${NAME:-jaxdet}
NODES=${NODES:-1}
GPUS=${GPUS:-8}
CPUS=${CPUS:-8}
TIME=${TIME:-24:00:00}
GRACE=${GRACE:-180}
RETRIES=${RETRIES:-20}
PYTHON=${PYTHON:-python}

run() {
  printf '+' && printf ' %q' "$@" && echo
  [[ ${DRY_RUN:-} == 1 ]] || "$@"
}

submit() {
  # Without "B:" the signal goes to the training and not to this script.
  run sbatch --job-name="$NAME" --output="$NAME-%j.log" --open-mode=append --requeue \
    --nodes="$NODES" --gpus-per-node="$GPUS" --ntasks-per-node="$GPUS" --cpus-per-task="$CPUS" \
    --time="$TIME" --signal="TERM@$GRACE" "$0" --job "$@"
}

job() {
  local code=0
  # The first process to stop must not end the others while they save.
  run srun --kill-on-bad-exit=0 --cpus-per-task="$CPUS" \
    "$PYTHON" -m jaxdet.main --config="$CONFIG" --workdir="$WORKDIR" "$@" || code=$?
  # 75: the training was told to stop, and saved.
  if ((code == 75 && ${SLURM_RESTART_COUNT:-0} < RETRIES)); then
    run scontrol requeue "$SLURM_JOB_ID"
  fi
  return "$code"
}

if [[ ${1:-} == --job ]]; then
  job "${@:2}"
else
  submit "$@"
  [[ ${DRY_RUN:-} != 1 ]] || job "$@"
fi

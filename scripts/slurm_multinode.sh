#!/usr/bin/env bash
# One recipe on several machines under Slurm, one task a machine that starts a process for each of its GPUs. Untested: no
# cluster was at hand. What to look for in its output: the line "16 processes on cuda, DeepSpeed ZeRO-3 (...)".
#
#   sbatch scripts/slurm_multinode.sh RECIPE.yaml [--field value ...]
#
# Two minutes before the time limit, and before it makes room for another job, every process gets SIGTERM: the run saves a
# checkpoint and stops. The same command goes on from there, as does Slurm itself after making room.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start this by sbatch}"
FIRST_MACHINE=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export FIRST_MACHINE

# shellcheck disable=SC2016 # each task fills in its own SLURM_NODEID
exec srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch --config_file recipes/launch/multinode_zero3.yaml \
  --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
  --machine_rank "$SLURM_NODEID" --main_process_ip "$FIRST_MACHINE" -m decausal.tagging.train "$@" \
  --resume_from_checkpoint auto' _ "$@"

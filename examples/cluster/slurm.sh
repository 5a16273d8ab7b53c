#!/bin/bash
# One run on all GPUs of several nodes, one process per GPU. From the folder of the project, which all nodes share:
#     sbatch examples/cluster/slurm.sh news
# Whatever follows the name is passed on, too. README.md says what this assumes.

# To change: nodes, GPUs of a node and as many tasks, cores of a task, time; --partition and --account if need be.
# Each task must see all GPUs of its node, of which JAX takes the one with the task's local number. So there is no
# --gpus-per-task and no --gpu-bind here.
#SBATCH --job-name=textclf
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00

# SLURM sends SIGINT to each task, not to this script, so long before the time is up: a step and a checkpoint must fit.
#SBATCH --signal=INT@120
# A requeue starts this script again under the same job id, and the run goes on; its output is added to the same file.
#SBATCH --requeue
#SBATCH --open-mode=append

set -e
source .venv/bin/activate  # or what else makes `textclf` known on each node

# Of processes that stop, the first one may still save when others have ended: srun must not end it. A process that dies
# ends the others without srun.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
code=0
srun --kill-on-bad-exit=0 --wait=0 textclf pretrain "$@" || code=$?

# 130 is SIGINT, the time limit: go on in a new allocation. scancel sends SIGTERM, and 143 ends the job.
if [ "$code" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

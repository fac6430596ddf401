#!/bin/sh
# Train on several nodes of a cluster with SLURM:   sbatch examples/train_slurm.sh dft.xyz [settings]
#
# Five minutes before the time is up, SLURM sends SIGUSR1 to the processes that srun started. They
# save the state of the training and leave with code 75, and this job is queued again: it goes on
# where it was, until the training is done.
#SBATCH --job-name=scalewise
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
code=0
# a process that fails takes the others with it, a minute later: the first one may still be writing
srun --wait=60 --kill-on-bad-exit=0 scalewise train "$@" --out "${OUT:-runs/train}" || code=$?
if [ "$code" -eq 75 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

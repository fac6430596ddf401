#!/bin/sh
# Train on one machine with several devices, or on several machines that reach each other.
#
#   sh examples/train_torchrun.sh dft.xyz [settings]            one machine, PROCESSES of them (2)
#
# On several machines, call it on each with the same words, NODES=2 and the name of the first one:
#
#   NODES=2 NODE=0 FIRST=node1 sh examples/train_torchrun.sh dft.xyz
#   NODES=2 NODE=1 FIRST=node1 sh examples/train_torchrun.sh dft.xyz
#
# All need the data and the folder of the run at the same place, as on a shared file system.
set -eu
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec torchrun \
    --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --nproc-per-node "${PROCESSES:-2}" \
    --master-addr "${FIRST:-127.0.0.1}" --master-port "${PORT:-29500}" \
    -m scalewise.cli train "$@" --out "${OUT:-runs/train}"

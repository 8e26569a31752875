#!/usr/bin/env bash
# Train on several GPUs of this machine: tools/dist_train.sh CONFIG NUM_GPUS [options of `brs-detr train`]
set -euo pipefail
exec torchrun --nproc-per-node "$2" -m brs_detr.cli train "$1" "${@:3}"

#!/bin/bash
# Trains from a profile on a Slurm cluster: sbatch scripts/train_hpc.sh my_training_config.yaml
# (Without Slurm the same file runs here: bash scripts/train_hpc.sh my_training_config.yaml)
#SBATCH --job-name=footplate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --output=footplate-%j.out
## Remove one # from the lines that you need:
##SBATCH --partition=gpu
##SBATCH --gres=gpu:1
##SBATCH --cpus-per-task=8
##SBATCH --time=48:00:00

set -euo pipefail

profile="${1:-footplate.yaml}"
if [ "$#" -gt 0 ]; then shift; fi
if [ ! -f "$profile" ]; then
  echo "error: $profile: there is no such profile" >&2
  echo "  hint: bash scripts/train_hpc.sh PROFILE" >&2
  exit 2
fi

python="${PYTHON:-python}"
if [ -n "${SLURM_JOB_ID:-}" ]; then
  exec srun "$python" -m footplate train "$profile" "$@"
fi
exec "$python" -m footplate train "$profile" "$@"

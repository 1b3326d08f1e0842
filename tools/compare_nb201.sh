#!/usr/bin/env bash
# Compare search methods on NAS-Bench-201, at a size for two cores: 4 channels, one cell per stage,
# an npz of 5,000 CIFAR-10 images, three seeds per method. The cells found are looked up in the
# table of the benchmark and compared with the mean of all cells. Then run the searches with an
# unfair start and plot them.
# This takes about half an hour on two cores. Run it again to continue where it stopped.
#   bash tools/compare_nb201.sh IMAGES.npz TABLE.csv.gz [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
images=${1:?npz of CIFAR-10 images} table=${2:?table of NAS-Bench-201}
out=${3:-experiments/nb201}
srnas=${SRNAS:-.venv/bin/srnas}
python=${PYTHON:-.venv/bin/python}

run() { # NAME OPTIONS...
  local name=$1 resume=()
  shift
  [ -e "$out/$name/options.yml" ] && resume=(--resume)
  $srnas search "$@" "${resume[@]}" name="$name" experiments="$out" nb201_table="$table" \
    "data.dataset={name: npz, file: $images}" val_every_epochs=5 log_every=39
}

# The same values for all methods, not the recipe of each (recipe=false).
for seed in 0 1 2; do
  for method in darts sa_darts sac_darts beta_darts single_darts; do
    run "${method}_$seed" -opt options/search/nb201_cifar10.yml method="$method" seed="$seed" \
      recipe=false space.num_feat=4 space.num_cell=1 epochs=10 steps_per_epoch=39 \
      weight_optimizer.update=step alpha_optimizer.lr=3e-3
  done
done
for method in darts beta_darts sa_darts; do
  run "unfair_$method" -opt options/study/nb201_unfair_start_small.yml method="$method"
done
$python tools/nb201_figures.py "$out" "$table"

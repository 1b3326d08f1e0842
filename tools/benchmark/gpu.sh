#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, in less than ten minutes: correctness, then the times of a search
# step, a training step and an evaluation against the plain references. Results go to DIR.
#     bash tools/benchmark/gpu.sh [DIR] [SET14]
# PYTHON=... chooses the interpreter; srnas must be importable (PYTHONPATH=. in a checkout).
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-experiments/gpu}
set14=${2:-}
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out"
run() { # NAME COMMAND...
  local name=$1
  shift
  echo "== $name"
  timeout 240 "$python" "$@" 2>&1 | tee "$out/$name.txt"
}
run check tools/benchmark/check_device.py --device cuda
for batch in 16 64; do
  run "step_$batch" tools/benchmark/step.py --device cuda --batch "$batch" --repeats 15 \
    --json "$out/step_$batch.json"
  run "train_$batch" tools/benchmark/train.py --device cuda --batch "$batch" --repeats 25 \
    --json "$out/train_$batch.json"
done
if [ -n "$set14" ]; then
  run evaluate tools/benchmark/evaluate.py --device cuda --data "$set14" --json "$out/evaluate.json"
fi

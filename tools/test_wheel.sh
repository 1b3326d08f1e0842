#!/usr/bin/env bash
# Does the package stand alone? Builds sdist and wheel, installs the wheel in a fresh environment,
# and runs every stage there in an empty folder, a few steps each.
# Installs from pip's index, some GB in the temporary folder; about five minutes on two cores.
#   bash tools/test_wheel.sh [--demo]     --demo also runs the whole demo, some minutes more
# PYTHON=... chooses the interpreter; by default it is that of VENV, .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=${1:-}
if [ $# -gt 1 ] || { [ -n "$demo" ] && [ "$demo" != --demo ]; }; then
  echo "usage: tools/test_wheel.sh [--demo]" >&2 && exit 2
fi
checkout=$PWD
python=${PYTHON:-${VENV:-.venv}/bin/python}
python=$(command -v "$python") || {
  echo "error: no Python at ${PYTHON:-${VENV:-.venv}/bin/python}; run tools/setup.sh first" >&2
  exit 2
}
case $python in /*) ;; *) python=$checkout/$python ;; esac
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV SRNAS_PLUGINS
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PIP_DISABLE_PIP_VERSION_CHECK=1

work=$(mktemp -d)
mkdir "$work/tmp"
export TMPDIR=$work/tmp # what pip and torch leave there goes, too
finish() {
  status=$?
  cd / && rm -rf "$work"
  if [ "$status" = 0 ]; then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  echo "FAILED: $*" >&2
  [ ! -s "$work/out" ] || tail -n 30 "$work/out" >&2
  exit 1
}
say() { local line=${*//"$work/"/}; echo "  ${line//"$checkout/"/}"; }
run() { # COMMAND...: it must succeed; its output is in $work/out
  say "$*"
  "$@" >"$work/out" 2>&1 || fail "exit code $?"
}
shows() { grep -qF -- "$1" "$work/out" || fail "the output lacks: $1"; }
written() { for file; do [ -s "$file" ] || fail "not written: $file"; done; }
refused() { # TEXT COMMAND...: exit code 2 and one line, with TEXT
  local text=$1 code=0
  shift
  say "$* (must be refused)"
  "$@" >"$work/stdout" 2>"$work/out" || code=$?
  [ "$code" = 2 ] || fail "exit code $code, not 2"
  if [ -s "$work/stdout" ] || [ "$(wc -l <"$work/out")" != 1 ]; then fail "not one line"; fi
  shows "$text"
}

echo "building sdist and wheel"
# From a copy, as a build leaves files behind.
mkdir "$work/source"
cp -R setup.cfg pyproject.toml README.md LICENSE srnas options tests "$work/source"
run "$python" -m venv "$work/tools"
run "$work/tools/bin/python" -m pip install --quiet --no-compile build
run "$work/tools/bin/python" -m pip wheel --quiet --no-deps -w "$work/direct" "$work/source"
rm -rf "$work/source/build" "$work/source"/*.egg-info
run "$work/tools/bin/python" -m build --outdir "$work/dist" "$work/source" # wheel from the sdist
wheel=$(echo "$work"/dist/*.whl)
run "$python" - "$work/source" "$wheel" "$work"/direct/*.whl <<'PYTHON'
import pathlib, sys, zipfile

checkout, *wheels = map(pathlib.Path, sys.argv[1:])
expected = {}
for folder, inside, pattern in (
    ("srnas", "srnas", "*"),
    ("options", "srnas/recipes", "*.yml"),
):
    for file in (checkout / folder).rglob(pattern):
        if not file.is_file() or "__pycache__" in file.parts:
            continue
        name = pathlib.PurePosixPath(inside, file.relative_to(checkout / folder).as_posix())
        expected[str(name)] = file.read_bytes()
assert "srnas/recipes/search/imdn_sac_demo.yml" in expected
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        found = {n: archive.read(n) for n in archive.namelist() if ".dist-info/" not in n}
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
    different = [name for name in found if found[name] != expected[name]]
    assert not different, different
PYTHON

echo "installing the wheel in a fresh environment"
run "$python" -m venv "$work/env"
run "$work/env/bin/python" -m pip install --quiet --no-compile "$wheel"
srnas=$work/env/bin/srnas
fresh=$work/env/bin/python
mkdir "$work/empty"
cd "$work/empty"
run "$fresh" - "$checkout" <<'PYTHON'
import pathlib, sys, sysconfig

import srnas
from srnas.inherit import RECIPES

checkout = pathlib.Path(sys.argv[1]).resolve()
here, site = pathlib.Path(srnas.__file__).resolve(), pathlib.Path(sysconfig.get_path("purelib"))
assert here.is_relative_to(site.resolve()) and not here.is_relative_to(checkout), here
assert RECIPES.resolve() == here.parent / "recipes" and not RECIPES.is_symlink(), RECIPES
assert not any(pathlib.Path(p).resolve().is_relative_to(checkout) for p in sys.path), sys.path
PYTHON
[ -z "$(ls -A)" ] || fail "the folder is not empty"

echo "running it in an empty folder"
tiny=(space.num_feat=16 space.num_block=1 data.batch_size=2 data.hr_patch=32 threads=1)
run "$srnas" --help && shows upscale
run "$srnas" methods && shows sa_darts
run "$srnas" spaces && shows imdn
cat >mine.yml <<'YAML'
name: mine
space: {name: imdn, num_feat: 8, num_block: 1}
data:
  train: {packaged: train}
  alpha: {packaged: alpha}
  val: {packaged: val}
  batch_size: 2
  hr_patch: 32
epochs: 2
steps_per_epoch: 3
threads: 1
weight_optimizer: {lr: 1.0e-3}
alpha_optimizer: {lr: 1.0e-2}
YAML
run "$srnas" search -opt mine.yml method=sa_darts
written experiments/mine/genotype.json experiments/mine/report.html
refused "did you mean 'batch_size'" "$srnas" search -opt mine.yml name=wrong data.batch_sise=2
[ ! -e experiments/wrong ] || fail "a refused search wrote"
run "$srnas" search -opt search/imdn_sac_demo.yml "${tiny[@]}" name=found epochs=2 \
  steps_per_epoch=3 warmup_epochs=1
written experiments/found/genotype.json
run "$srnas" train -opt train/imdn_demo.yml --genotype experiments/found/genotype.json \
  "${tiny[@]}" name=trained steps=4 log_every=2 val_every=2 checkpoint_every=2
model=experiments/trained/model.safetensors
written "$model"
run "$srnas" test --model "$model" --scale 2 --data P=packaged --json test.json
written test.json
photo=$("$fresh" -c 'import skimage; print(skimage.__path__[0] + "/data/chelsea.png")')
run "$srnas" upscale --model "$model" "$photo" --out up
run "$srnas" upscale "$photo" --out default && shows "_x2.png"
written up/chelsea_x2.png
run "$fresh" - "$model" "$photo" <<'PYTHON' # the API
import sys

import numpy as np
import srnas
from skimage.io import imread

model, photo = sys.argv[1:]
small = imread(photo)
large = imread("up/chelsea_x2.png")
assert large.shape == (2 * small.shape[0], 2 * small.shape[1], 3), large.shape
ours = srnas.upscale(srnas.load(model), small)
assert ours.dtype == np.uint8 and np.array_equal(ours, large)
assert "sa_darts" in srnas.list_methods() and "imdn" in srnas.list_spaces()
PYTHON
refused "pip install 'srnas[export]'" "$srnas" export --model "$model" --out model.onnx
[ ! -e model.onnx ] || fail "a refused export wrote"

echo "with the export extra"
run "$fresh" -m pip install --quiet --no-compile "$wheel[export]"
run "$srnas" export --model "$model" --out model.onnx && shows "largest difference to PyTorch"
written model.onnx

if [ "$demo" = --demo ]; then
  echo "the whole demo"
  run "$srnas" demo --out demo
  written demo/genotype.json demo/model.safetensors demo/model.onnx demo/test.json
fi

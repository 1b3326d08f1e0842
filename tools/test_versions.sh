#!/usr/bin/env bash
# Runs the tests with the oldest or the newest dependencies that setup.cfg allows, in an environment
# of its own: bash tools/test_versions.sh oldest|newest [arguments of pytest]
# oldest: Python 3.10, every lower bound (uv's lowest-direct); newest: Python 3.12, the latest
# releases. PYTHON=... replaces the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
oldest) python=${PYTHON:-python3.10} resolution=lowest-direct ;;
newest) python=${PYTHON:-python3.12} resolution=highest ;;
*) echo "error: say oldest or newest" >&2 && exit 2 ;;
esac
venv=.venv-$1
shift
[ -x "$venv/bin/uv" ] || {
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
}
install="$venv/bin/uv pip install --quiet --python $venv/bin/python --resolution $resolution"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "setuptools<81"
$install -e '.[test]'
"$venv/bin/uv" pip freeze --quiet --python "$venv/bin/python" >"$venv/installed.txt"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$venv/bin/python" -m pytest -n "${TEST_PROCESSES:-2}" -m "${MARK:-not slow and not matrix}" "$@"

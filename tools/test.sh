#!/usr/bin/env bash
# Sets up, then runs the tests; arguments go to pytest (-m slow runs what takes minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the tests run side by side, a core each
# worksteal leaves the tests of a file on one process, which keeps what they share
exec "${VENV:-.venv}/bin/python" -m pytest -n "${TEST_PROCESSES:-2}" --dist worksteal "$@"

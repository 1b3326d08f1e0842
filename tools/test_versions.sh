#!/usr/bin/env bash
# Runs the tests with the oldest or the newest dependencies that setup.cfg allows, in an environment
# of its own: bash tools/test_versions.sh oldest|newest [arguments of pytest]
# oldest: Python 3.10, every lower bound; newest: Python 3.12, what pip takes. PYTHON=... replaces it.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
oldest) python=${PYTHON:-python3.10} ;;
newest) python=${PYTHON:-python3.12} ;;
*) echo "error: say oldest or newest" >&2 && exit 2 ;;
esac
kind=$1
shift
venv=.venv-$kind
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" - "$kind" >"$venv/constraints.txt" <<'PYTHON'
import configparser
import re
import sys

config = configparser.ConfigParser()
config.read("setup.cfg")
lines = config["options"]["install_requires"].splitlines()
for extra, text in config["options.extras_require"].items():
    lines += text.splitlines() if extra not in ("dev", "docs") else []
for line in lines if sys.argv[1] == "oldest" else ():
    found = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line.strip())
    if found:
        print(f"{found[1]}~={found[2]}.0" if found[2].count(".") == 1 else f"{found[1]}=={found[2]}")
PYTHON
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip "setuptools<81" wheel
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$venv/constraints.txt" -e '.[test]'
"$venv/bin/python" -m pip list --format freeze >"$venv/installed.txt"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$venv/bin/python" -m pytest -n "${TEST_PROCESSES:-2}" -m "${MARK:-not slow and not matrix}" "$@"

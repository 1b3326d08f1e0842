#!/usr/bin/env bash
# Makes .venv with srnas, its tests and its export extra; keeps it if it is current.
# PYTHON=... chooses the interpreter (3.10 to 3.12), VENV=... the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
    >/dev/null 2>&1
}

stamp=$(cat setup.cfg pyproject.toml | cksum)
if [ -f "$venv/.srnas-setup" ] && [ "$(cat "$venv/.srnas-setup")" = "$stamp" ] &&
  [ "$("$venv/bin/python" -c 'import pathlib, srnas; print(pathlib.Path(srnas.__file__).parents[1])' \
    2>/dev/null)" = "$PWD" ]; then
  exit 0
fi

if ! usable "$venv/bin/python"; then
  python=
  for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3.10 python3 python; do
    if usable "$candidate"; then python=$candidate && break; fi
  done
  if [ -z "$python" ]; then
    echo "error: no Python 3.10, 3.11 or 3.12 with venv and pip found; install one" \
      "(Debian, Ubuntu: python3-venv), or name it with PYTHON=/path/to/python" >&2
    exit 2
  fi
  echo "setting up $venv with $("$python" --version) (some GB, a few minutes) ..." >&2
  "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'
printf '%s\n' "$stamp" >"$venv/.srnas-setup"
echo "set up: $venv, $("$venv/bin/python" --version), srnas with its tests and exports" >&2

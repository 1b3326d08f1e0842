#!/usr/bin/env bash
# Builds the documentation into build/docs; a broken link is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${VENV:-.venv}/bin/python" -m sphinx -q -W --keep-going -b html docs build/docs

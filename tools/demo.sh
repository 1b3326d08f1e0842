#!/usr/bin/env bash
# Sets up, then searches, trains, tests and exports a small x2 network on packaged photographs.
# bash tools/demo.sh [--out DIR] [--resume]
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh
exec "${VENV:-.venv}/bin/srnas" demo "$@"

#!/usr/bin/env bash
# Sets up, then searches, trains, tests and exports a small x2 network on packaged photographs.
# Called again, it goes on where it stopped. bash tools/demo.sh [--out DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh
exec "${VENV:-.venv}/bin/srnas" demo "$@"

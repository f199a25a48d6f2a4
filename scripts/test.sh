#!/usr/bin/env bash
# The one gate: format, lint, types, the wheel, and all tests against the wheel. Installs what it needs into .venv.
#
#   bash scripts/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
[ -e .venv/bin/activate ] || "$python" -m venv .venv
# shellcheck disable=SC1091
source .venv/bin/activate
# Most files of these packages are never imported: the first process that imports one compiles it, for all.
unset PYTHONDONTWRITEBYTECODE
pip_install() { python -m pip install --quiet --no-compile "$@"; }
python -c 'import torch' 2>/dev/null || pip_install torch==2.13.0
pip_install -e ".[dev]"

echo "== format and lint"
ruff format --check .
ruff check .
echo "== types"
mypy
echo "== wheel"
rm -rf dist
python -m build --wheel --no-isolation >/dev/null
pip_install --no-deps --force-reinstall dist/decausal-*.whl
echo "== tests against the wheel"
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
python -m pytest -n 2 --dist worksteal "$@"

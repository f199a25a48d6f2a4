#!/usr/bin/env bash
# The core's tests under other versions of transformers, each in an environment of its own.
#
#   bash scripts/test_versions.sh [VERSION ...]
#
# Without arguments: 5.6.0, 5.16.1, 5.19.0 and 5.23.0. Environments stay in .versions/ and are used again.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 5.6.0 5.16.1 5.19.0 5.23.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

for version in "$@"; do
  environment=.versions/$version
  [ -e "$environment/bin/activate" ] || "${PYTHON:-python3}" -m venv "$environment"
  python=$environment/bin/python
  "$python" -c 'import torch' 2>/dev/null || "$python" -m pip install --quiet torch==2.13.0
  "$python" -m pip install --quiet -e ".[train]" "transformers==$version" pytest==9.2.0 pytest-timeout pytest-xdist
  echo "== transformers $version"
  "$python" -m pytest -q -n 2 tests/test_*.py
done

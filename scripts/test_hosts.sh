#!/usr/bin/env bash
# Real runs of other toolkits, each in an environment of its own: their versions of transformers and PEFT cannot share one.
#
#   bash scripts/test_hosts.sh [axolotl|llamafactory|ms-swift|trl ...]
#
# Without arguments: all four. Environments stay in .hosts/ and are used again; the first time costs a few minutes each,
# and 4 GB for Axolotl.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- axolotl llamafactory ms-swift trl

declare -A packages=(
  [axolotl]="axolotl==0.19.0"
  [llamafactory]="llamafactory==0.9.5 bitsandbytes==0.50.2 jieba nltk rouge_chinese" # for its own do_predict
  [ms-swift]="ms-swift==4.6.0 bitsandbytes==0.50.2"
  [trl]="trl==1.16.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0 bitsandbytes==0.50.2 gguf"
)
declare -A extras=([axolotl]="[train]" [llamafactory]="" [ms-swift]="" [trl]="[train]") # what a user of it installs

tools="pytest==9.2.0 pytest-timeout pytest-xdist"

make_environment() { # host
  local python=.hosts/$1/bin/python holds="${packages[$1]} $tools"
  [ -e "$python" ] || "${PYTHON:-python3}" -m venv ".hosts/$1"
  [ "$(cat ".hosts/$1/ready" 2>/dev/null)" != "$holds" ] || return 0
  "$python" -m pip install --quiet torch==2.13.0
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet torch==2.13.0 $holds
  if [ "$1" = llamafactory ] && ! "$python" -c 'import torchaudio' 2>/dev/null; then
    # Built for CUDA. It runs without torchvision, but imports torchaudio, for sound, in any case.
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio
    touch "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchaudio.py"
  fi
  echo "$holds" >".hosts/$1/ready"
}

if [ ! -e models/smollm2-135m/model.safetensors ]; then
  make_environment trl
  .hosts/trl/bin/python scripts/prepare_smollm2.py models/smollm2-135m
fi
for host in "$@"; do
  echo "== $host"
  started=$SECONDS
  make_environment "$host"
  ".hosts/$host/bin/python" -m pip install --quiet -e ".${extras[$host]}"
  tests=$(find tests/hosts -name "test_${host//-/_}.py")
  # shellcheck disable=SC2086
  ".hosts/$host/bin/python" -m pytest -n 2 --dist worksteal -p no:anyio -W ignore -m host --timeout 900 $tests
  echo "== $host: $((SECONDS - started)) s"
done

#!/usr/bin/env bash
# The environments of the peers that scripts/bench.py measures, each with its own versions, in .peers.
#
#   bash scripts/peers/install.sh CLONE      a clone of github.com/dd1497/llm-unmasking
set -euo pipefail
clone=$(realpath "${1:?give a clone of github.com/dd1497/llm-unmasking}")
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
mkdir -p .peers
ln -sfn "$clone" .peers/clone

environment() {
    local name=$1
    shift
    "$python" -m venv ".peers/$name"
    ".peers/$name/bin/pip" install --quiet torch==2.13.0 "$@"
}

# Its requirements.txt, but for torch: kernels are to be the same as ours.
environment paper "numpy<2" transformers==4.34.1 peft==0.5.0 accelerate==0.23.0
environment billm billm==0.1.6 transformers==4.46.1 peft==0.13.2 accelerate==1.1.1 datasets

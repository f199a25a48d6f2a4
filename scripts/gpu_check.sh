#!/usr/bin/env bash
# What only a GPU can show, on a machine without network whose Python has torch and transformers. Needs a CUDA device of
# 24 GiB or more, and 16 GB of disk for a random 7B model. A check is made to end within nine minutes.
#
#   bash scripts/gpu_check.sh pack WHEELS [--python_version 3.12] [--cuda 13.0]   # before, where there is a network
#   bash scripts/gpu_check.sh WHEELS OUTPUT_DIR                                   # there; PYTHON=... names another Python
#   bash scripts/gpu_check.sh WHEELS OUTPUT_DIR TRAIN TOKENIZER                   # there: how fast a real recipe trains
#
# WHEELS takes the other packages along: at most 64 MB, for the Python and the CUDA version of torch given. OUTPUT_DIR gets
# tests.log, tests.xml, qlora_7b.json and gpu_steps.json, of the tests of tests/gpu and of what unmasking costs; or
# bench_gpu.json, of packed rows against stock training, on the sentences of the file TRAIN, cut by the tokenizer of the
# model in the directory TOKENIZER. Fails where there is no GPU: a check that checks nothing must not pass.
set -euo pipefail
if [ "${1:-}" = pack ]; then
  shift
  exec "${PYTHON:-python3}" "$(dirname "$0")/pack_wheels.py" "$@"
fi
[ $# = 2 ] || [ $# = 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
[ -d "$1" ] || { echo "$1: no such directory; make it by: bash scripts/gpu_check.sh pack $1" >&2; exit 2; }
[ $# = 2 ] || [ -f "$3" ] || { echo "$3: no such file; TRAIN is one of annotated sentences" >&2; exit 2; }
[ $# = 2 ] || [ -d "$4" ] || { echo "$4: no such directory; TOKENIZER is a model's, on this disk" >&2; exit 2; }
mkdir -p "$2"
sentences=${3:+$(realpath -s "$3")} tokenizer=${4:+$(realpath -s "$4")}
wheels=$(cd "$1" && pwd) output=$(cd "$2" && pwd) python=$(command -v "${PYTHON:-python3}")
cd "$(dirname "$0")/.."
step() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }

"$python" -c '
import sys, torch, transformers
print("torch", torch.__version__, "transformers", transformers.__version__)
if not torch.cuda.is_available():
    sys.exit("gpu_check: torch sees no CUDA device on this machine, so that nothing was checked")
print("CUDA devices:", torch.cuda.device_count(), torch.cuda.get_device_name())'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step "an environment of what this Python has, and of the wheels"
# Without its pip: Debian leaves that out. A venv made from a venv would not see the first one's packages: name their place.
"$python" -m venv --without-pip "$scratch/venv"
"$python" -c 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")' \
  >"$("$scratch/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beneath.pth"
install() { "$python" -m pip --python "$scratch/venv/bin/python" install --quiet --no-index --find-links "$wheels" "$@"; }
install accelerate bitsandbytes datasets peft psutil trl pytest pytest-timeout hatchling
install --no-deps --no-build-isolation seqeval .
python=$scratch/venv/bin/python
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

step "a random 7B model"
"$python" benchmarks/random_model.py "$scratch/mistral-7b" ${tokenizer:+--tokenizer "$tokenizer"}

failed=
if [ -n "$sentences" ]; then
  step "packed rows against stock training"
  timeout $((SECONDS < 515 ? 525 - SECONDS : 10)) "$python" scripts/bench.py gpu recipes/ner/mistral-7b-v0.3_qlora.yaml "$output/bench_gpu.json" \
    --model_name_or_path "$scratch/mistral-7b" --train_file "$sentences" --output_dir "$scratch/unused" || failed="benchmark"
else
  step "tests"
  timeout 300 "$python" -m pytest tests/gpu -v -W default --durations 15 --random-model "$scratch/mistral-7b" \
    --results "$output" --junitxml "$output/tests.xml" 2>&1 | tee "$output/tests.log" || failed="tests"

  step "what unmasking costs"
  timeout $((SECONDS < 515 ? 525 - SECONDS : 10)) "$python" benchmarks/gpu_steps.py "$scratch/mistral-7b" "$output/gpu_steps.json" ||
    failed="$failed benchmark"
fi

step "${failed:+FAILED: $failed; }see $output"
[ -z "$failed" ]

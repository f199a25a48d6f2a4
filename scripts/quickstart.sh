#!/usr/bin/env bash
# From nothing but Python >= 3.10 and pip to two taggers, one causal and one unmasked, on a task that only words to the
# right decide. Takes less than ten minutes on two CPU cores. Run again, it goes on where it stopped.
#
#   bash scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
step() { printf '\n\033[1m[%3d s] %s\033[0m\n' "$((SECONDS - started))" "$*"; }

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "quickstart needs Python >= 3.10; $python is $("$python" --version). Set PYTHON to a newer one." >&2
  exit 1
}

step "a virtual environment in .venv"
[ -e .venv/bin/activate ] || "$python" -m venv .venv
# shellcheck disable=SC1091
source .venv/bin/activate
# Without an NVIDIA driver the CUDA libraries of the default torch would be gigabytes for nothing.
python -c 'import torch' 2>/dev/null || python -m pip install --quiet torch==2.13.0
python -m pip install --quiet ".[train]" gguf

export PYTHONWARNINGS=ignore PYTHONUNBUFFERED=1 TQDM_DISABLE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error

step "SmolLM2-135M, a pretrained Llama-architecture LLM, in models/smollm2-135m"
python scripts/prepare_smollm2.py models/smollm2-135m

step "QLoRA in 4 bits, twice at a time: every layer causal, and every layer unmasked"
threads=$(python -c 'import os; print(max(1, os.cpu_count() // 2))') # of each run
export threads
train() { # name, pattern
  local name=$1
  if [ -e "outputs/right_context_$name/results.json" ]; then
    echo "outputs/right_context_$name is there already"
    return
  fi
  accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
    --num_cpu_threads_per_process "$threads" -m decausal.tagging.train recipes/ner/right_context_qlora.yaml \
    --unmask "$2" --output_dir "outputs/right_context_$name" --overwrite_output_dir true --disable_tqdm true 2>&1 |
    while IFS= read -r line; do printf '%-8s | %s\n' "$name" "$line"; done
}
export -f train
# xargs, not "&": a background job of a script never hears of Ctrl-C.
printf '%s\n' "causal none" "unmasked 1111" | xargs -P 2 -I '{}' bash -c 'set -o pipefail; train {}'

step "done"
python scripts/compare_runs.py outputs/right_context_causal outputs/right_context_unmasked \
  --ceiling_file examples/right_context/test.tsv
for name in causal unmasked; do
  printf '\n%s:\n' "$name"
  printf '%s\n' "Yesterday Victoria smiled at her mother ." "Yesterday Victoria was hit by a flood ." \
    "Yesterday Victoria sold its factories ." | decausal predict "outputs/right_context_$name" - --output color
done
cat <<'TXT'

Next:
  decausal audit outputs/right_context_unmasked        # what every layer really sees
  echo "Lincoln reported a loss ." | decausal predict outputs/right_context_unmasked -
  accelerate launch -m decausal.tagging.train recipes/ner/smollm2-135m_lora.yaml --model_name_or_path models/smollm2-135m \
    --train_file TRAIN --validation_file DEV --test_file TEST    # your own data
TXT

#!/usr/bin/env bash
# The runs behind RESULTS.md: one after another, each skipped where its result is there already.
#
#   bash scripts/measure.sh OUTPUT_DIR
#
# Reads models from models/ (scripts/prepare_smollm2.py) and data from ../shared/data; writes OUTPUT_DIR/NAME/results.json
# and copies it to benchmarks/results/NAME.json.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:?give an output directory}
mkdir -p "$output" benchmarks/results

run() { # name, recipe, fields ...
  local name=$1 recipe=$2
  shift 2
  [ -e "benchmarks/results/$name.json" ] && return
  rm -rf "${output:?}/$name"
  accelerate launch --cpu --num_processes 1 -m decausal.tagging.train "recipes/ner/$recipe.yaml" --use_cpu true \
    --disable_tqdm true --max_train_samples 1500 --max_eval_samples 800 --output_dir "$output/$name" "$@" \
    >"$output/$name.log" 2>&1 && cp "$output/$name/results.json" "benchmarks/results/$name.json" || echo "$name failed"
}
conll="--train_file ../shared/data/conll2003/eng.train --validation_file ../shared/data/conll2003/eng.testa"
conll="$conll --test_file ../shared/data/conll2003/eng.testb"
wnut="--train_file ../shared/data/wnut17/wnut17train.conll --validation_file ../shared/data/wnut17/emerging.dev.conll"
wnut="$wnut --test_file ../shared/data/wnut17/emerging.test.annotated"
smollm="--model_name_or_path models/smollm2-135m"

for seed in 120 121; do
  for data in conll wnut; do
    for pattern in 1111 0000 0011; do
      # shellcheck disable=SC2086
      run "$data-lora-$pattern-$seed" smollm2-135m_lora $smollm ${!data} --unmask "$pattern" --seed "$seed"
    done
    # shellcheck disable=SC2086
    run "$data-minilm-$seed" minilm_full --model_name_or_path models/minilm ${!data} --seed "$seed"
  done
done
# shellcheck disable=SC2086
run "conll-qlora-1111-120" smollm2-135m_qlora $smollm $conll --unmask 1111 --seed 120

#!/usr/bin/env bash
# The runs behind RESULTS.md, two side by side on half of the cores each; a run whose result is there already is skipped.
#
#   bash scripts/measure.sh OUTPUT_DIR
#
# Reads models from models/ (scripts/prepare_smollm2.py, scripts/prepare_minilm.py) and data from ../shared/data; writes
# OUTPUT_DIR/NAME/results.json and copies it to benchmarks/results/NAME.json.
set -euo pipefail
cd "$(dirname "$0")/.."
export output=${1:?give an output directory}
export OMP_NUM_THREADS=$((($(nproc) + 1) / 2))
mkdir -p "$output" benchmarks/results

run() { # name, recipe, fields ...
  local name=$1 recipe=$2
  shift 2
  [ -e "benchmarks/results/$name.json" ] && return
  rm -rf "${output:?}/$name"
  if accelerate launch --cpu --num_processes 1 --num_cpu_threads_per_process "$OMP_NUM_THREADS" \
    -m decausal.tagging.train "recipes/ner/$recipe.yaml" --use_cpu true --bf16 false --disable_tqdm true \
    --max_train_samples 1500 --max_eval_samples 800 --output_dir "$output/$name" "$@" >"$output/$name.log" 2>&1; then
    sed "s#$output#OUTPUT_DIR#g" "$output/$name/results.json" >"benchmarks/results/$name.json"
  else
    echo "$name failed: see $output/$name.log"
  fi
}
export -f run

conll="--train_file ../shared/data/conll2003/eng.train --validation_file ../shared/data/conll2003/eng.testa"
conll="$conll --test_file ../shared/data/conll2003/eng.testb"
wnut="--train_file ../shared/data/wnut17/wnut17train.conll --validation_file ../shared/data/wnut17/emerging.dev.conll"
wnut="$wnut --test_file ../shared/data/wnut17/emerging.test.annotated"
smollm="--model_name_or_path models/smollm2-135m"

{
  for seed in 120 121; do
    for pattern in 1111 0000 0011; do
      for data in conll wnut; do
        lora="smollm2-135m_lora $smollm ${!data} --unmask $pattern --seed $seed"
        echo "$data-lora-$pattern-$seed $lora"
        echo "$data-bf16-$pattern-$seed $lora --dtype bfloat16"
      done
    done
    for data in conll wnut; do
      echo "$data-minilm-$seed minilm_full --model_name_or_path models/minilm ${!data} --seed $seed"
    done
    [ $seed = 121 ] || echo "conll-qlora-1111-$seed smollm2-135m_qlora $smollm $conll --unmask 1111 --seed $seed"
  done
} | xargs -P 2 -I '{}' bash -c 'run {}'

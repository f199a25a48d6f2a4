#!/usr/bin/env bash
# Instruction tuning on named entities as text (RESULTS.md): SmolLM2-135M by TRL, scope "prompt", pattern by pattern, two
# seeds. Goes on where it was stopped; leaves one JSON a run in OUTPUT_DIR/results.
#
#   bash scripts/measure_as_text.sh OUTPUT_DIR TRAIN TEST [arguments of trl sft]
set -euo pipefail
output=$1 train=$2 test=$3
shift 3
mkdir -p "$output/results"
python scripts/tagging_as_text.py prepare "$train" "$output/data/train.jsonl" --max_samples 1000
for seed in 120 121; do
  for pattern in none 1111 0011 1100; do
    name=as-text-$pattern-$seed
    [ ! -e "$output/results/$name.json" ] || continue
    decausal run --unmask "$pattern" -- trl sft --config recipes/hosts/trl/smollm2-135m_ner.yaml \
      --dataset_name "$output/data" --output_dir "$output/$name" --seed "$seed" "$@"
    python scripts/tagging_as_text.py score "$output/$name" "$test" --max_samples 500 --output "$output/results/$name.json"
  done
done

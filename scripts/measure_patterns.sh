#!/usr/bin/env bash
# All sixteen patterns of four groups on four tasks: what ways of finding the best one are held against.
#
#   bash scripts/measure_patterns.sh OUTPUT_DIR MODEL SEEDS NAME [--field value ...]
#   bash scripts/measure_patterns.sh outputs/patterns ../shared/models/stories260k 120,121,122 stories260k \
#     --use_peft false --learning_rate 2e-3 --num_train_epochs 3
#
# Reads data from ../shared/data and writes benchmarks/results/patterns-NAME-TASK.json. Stopped, it goes on. WORKERS=2 runs
# two at once, TASKS="ner danish" these data only, also those beside the four tasks, and PATTERNS=suffixes:4 other patterns.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:?give an output directory} model=${2:?a model} seeds=${3:?seeds} name=${4:?a name for the results}
shift 4
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
data=$output/data
bash scripts/lay_out_data.sh ../shared/data "$data"

files() { # of a corpus, with their suffix
  echo --train_file "$data/$1/train$2" --validation_file "$data/$1/validation$2" --test_file "$data/$1/test$2"
}
declare -A recipes=([chunking]=chunking [conll2003-chunks]=chunking [aspects]=aspects [events]=events) # others: ner
declare -A fields=(
  [ner]="$(files conll2003 .txt)"
  [chunking]="$(files conll2000 .txt)"
  [aspects]="$(files restaurants .tsv)"
  [events]="$(files litbank "")"
  [conll2003-chunks]="$(files conll2003 .txt) --columns 0,2"
  [wnut17]="$(files wnut17 .txt)"
  [wikigold]="$(files wikigold .txt)"
  [danish]="$(files uner_da_ddt .txt)"
  [chinese]="$(files uner_zh_gsd .txt)"
)
trap 'kill $(jobs -p); wait; exit 130' INT TERM # what runs in the background hears no Ctrl-C
for task in ${TASKS:-ner chunking aspects events}; do
  workers=()
  for _ in $(seq "${WORKERS:-2}"); do
    # shellcheck disable=SC2086
    decausal sweep "recipes/${recipes[$task]:-ner}/smollm2-135m_lora.yaml" --patterns "${PATTERNS:-groups:4}" \
      --seeds "$seeds" --model_name_or_path "$model" ${fields[$task]} --max_train_samples 800 --max_eval_samples 800 \
      --use_cpu true --bf16 false --output_dir "$output/$name-$task" "$@" &
    workers+=($!)
    sleep 20 # the first one reads the data and makes the study
  done
  for worker in "${workers[@]}"; do
    wait "$worker" || echo "$task: a run failed, or a worker did" >&2
  done
  python scripts/save_sweep.py "$output/$name-$task" "benchmarks/results/patterns-$name-$task.json"
done

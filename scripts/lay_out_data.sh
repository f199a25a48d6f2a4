#!/usr/bin/env bash
# Public corpora as recipes/paper/135m.yaml and scripts/measure_patterns.sh look for them: links, and files where a split
# has to be made.
#
#   bash scripts/lay_out_data.sh SOURCE DATA
#
# SOURCE has conll2003/eng.{train,testa,testb}, conll2000/{train,test}.txt, rest14_iob2/{train,valid,test}.txt,
# litbank_events/*.tsv, and what of wnut17, wikigold, uner_da_ddt and uner_zh_gsd there is. CoNLL-2000 has no validation
# data: its last 936 training sentences. LitBank has one file a book: 80, 10 and 10 books. WikiGold is one
# file: 1,000 of its paragraphs, documents' marks included, 300, and the others. What DATA has already is left as it is.
set -euo pipefail
export LC_ALL=C # the order of the books
source=$(realpath "${1:?give the directory of the corpora}") data=${2:?give a directory}

link() { # FILE NAME
  [ -e "$source/$1" ] || { echo "error: $source/$1 is not there" >&2; exit 1; }
  mkdir -p "$(dirname "$data/$2")"
  [ -e "$data/$2" ] || ln -sf "$source/$1" "$data/$2"
}

for pair in train:train testa:validation testb:test; do
  link "conll2003/eng.${pair%:*}" "conll2003/${pair#*:}.txt"
done
for pair in train:train valid:validation test:test; do
  link "rest14_iob2/${pair%:*}.txt" "restaurants/${pair#*:}.tsv"
done
split_paragraphs() { # FILE NAME TRAIN [VALIDATION]: so many; those behind both are for testing
  [ -e "$data/$2/train.txt" ] && return
  mkdir -p "$data/$2"
  awk -v RS= -v ORS='\n\n' -v to="$data/$2/" -v train="$3" -v validation="${4:-1e9}" \
    '{ print > (to (NR <= train ? "train.part" : NR <= train + validation ? "validation.txt" : "test.txt")) }' "$source/$1"
  mv "$data/$2/train.part" "$data/$2/train.txt"
}
split_paragraphs conll2000/train.txt conll2000 8000
link conll2000/test.txt conll2000/test.txt
i=0
for book in "$source"/litbank_events/*.tsv; do
  split=$([ $i -lt 80 ] && echo train || { [ $i -lt 90 ] && echo validation || echo test; })
  link "litbank_events/${book##*/}" "litbank/$split/${book##*/}"
  i=$((i + 1))
done
if [ -e "$source/wnut17" ]; then
  for pair in wnut17train.conll:train emerging.dev.conll:validation emerging.test.annotated:test; do
    link "wnut17/${pair%:*}" "wnut17/${pair#*:}.txt"
  done
fi
[ ! -e "$source/wikigold" ] || split_paragraphs wikigold/wikigold.conll.txt wikigold 1000 300
for treebank in da_ddt zh_gsd; do
  [ -e "$source/uner_$treebank" ] || continue
  for pair in train:train dev:validation test:test; do
    link "uner_$treebank/$treebank-ud-${pair%:*}.iob2" "uner_$treebank/${pair#*:}.txt"
  done
done

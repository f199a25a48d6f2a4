#!/usr/bin/env bash
# Public corpora as recipes/paper/135m.yaml looks for them: links, and files where a split has to be made.
#
#   bash scripts/lay_out_data.sh SOURCE DATA
#
# SOURCE has conll2003/eng.{train,testa,testb}, conll2000/{train,test}.txt, rest14_iob2/{train,valid,test}.txt and
# litbank_events/*.tsv. CoNLL-2000 has no validation data: its last 936 training sentences. LitBank has one file a book:
# 80, 10 and 10 books. What DATA has already is left as it is.
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
link conll2000/test.txt conll2000/test.txt
if [ ! -e "$data/conll2000/train.txt" ]; then
  awk -v RS= -v ORS='\n\n' -v to="$data/conll2000/" \
    '{ print > (to (NR <= 8000 ? "train.part" : "validation.txt")) }' "$source/conll2000/train.txt"
  mv "$data/conll2000/train.part" "$data/conll2000/train.txt"
fi
i=0
for book in "$source"/litbank_events/*.tsv; do
  split=$([ $i -lt 80 ] && echo train || { [ $i -lt 90 ] && echo validation || echo test; })
  link "litbank_events/${book##*/}" "litbank/$split/${book##*/}"
  i=$((i + 1))
done

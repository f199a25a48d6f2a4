#!/usr/bin/env bash
# Public corpora as recipes/paper/135m.yaml looks for them: links, and files where a split has to be made.
#
#   bash scripts/lay_out_data.sh SOURCE DATA
#
# SOURCE has conll2003/eng.{train,testa,testb}, conll2000/{train,test}.txt, rest14_iob2/{train,valid,test}.txt (or make
# restaurants/ by `decausal prepare`) and litbank_events/*.tsv. CoNLL-2000 has no validation data: its last 936 training
# sentences. LitBank has one file a book: 80, 10 and 10 books.
set -euo pipefail
source=$(realpath "${1:?give the directory of the corpora}") data=${2:?give a directory}
[ ! -e "$data/done" ] || exit 0
mkdir -p "$data"/{conll2003,conll2000,restaurants} "$data"/litbank/{train,validation,test}
for pair in train:train testa:validation testb:test; do
  ln -sf "$source/conll2003/eng.${pair%:*}" "$data/conll2003/${pair#*:}.txt"
done
awk -v RS= -v ORS='\n\n' -v to="$data/conll2000/" '{ print > (to (NR <= 8000 ? "train" : "validation") ".txt") }' \
  "$source/conll2000/train.txt"
ln -sf "$source/conll2000/test.txt" "$data/conll2000/test.txt"
for pair in train:train valid:validation test:test; do
  ln -sf "$source/rest14_iob2/${pair%:*}.txt" "$data/restaurants/${pair#*:}.tsv"
done
i=0
for book in "$source"/litbank_events/*.tsv; do
  split=$([ $i -lt 80 ] && echo train || { [ $i -lt 90 ] && echo validation || echo test; })
  ln -sf "$book" "$data/litbank/$split/"
  i=$((i + 1))
done
touch "$data/done"

"""Trains a recipe's model on its data with transformers' own `Trainer`, and prints the log of its steps.

accelerate launch --config_file recipes/launch/X.yaml tests/distributed/stock.py RECIPE.yaml
"""

import json
import sys
import warnings

from transformers import DataCollatorForTokenClassification, Trainer, set_seed

from decausal._tokenizer import load_tokenizer
from decausal.tagging.arguments import parse_recipe
from decausal.tagging.model import build_model
from decausal.tagging.splits import Corpus, Split

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    tagging, model_config, training = parse_recipe(sys.argv[1:])
    set_seed(training.seed)
    corpus = Corpus.read(tagging)
    tokenizer = load_tokenizer(model_config.model_name_or_path)
    trainer = Trainer(
        model=build_model(tagging, model_config, training, corpus.labels, tokenizer.pad_token_id),
        args=training,
        train_dataset=Split.of(corpus.sentences["train"], tokenizer, corpus.labels, tagging).windows,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        print("log:", json.dumps(trainer.state.log_history))
    trainer.accelerator.end_training()

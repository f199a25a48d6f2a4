"""What plain decausal makes of ms-swift's own rows: `losses MODEL DATA PATTERN`, `answers CHECKPOINT DATA LENGTH`."""

import json
import sys
from pathlib import Path

import torch
from swift.model import get_model_processor
from swift.template import get_template
from transformers import AutoModelForCausalLM

import decausal

what, place, data, argument = sys.argv[1:]
rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
base = json.loads((Path(place) / "args.json").read_text())["model"] if what == "answers" else place
_, processor = get_model_processor(base, model_type="llama", load_model=False, use_hf=True)
template = get_template(processor, template_type="chatml")


def losses():
    template.set_mode("train")
    batch = template.data_collator([template.encode(row) for row in rows])
    batch = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    causal = model(**batch).loss.item()
    decausal.unmask(model, argument, scope="prompt")
    return {"causal": causal, "unmasked": model(**batch).loss.item()}


def answers():
    model, _ = decausal.load(place)
    prompts = [{"messages": row["messages"][:-1]} for row in rows]
    encoded = [torch.tensor([template.encode(prompt)["input_ids"]]) for prompt in prompts]

    def generate():
        settings = {"do_sample": False, "max_new_tokens": int(argument), "pad_token_id": processor.pad_token_id}
        written = [model.generate(input_ids=ids, **settings)[0, ids.shape[1] :] for ids in encoded]
        return [processor.decode(ids, skip_special_tokens=True) for ids in written]

    unmasked = generate()
    with decausal.Handle.of(model).paused():
        return {"causal": generate(), "unmasked": unmasked}


torch.manual_seed(0)
print("\n" + json.dumps(losses() if what == "losses" else answers()))

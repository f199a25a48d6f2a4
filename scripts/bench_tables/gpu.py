"""The table `gpu`: what a run makes of a card, in packed rows on every attention kernel, against stock training.

    python scripts/bench.py gpu recipes/ner/mistral-7b-v0.3_qlora.yaml RESULTS.json --train_file TRAIN

is NF4 QLoRA of a 7B model. Speed does not depend on what weights have learned, so where there are none:

    python benchmarks/random_model.py MODEL_DIR --tokenizer TOKENIZER_DIR       # 15 GB of disk

and `--model_name_or_path MODEL_DIR`. `--peak_tflops 989` tells the peak of a card that `PEAK_TFLOPS` lacks, dense in
bfloat16. `scripts/gpu_check.sh WHEELS OUTPUT_DIR TRAIN TOKENIZER` makes that model and this table on a machine without
network. Not yet run on a GPU: on a CPU, with a tiny model and sdpa alone, the code around was tried.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext

import torch

import decausal
from bench_tables.flops import count_flops, find_peak
from decausal._attach import Handle
from decausal.tagging.bench import Batch, Bench
from decausal.tagging.comparison import Candidate, Table
from decausal.tagging.kernels import errors_of, kernels_at_hand
from decausal.tagging.packing import check_packable, check_packing
from decausal.tagging.precision import autocast, mixed_precision

STOCK = "padded, causal, sdpa"


def gpu(bench: Bench, steps: int, peak_tflops: float | None = None) -> Table:
    """Real sub-words trained on in a second, model FLOP/s, and their share of the card's peak where that is known.

    The baseline is what transformers and PEFT do by themselves: batches drawn at random, padded, on sdpa, all layers
    causal. Our unmasking is paused there, which leaves the stock model to the bit; what is not in 4 bits is stored as
    in our runs. A kernel whose packed rows fail, or would be refused in training, is left out, and said to be.

    Args:
        bench: of a recipe that unmasks layers.
        steps: optimizer steps of a measurement.
        peak_tflops: of the card; by default that of `PEAK_TFLOPS`.

    Raises:
        ValueError: the recipe unmasks nothing.
        UnsupportedModelError: the model's FLOP cannot be counted.
    """
    num_unmasked = len(decausal.unmasked_layers(bench.model))
    if not num_unmasked:
        raise ValueError(
            f'unmask="{bench.tagging.unmask}" opens no layer, and the table holds unmasked layers against causal ones: '
            f'give --unmask, such as "1111".'
        )
    recipes_own = bench.base.config._attn_implementation
    drawn, grouped = bench.draw_batches("random", steps), bench.draw_batches("group_by_length", steps)
    candidates: dict[str, Candidate] = {}
    flops: dict[str, dict[str, float]] = {}

    def add(name: str, kernel: str, members: Sequence[list[int]], batches: list[Batch]) -> None:
        is_causal = name == STOCK

        def run() -> float:
            bench.base.set_attn_implementation(kernel)
            with Handle.of(bench.model).paused() if is_causal else nullcontext():
                return bench.count_tokens(members) / bench.time_steps(batches)

        candidates[name] = run
        lengths = [bench.lengths[window] for batch in members for window in batch]
        flops[name] = count_flops(bench.model, lengths, 0 if is_causal else num_unmasked)

    kernels = kernels_at_hand(bench.training.device.type)
    left_out = find_unpackable(bench, kernels, drawn[0])
    add(STOCK, "sdpa", drawn, [bench.pad(batch) for batch in drawn])
    add("padded, grouped by length, unmasked, sdpa", "sdpa", grouped, [bench.pad(batch) for batch in grouped])
    for kernel in kernels:
        if kernel not in left_out:
            bench.base.set_attn_implementation(kernel)  # flash kernels have another way to pack
            add(f"packed, unmasked, {kernel}", kernel, drawn, [bench.pack(batch) for batch in drawn])
    bench.base.set_attn_implementation(recipes_own)
    peak = find_peak(torch.cuda.get_device_name()) if bench.training.device.type == "cuda" else None
    if peak_tflops is not None:
        peak = peak_tflops * 1e12
    needed = {name: sum(parts.values()) for name, parts in flops.items()}
    multiples = {"model FLOP/s": needed}
    if peak is not None:
        multiples["share of peak FLOP/s"] = {name: flop / peak for name, flop in needed.items()}
    facts = {"peak FLOP/s": peak or "unknown", "model FLOP of a sub-word": flops, "left out": left_out}
    return Table("real sub-words a second", candidates, dict.fromkeys(candidates, STOCK), facts, multiples)


def find_unpackable(bench: Bench, kernels: list[str], batch: list[int]) -> dict[str, str]:
    """The kernels that a run with `packing=true` would be refused with, or would fail with, and why; prints them too.

    Args:
        bench: left with the last of the kernels.
        kernels: attention implementations.
        batch: the windows of a step to try.
    """

    def take() -> None:
        check_packable(bench.base.config, bench.training)
        with autocast(bench.training.device, mixed_precision(bench.training)):
            report = decausal.audit(bench.model, bench.tagging.unmask)
        if not report.ok:
            raise decausal.UnsupportedModelError(str(report))
        check_packing(report)
        bench.time_steps([bench.pack(batch)])

    left_out = errors_of(kernels, bench.base, take)
    for kernel, why in left_out.items():
        print(f"{kernel} is left out: {why}", file=sys.stderr)
    return left_out

"""End-to-end prefill on pruned prompts against the ideal from token counts, and the KV cache.

Run by ``make bench`` or ``python tests/perf/bench_prefill.py [--layers 4]``; prints a table and
asserts nothing. Qwen2.5-VL-7B's layer shapes with fewer layers, random weights, a small vocabulary,
1296 visual and 64 text tokens. The vision tower is left out. Pruned and unpruned runs take turns.

"measured" counts selection once for the few layers there are; "at 28 layers" scales the forward
pass to all of the 7B's and leaves selection as it is. The ideal is the ratio of prompt tokens.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import torch

from hawk.models import family_of
from hawk.models.base import VisualItem
from hawk.models.turns import Markers, remember_markers
from hawk.pruning.base import Pruner
from hawk.pruning.methods.hawk import Hawk
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import prune

SIDE, TEXT, LAYERS_7B = 36, 64, 28
START, USER, NEWLINE, END, VISION_START, VISION_END, IMAGE, VIDEO = range(8)


def build(layers: int, dtype: torch.dtype, device: str) -> torch.nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 1024, "hidden_size": 3584, "intermediate_size": 18_944,
            "num_hidden_layers": layers, "num_attention_heads": 28, "num_key_value_heads": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None, "eos_token_id": END, "pad_token_id": END,
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32,
            "out_hidden_size": 3584, "fullatt_block_indexes": [0],
        },
        image_token_id=IMAGE, video_token_id=VIDEO,
        vision_start_token_id=VISION_START, vision_end_token_id=VISION_END,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).to(device, dtype)
    markers = Markers((START, USER), (END,), frozenset({VISION_START, VISION_END}), newline=NEWLINE)
    remember_markers(model, markers)
    return model.eval().requires_grad_(False)


def inputs_for(model: torch.nn.Module, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """One prompt whose image is already encoded."""
    family = family_of(model)
    generator = torch.Generator().manual_seed(0)
    question = torch.randint(10, 1024, (TEXT - 9,), generator=generator).tolist()
    ids = [START, USER, NEWLINE, VISION_START, *[IMAGE] * SIDE**2, VISION_END]
    ids += [*question, END, START, USER, NEWLINE]
    item = VisualItem(
        features=torch.randn(SIDE**2, 3584, generator=generator).to(device, dtype),
        grid=(1, SIDE, SIDE),
        meta={"grid_thw": [1, 2 * SIDE, 2 * SIDE]},
    )
    return {
        "input_ids": torch.tensor([ids], device=device),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long, device=device),
        "mm_encoder_outputs": family.encoder_outputs({"image": item.features}, {"image": []}),
        **{key: value.to(device) for key, value in family.stored_inputs([item]).items()},
    }


def prefill(model: torch.nn.Module, pruner: Pruner, inputs: dict[str, Any]) -> tuple[float, float, int, int]:
    """Milliseconds of selection and of the forward pass, KV-cache bytes, prompt tokens."""
    start = _now()
    prompt = prune(pruner, model, family_of(model), inputs)
    selected = _now()
    out = model(**prompt.kwargs(), use_cache=True, logits_to_keep=1)
    end = _now()
    cache = sum(layer.keys.nbytes + layer.values.nbytes for layer in out.past_key_values.layers)
    return 1e3 * (selected - start), 1e3 * (end - selected), cache, prompt.input_ids.shape[1]


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:  # other work on the machine does not count
        return time.process_time()
    return time.perf_counter()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one layer, one repeat, to see that it runs")
    parser.add_argument("--dtype", default=None, choices=["float32", "bfloat16"])
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.layers = chosen.repeats = 1
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, chosen.dtype or ("bfloat16" if device == "cuda" else "float32"))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = build(chosen.layers, dtype, device)
    inputs = inputs_for(model, dtype, device)
    pruners: dict[str, Pruner] = {"0": Unpruned()}
    pruners.update({ratio: Hawk(pruning_ratio=ratio) for ratio in ("0.6", "0.8", "0.9")})
    found: dict[str, list[tuple[float, float, int, int]]] = {ratio: [] for ratio in pruners}
    for repeat in range(chosen.repeats + 1):
        for ratio, pruner in pruners.items():
            measured = prefill(model, pruner, inputs)
            if repeat:
                found[ratio].append(measured)
    print(f"device {device}, {dtype}, {chosen.layers} layers of the 7B's shape, {SIDE**2} visual tokens\n")
    print(f"{'removed':>8} {'tokens':>7} {'select ms':>10} {'forward ms':>11} {'spread':>17} {'measured':>9} "
          f"{'at 28':>7} {'ideal':>6} {'of ideal':>9} {'KV bytes':>11} {'per token':>10}")  # fmt: skip
    scale = LAYERS_7B / chosen.layers
    plain = statistics.median(forward for _, forward, _, _ in found["0"])
    full = found["0"][0][3]
    for ratio, rows in found.items():
        select = 0.0 if ratio == "0" else statistics.median(row[0] for row in rows)
        passes = sorted(row[1] for row in rows)
        forward = statistics.median(passes)
        _, _, cache, tokens = rows[0]
        speedup, ideal = plain / (select + forward), full / tokens
        all_layers = scale * plain / (select + scale * forward)
        print(f"{ratio:>8} {tokens:>7} {select:>10.1f} {forward:>11.1f} "
              f"{passes[0]:>8.1f}-{passes[-1]:>8.1f} {speedup:>8.2f}x "
              f"{all_layers:>6.2f}x {ideal:>5.2f}x {all_layers / ideal:>9.0%} {cache:>11} "
              f"{cache // tokens:>10}")  # fmt: skip


if __name__ == "__main__":
    main()

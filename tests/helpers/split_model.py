"""One of two processes that share a model with ``tp_plan="auto"``; prints what came of every method.

Beside it what came of its control.
Started by tests/pruning/test_split_models.py: ``python -m torch.distributed.run … split_model.py FOLDER``.
"""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist
from matrix import PRUNERS
from oracles import CASES, generate, stacked
from tiny_prompts import build
from tiny_random import MODELS
from transformers import AutoModelForImageTextToText

from hawk.ablation.ablate_heads import AblateHeads
from hawk.core.errors import InputError
from hawk.core.heads import Head
from hawk.models import family_of
from hawk.models.base import markers_of
from hawk.models.turns import remember_markers
from hawk.pruning import pruner


def outcome(
    name: str, model: torch.nn.Module, whole: torch.nn.Module, inputs: dict, plain: bool = False
) -> str:
    """ "same" as on the whole model, ``other``, or the message of the refusal.

    plain: leave the whole model as it is; what is the same all the same, is told by nothing.
    """
    found = []
    for each in (model, whole):
        if plain and each is whole:
            found.append(stacked(generate(each, **inputs, max_new_tokens=2, min_new_tokens=2)))
            continue
        if name == "ablation":
            given = AblateHeads([Head(0, 3)])
        else:
            method, options = PRUNERS[name]
            given = pruner(method, **options, pruning_ratio=0.6)
        try:
            with given.attach(each):
                found.append(stacked(generate(each, **inputs, max_new_tokens=2, min_new_tokens=2)))
        except InputError as error:
            return str(error)
    return "same" if torch.allclose(*found, rtol=0, atol=1e-4) else "other"


def main(folder: str) -> None:
    dist.init_process_group("gloo")
    whole = MODELS["qwen2_5_vl"]()
    model = AutoModelForImageTextToText.from_pretrained(folder, tp_plan="auto")
    remember_markers(model, markers_of(whole, family_of(whole)))
    inputs = build("qwen2_5_vl", CASES["mixed"])
    found = {name: outcome(name, model, whole, inputs) for name in [*PRUNERS, "ablation"]}
    same = [name for name, told in found.items() if told == "same"]
    control = {name: outcome(name, model, whole, inputs, plain=True) for name in same}
    if dist.get_rank() == 0:
        print("FOUND", json.dumps(found))
        print("CONTROL", json.dumps(control))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

"""One model, many threads and asyncio tasks: every call gives what it gives alone.

Small tests stop one call in the middle of its pass, let another thread call to the end, and go on: the
worst order, every time. The long one lets eight threads run freely.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import torch
from oracles import FAMILIES
from tiny_prompts import Image, build
from tiny_random import IMAGE, MODELS, VIDEO
from torch import Tensor, nn

from hawk.ablation.ablate_heads import AblateHeads
from hawk.ablation.shared_layers import LayersBelow
from hawk.core.errors import InputError
from hawk.core.heads import Head
from hawk.models import family_of
from hawk.models.hooks import Hooks
from hawk.pruning import pruner
from hawk.pruning.base import Pruner
from hawk.pruning.methods.unpruned import Unpruned
from hawk.pruning.prompt import prune

PRUNERS = {
    "hawk": ("hawk", {}),
    "hawk at layer 2": ("hawk", {"layer": 2}),
    "dart at layer 2": ("dart", {"layer": 2, "image_pivots": 3, "text_pivots": 2}),
    "fastv": ("fastv", {"layer": 1}),
    "visionzip": ("visionzip", {}),
}
CALLS = ("forward", "generate", "ablated", "shared layers", *PRUNERS)
OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in FAMILIES if name != "qwen2_5_vl"]
HOOKED = [name for name in CALLS if name not in ("forward", "generate", "hawk")]


def said(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Logits of the prompt's end and of some greedy steps."""
    out = model.generate(
        **inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False, suppress_tokens=[IMAGE, VIDEO],
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    return torch.stack(out.logits)


@torch.no_grad()
def call(name: str, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    if name == "forward":
        return model(**inputs).logits
    if name == "ablated":
        with AblateHeads([Head(1, 0)]).attach(model):
            return model(**inputs).logits
    if name == "shared layers":
        prompt = prune(Unpruned(), model, family_of(model), inputs)
        below = LayersBelow(model, family_of(model), 2, prompt)
        with below.reused():
            return model(**prompt.kwargs()).logits
    with of(name).attach(model):
        return said(model, inputs)


def of(name: str) -> Pruner:
    """A thread that attaches nothing is pruned by what others attached: plain ones attach that."""
    if name == "generate":
        return Unpruned()
    method, options = PRUNERS[name]
    return pruner(method, **options, pruning_ratio=0.6)


def inputs_of(family: str, name: str) -> dict[str, Tensor]:
    """Other pictures and words for every call. Plain ones share theirs: transformers itself keeps the
    last prompt's rotary offset on a Qwen model and decodes the next step with it."""
    number = 0 if name in ("forward", "generate") else CALLS.index(name)
    rows = [[20 + number, Image(2, 3), 21], *([[Image(2, 2 + number % 3), 30 + number]] if number else [])]
    return build(family, rows, range(10 * number, 10 * number + len(rows)))


def meanwhile(model: nn.Module, module: nn.Module, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """At this thread's next pass through ``module``, ``work`` runs in another thread to its end."""
    me, found = threading.get_ident(), []

    def stop(module: nn.Module, args: object) -> None:
        if threading.get_ident() == me and not found:
            found.append(None)
            with ThreadPoolExecutor(1) as pool:
                found[0] = pool.submit(work).result()

    handle = module.register_forward_pre_hook(stop)

    def result() -> Tensor:
        handle.remove()
        assert found, "the call never came there"
        return found[0]

    return result


def places(family: str, model: nn.Module) -> list[nn.Module]:
    """In the tower behind the layer that VisionZip reads, and in the decoder."""
    tower, projector = family_of(model).vision_modules(model)
    behind = projector if projector is not None else tower.merger
    return [behind, family_of(model).layers(model)[1]]


def interleaved(family: str, names: list[tuple[str, str]]) -> list[str]:
    """The pairs of calls of which one changed the other."""
    model, wrong = own_model(family), []
    alone = {name: call(name, model, inputs_of(family, name)) for name in CALLS}
    for (first, second), place in itertools.product(names, places(family, model)):
        result = meanwhile(model, place, lambda name=second: call(name, model, inputs_of(family, name)))
        try:
            found = call(first, model, inputs_of(family, first))
            same = torch.equal(found, alone[first]) and torch.equal(result(), alone[second])
        except Exception:
            same = False
            result()
        if not same:
            wrong.append(f"{first} | {second}")
    return wrong


@cache
def own_model(family: str) -> nn.Module:
    """One that tests of other files, which share theirs, have left nothing on."""
    return MODELS[family].__wrapped__()


def untouched(model: nn.Module) -> bool:
    modules = list(model.modules())
    hooks = any(m._forward_pre_hooks or m._forward_hooks for m in modules)
    return not hooks and not any({"forward", "generate"} & m.__dict__.keys() for m in modules)


EVERY_PAIR = [pair for pair in itertools.product(HOOKED, CALLS) if pair != ("shared layers",) * 2]
SOME_PAIRS = [(first, second) for first in HOOKED for second in ("forward", "visionzip")]  # of every hook


@pytest.mark.parametrize(
    ("family", "pairs"),
    [("qwen2_5_vl", SOME_PAIRS), *(pytest.param(f, EVERY_PAIR, marks=pytest.mark.long) for f in FAMILIES)],
)
def test_a_call_in_the_middle_of_another(family, pairs):
    """All but two of "shared layers", of which the second waits for the first."""
    assert interleaved(family, pairs) == []
    assert untouched(own_model(family))


def test_without_the_guard_every_hook_meets_the_others_passes(monkeypatch):
    """The control: what the test above finds when hooks act on every pass."""
    monkeypatch.setattr(Hooks, "opened_here", True)
    wrong = interleaved("qwen2_5_vl", [(first, "forward") for first in HOOKED])
    assert set(wrong) == {f"{first} | forward" for first in HOOKED}


def rounds(family: str, turns: int) -> tuple[dict[str, Tensor], Callable[[str], list[Tensor]]]:
    model = own_model(family)
    inputs = {name: inputs_of(family, name) for name in CALLS}
    alone = {name: call(name, model, inputs[name]) for name in CALLS}
    return alone, lambda name: [call(name, model, inputs[name]) for _ in range(turns)]


@pytest.mark.parametrize(
    ("family", "turns"), [("qwen2_5_vl", 2), *(pytest.param(f, 40, marks=pytest.mark.long) for f in FAMILIES)]
)
def test_threads_that_run_freely(family, turns):
    alone, work = rounds(family, turns)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(len(CALLS)) as pool:
            found = dict(zip(CALLS, pool.map(work, CALLS), strict=True))
    finally:
        sys.setswitchinterval(before)
    assert [n for n in CALLS for out in found[n] if not torch.equal(out, alone[n])] == []
    assert untouched(own_model(family))


@pytest.mark.parametrize(
    ("family", "turns"), [("qwen2_5_vl", 2), *(pytest.param(f, 10, marks=pytest.mark.long) for f in FAMILIES)]
)
def test_asyncio(family, turns):
    """Tasks that keep their pruner attached while others run in their thread; and ``to_thread``."""
    model = own_model(family)
    names = ["generate", *PRUNERS]
    inputs = {name: inputs_of(family, name) for name in names}
    alone = {name: call(name, model, inputs[name]) for name in names}

    async def serve(name: str, in_thread: bool) -> list[Tensor]:
        found = []
        with of(name).attach(model):
            for _ in range(turns):
                await asyncio.sleep(0)
                if in_thread:
                    found.append(await asyncio.to_thread(said, model, inputs[name]))
                else:
                    found.append(said(model, inputs[name]))
        return found

    async def everything() -> list[list[Tensor]]:
        return await asyncio.gather(*(serve(n, t) for n in names for t in (False, True)))

    for name, outs in zip([n for n in names for _ in range(2)], asyncio.run(everything()), strict=True):
        assert all(torch.equal(out, alone[name]) for out in outs), name
    assert untouched(model)


def test_an_error_in_one_thread_leaves_the_others_alone_and_no_hook_behind():
    family = "qwen2_5_vl"
    model = own_model(family)
    inputs = inputs_of(family, "fastv")
    broken = {**inputs, "pixel_values": inputs["pixel_values"] * float("nan")}
    alone = call("fastv", model, inputs)

    def fail(name: str) -> int:
        wrong = 0
        for _ in range(3):
            with pytest.raises(InputError, match="NaN"):
                call(name, model, broken)
            wrong += not torch.equal(call("fastv", model, inputs), alone)
        return wrong

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(fail, [*PRUNERS][1:])) == 0
    assert untouched(model)


def test_ablation_reaches_a_thread_that_has_its_context():
    """A plain thread has none: what it runs is another's call."""
    model, inputs = own_model("qwen2_5_vl"), inputs_of("qwen2_5_vl", "forward")
    plain, ablated = (call(name, model, inputs) for name in ("forward", "ablated"))
    with AblateHeads([Head(1, 0)]).attach(model), ThreadPoolExecutor(1) as pool:
        here = pool.submit(contextvars.copy_context().run, call, "forward", model, inputs).result()
        elsewhere = pool.submit(call, "forward", model, inputs).result()
    assert torch.equal(here, ablated)
    assert torch.equal(elsewhere, plain)
    assert not torch.equal(plain, ablated)

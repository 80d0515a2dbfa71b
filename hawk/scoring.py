"""Run a model over samples: prompts, batches, parsing, per-sample scores."""

from __future__ import annotations

import gc
import hashlib
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from hawk.benchmarks import Benchmark, Sample
from hawk.benchmarks.sources import pinned
from hawk.decoding import generate, reference_logprobs
from hawk.encoding import Recomputed, VisualFile, in_prompt_order, visual_files
from hawk.errors import InputError
from hawk.features import FeatureStore
from hawk.models.base import MODALITIES, VisionLanguageModel, VisualItem, by_modality
from hawk.models.loading import load
from hawk.progress import progress
from hawk.pruning.base import Pruner
from hawk.pruning.controls import Unpruned
from hawk.pruning.prompt import PrunedPrompt, prune


class Features(Protocol):
    """Key of an image or video → what the language model gets: from a file or the vision tower."""

    def __getitem__(self, key: str) -> VisualItem: ...

    def outline(self, key: str) -> VisualItem:
        """The same for whoever asks only for sizes and grids: its tensors may hold no data."""


def load_for(config: Mapping[str, Any], vision: bool) -> VisionLanguageModel:
    """The config's model, its declared layers and heads checked against the loaded one.

    Without a revision in the config it is the one that `hawk fetch` wrote down, if it did.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # in a log file every refresh is a line
    section = config["model"]
    torch.set_num_threads(section["threads"])
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, in the patch convolution too
    vlm = load(
        section["path"],
        revision=section["revision"] or pinned(section["path"], "model"),
        dtype=section["dtype"],
        attention=section["attention"],
        device=section["device"],
        vision=vision,
    )
    if not gc.isenabled():  # the command line turned it off for the imports
        gc.freeze()
        gc.enable()
    _refuse_sliding_windows(vlm)
    geometry = vlm.geometry
    for name in ("layers", "heads"):
        if section.get(name) not in (None, getattr(geometry, name)):
            raise InputError(
                f"model.{name} is {section[name]} in the config; {section['path']} has "
                f"{getattr(geometry, name)}."
            )
    return vlm


def _refuse_sliding_windows(vlm: VisionLanguageModel) -> None:
    kinds = getattr(vlm.family.text_config(vlm.model), "layer_types", None) or ()
    if any("sliding" in kind for kind in kinds):
        raise InputError(
            f"model.path {vlm.source['id']!r}: layers with sliding-window attention cannot be scored; "
            "their cache forgets what the reference's log-probability starts from."
        )


def features_for(
    config: Mapping[str, Any],
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    path: str | None,
    pruner: Pruner | None = None,
) -> Features:
    """Stored features, checked against model and preprocessing; or, without a path, the vision tower itself.

    pruner: one for which the tower must run (:attr:`Pruner.uses_tower`).
    """
    if path is None:
        return Recomputed(vlm, samples, config["preprocessing"], pruner)
    store = FeatureStore(path)
    store.check(vlm.source, config["preprocessing"])
    return store


class Prompts:
    """Samples as token ids, each with its images and video in prompt order."""

    def __init__(
        self,
        vlm: VisionLanguageModel,
        bench: Benchmark,
        samples: Sequence[Sample],
        features: Features,
        protocol: str,
    ) -> None:
        self.vlm, self.samples, self.features = vlm, samples, features
        self.files: list[list[VisualFile]] = []
        self.ids: list[list[int]] = []
        self.answers: list[list[int]] = []
        state = hashlib.sha256()
        tokenizer = vlm.processor.tokenizer
        for number, sample in enumerate(samples):
            messages = bench.messages(sample, protocol)
            self.files.append(in_prompt_order(messages, visual_files(vlm.family, sample)))
            items = [features.outline(file.key) for file in self.files[number]]
            text = vlm.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            text = _with_frames(text, vlm.processor, items)
            state.update(f"{text}\0".encode())
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            self.ids.append(vlm.family.expand(ids, items, vlm.model.config))
            answer = tokenizer(sample.references[0], add_special_tokens=False)["input_ids"]
            self.answers.append(answer or [tokenizer.eos_token_id])
        self.sha256 = state.hexdigest()  # of the texts as the model reads them, template included

    def items(self, number: int) -> list[VisualItem]:
        """A sample's images and video as encoded, in prompt order."""
        return [self.features[file.key] for file in self.files[number]]

    def inputs(self, chosen: Sequence[int]) -> dict[str, Any]:
        """A left-padded batch with its features, as ``generate`` takes them; unpruned."""
        vlm = self.vlm
        width = max(len(self.ids[i]) for i in chosen)
        pad = vlm.processor.tokenizer.pad_token_id
        ids = torch.full((len(chosen), width), pad)
        mask = torch.zeros(len(chosen), width, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, width - len(self.ids[i]) :] = torch.tensor(self.ids[i])
            mask[row, width - len(self.ids[i]) :] = 1
        items = [item for i in chosen for item in self.items(i)]
        outputs = vlm.family.encoder_outputs(*by_modality(items))
        device = vlm.model.device
        inputs = {"input_ids": ids, "attention_mask": mask, **vlm.family.stored_inputs(items)}
        inputs = {key: value.to(device) for key, value in inputs.items()}
        observed = [[item.observed for item in items if item.modality == m] for m in MODALITIES]
        if not any(one is None for found in observed for one in found):
            inputs["observed"] = [torch.cat(found) for found in observed if found]
        return {**inputs, "mm_encoder_outputs": outputs}


def _with_frames(text: str, processor: Any, items: Sequence[VisualItem]) -> str:
    """Videos' placeholders replaced by how the processor shows their frames, where it does so."""
    written = [item.meta["text"] for item in items if "text" in item.meta]
    if not written:
        return text
    parts = text.split(processor.video_token)
    if len(parts) != len(written) + 1:
        raise InputError(f"the prompt has {len(parts) - 1} video placeholders for {len(written)} videos.")
    return "".join(part + between for part, between in zip(parts, [*written, ""], strict=True))


def batches(lengths: Sequence[int], size: int, shuffle: int | None = None) -> list[list[int]]:
    """Sample numbers in batches of like length, or, for a repeat, of shuffled composition."""
    if size < 1:
        raise InputError(f"generation.batch_size: {size}; it must be 1 or more.")
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


@torch.inference_mode()
def score_samples(
    prompts: Prompts,
    bench: Benchmark,
    protocol: str,
    batch_size: int,
    pruner: Pruner | None = None,
    ablation: AbstractContextManager[Any] | None = None,
    shuffle: int | None = None,
    queries: Sequence[Tensor] | None = None,
    what: str = "score",
) -> list[dict[str, Any]]:
    """Generate and score every sample; rows as in ``records.SCORES``, in the samples' order.

    pruner: None keeps every visual token, through the same code.
    ablation: an open-able context in which the model runs (:meth:`AblateHeads.attach`).
    shuffle: seed of another batch composition, for repeats.
    queries: per sample the ids of another sample's question, for the shuffled-query control.
    """
    pruner = pruner or Unpruned()
    rows: list[dict[str, Any] | None] = [None] * len(prompts.samples)
    with ablation or nullcontext():
        for chosen in progress(batches([*map(len, prompts.ids)], batch_size, shuffle), what):
            asked = None if queries is None else [queries[i] for i in chosen]
            scored = score_batch(prompts, bench, protocol, pruner, chosen, asked)
            for i, row in zip(chosen, scored, strict=True):
                rows[i] = row
    return [row for row in rows if row is not None]


def score_batch(
    prompts: Prompts,
    bench: Benchmark,
    protocol: str,
    pruner: Pruner,
    chosen: Sequence[int],
    queries: Sequence[Tensor] | None,
) -> list[dict[str, Any]]:
    """Generate and score one batch; its rows in order. A sample may occur more than once."""
    prompt = prepared(prompts, bench, pruner, chosen, queries)
    return score_prompt(prompts, bench, protocol, pruner, prompt, chosen)


def prepared(
    prompts: Prompts,
    bench: Benchmark,
    pruner: Pruner,
    chosen: Sequence[int],
    queries: Sequence[Tensor] | None = None,
) -> PrunedPrompt:
    """The batch as the model will get it."""
    vlm = prompts.vlm
    keys = [f"{bench.name}:{prompts.samples[i].sample_id}" for i in chosen]
    return prune(pruner, vlm.model, vlm.family, prompts.inputs(chosen), keys, queries)


def score_prompt(
    prompts: Prompts,
    bench: Benchmark,
    protocol: str,
    pruner: Pruner,
    prompt: PrunedPrompt,
    chosen: Sequence[int],
) -> list[dict[str, Any]]:
    """Generate and score a prepared batch. ``pruner`` is the one that prepared it."""
    vlm = prompts.vlm
    samples = [prompts.samples[i] for i in chosen]
    with pruner.hooks(vlm.model, vlm.family):
        texts, first, cache = generate(vlm, prompt, bench.max_new_tokens(protocol))
        logprobs = reference_logprobs(vlm, prompt, first, cache, [prompts.answers[i] for i in chosen])
    last = pruner.last
    out = []
    for row, (sample, text) in enumerate(zip(samples, texts, strict=True)):
        parsed = bench.parse(text, sample, protocol)
        out.append(
            {
                "sample_id": sample.sample_id,
                "prediction": text,
                "parsed": parsed,
                "score": 0.0 if parsed is None else float(bench.score(parsed, sample, protocol)),
                "reference_logprob": logprobs[row],
                "prompt_tokens": prompt.prompt_tokens[row],
                "visual_tokens": last.visual_tokens[row],
                "kept_tokens": last.kept_tokens[row],
            }
        )
    return out

"""Samples as token ids with their visual features, in batches as generate takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from hawk.benchmarks import Benchmark, Sample
from hawk.core.errors import InputError
from hawk.inference.margins import FirstTokens
from hawk.inference.preprocessing import adds_special_tokens, sample_text
from hawk.inference.relevant import relevant_tokens
from hawk.inference.visual_files import VisualFile, in_prompt_order, visual_files
from hawk.models.base import MODALITIES, VisionLanguageModel, VisualItem, by_modality


class Features(Protocol):
    """Key of an image or video → what the language model gets: from a file or the vision tower."""

    def __getitem__(self, key: str) -> VisualItem: ...

    def outline(self, key: str) -> VisualItem:
        """The same for whoever asks only for sizes and grids: its tensors may hold no data."""


class AnswerTokenizer:
    """Answers as they stand behind a prompt: some templates write a blank between "Assistant:" and answer.

    To a tokenizer that takes blanks with words, "yes" and " yes" are other tokens, and a model of such a
    template answers with the second. Called as a tokenizer is.
    """

    def __init__(self, processor: Any) -> None:
        self.tokenizer = processor.tokenizer
        self.eos_token_id = self.tokenizer.eos_token_id
        turns = [{"role": r, "content": [{"type": "text", "text": "@"}]} for r in ("user", "assistant")]
        opened: str = processor.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        whole: str = processor.apply_chat_template(turns, tokenize=False)
        blank = whole.removeprefix(opened).partition("@")[0]
        self.before, self.blank = (opened[-1:], blank) if blank.isspace() else ("", "")

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        def ids(text: str) -> list[int]:
            return list(self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])

        before, whole = ids(self.before), ids(self.before + self.blank + text)
        if not text or whole[: len(before)] != before:
            return {"input_ids": ids(text)}
        return {"input_ids": whole[len(before) :]}


class Prompts:
    """Samples as token ids, each with its images and video in prompt order."""

    def __init__(
        self,
        vlm: VisionLanguageModel,
        bench: Benchmark,
        samples: Sequence[Sample],
        features: Features,
        protocol: str,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:
        self.vlm, self.bench, self.protocol = vlm, bench, protocol
        self.samples, self.features = samples, features
        self.preprocessing = preprocessing or {}
        self.files: list[list[VisualFile]] = []
        self.ids: list[list[int]] = []
        self.answers: list[list[int]] = []
        self.first_tokens: list[FirstTokens] = []
        state = hashlib.sha256()
        tokenizer, answers = vlm.processor.tokenizer, AnswerTokenizer(vlm.processor)
        for number, sample in enumerate(samples):
            messages = bench.messages(sample, protocol)
            self.files.append(in_prompt_order(messages, visual_files(vlm.family, sample)))
            items = [features.outline(file.key) for file in self.files[number]]
            text = sample_text(vlm, bench, sample, messages)
            text = _with_frames(text, vlm.processor, items)
            state.update(f"{text}\0".encode())
            ids = tokenizer(text, add_special_tokens=adds_special_tokens(tokenizer, text))["input_ids"]
            self.ids.append(vlm.family.expand(ids, items, vlm.model.config))
            answer = answers(sample.references[0])["input_ids"]
            self.answers.append(answer or [tokenizer.eos_token_id])
            self.first_tokens.append(FirstTokens.of(answers, bench, sample))
        self.sha256 = state.hexdigest()  # of the texts as the model reads them, template included

    def items(self, number: int) -> list[VisualItem]:
        """A sample's images and video as encoded, in prompt order."""
        return [self.features[file.key] for file in self.files[number]]

    def relevant_tokens(self, number: int) -> Tensor:
        """Which visual tokens of a sample show what its question asks for, bool [n].

        The sample says where that is and was read with its image, whose size the boxes refer to.
        """
        sample, (file, *others) = self.samples[number], self.files[number]
        if sample.relevant is None:
            raise InputError(
                f"benchmark {self.bench.name!r}, sample {sample.sample_id!r}: where the asked object is, is "
                "not known (relevant)."
            )
        assert isinstance(file.source, bytes)
        assert not others, "boxes are of one image"
        item = self.items(number)[0]
        return relevant_tokens(self.vlm, file.source, item, sample.relevant, self.preprocessing)

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
        if not any(numbers is None for run in observed for numbers in run):
            inputs["observed"] = [torch.cat(run) for run in observed if run]
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

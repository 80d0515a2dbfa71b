"""Several questions about one image in one sequence, each computed as if it stood alone.

    header (turn start, image)   question 1, answer   question 2, answer   ...

A question attends to the header and to itself, and its positions start where the header ends. So
its logits are those of the single-turn prompt, but the image, most of the sequence, is computed
once for all questions.

The answer is a target not only where the turn of the assistant begins but from the question's last
word on. At that word a model need only look up what the word names; from where a turn begins it must
find the word first. With `clues` the last word of "is there a green 4?" has the colour of the 4 as its
target: what is left is to compare it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hawk.benchmarks.toy.questions import Question
from hawk.training.architectures import TinyModel

SUPERVISED = 2  # the answer's token and the end of the turn, as the last targets of a question


@dataclass(frozen=True)
class Packed:
    """`sequences` rows of `header + slots * width` tokens."""

    ids: torch.Tensor  # [sequences, length]
    positions: torch.Tensor  # [3, 1, length] with mRoPE, else [1, length]
    mask: torch.Tensor  # [1, 1, length, length], added to attention logits
    sources: torch.Tensor  # [sequences, slots, ahead + 2], places that predict the targets
    targets: torch.Tensor  # of the same shape: the answer every time, then the end of the turn


class Packer:
    """Packs questions for one model; keeps the tokens of every text it has seen."""

    def __init__(self, tiny: TinyModel) -> None:
        self.tiny = tiny
        self.tokenizer = tiny.processor.tokenizer
        before, _, self._after = tiny.prompt("QUESTION").partition("QUESTION")
        # The question's last word, its mark, and the template's tokens but the last.
        self.ahead = 1 + len(self.tokenizer(self._after, add_special_tokens=False)["input_ids"])
        blank = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
        inputs = tiny.processor(images=[blank], text=[before], return_tensors="pt")
        self.header = inputs["input_ids"][0]  # [header]
        self.is_visual = self.header == tiny.model.config.image_token_id
        self._header_positions = self._positions(inputs)  # [3, 1, header] or [1, header]
        self._bodies: dict[Question, tuple[list[int], int]] = {}
        self._layouts: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def _positions(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.tiny.family != "qwen2_5_vl":
            return torch.arange(len(self.header))[None]
        positions, _ = self.tiny.model.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
        )
        return positions

    def _body(self, question: Question) -> tuple[list[int], int]:
        """The rest of the prompt, the answer, and the end of the turn; and the clue."""
        if question not in self._bodies:
            ids = self.tokenizer(question.text + self._after, add_special_tokens=False)["input_ids"]
            answer, clue = (
                self.tokenizer.convert_tokens_to_ids(word)
                for word in (question.answer, question.clue or question.answer)
            )
            self._bodies[question] = [*ids, answer, self.tokenizer.eos_token_id], clue
        return self._bodies[question]

    def pack(self, questions: list[list[Question]], clues: bool = False) -> Packed:
        """One row per image; every image has the same number of questions."""
        bodies = [[self._body(question) for question in row] for row in questions]
        slots, width = len(bodies[0]), max(len(body) for row in bodies for body, _ in row)
        start = len(self.header)
        ids = torch.full((len(bodies), start + slots * width), self.tokenizer.pad_token_id)
        ids[:, :start] = self.header
        targeted = self.ahead + SUPERVISED
        sources = torch.empty(len(bodies), slots, targeted, dtype=torch.long)
        targets = torch.empty_like(sources)
        for i, row in enumerate(bodies):
            for slot, (body, clue) in enumerate(row):
                first, length = start + slot * width, len(body)
                ids[i, first : first + length] = torch.tensor(body)
                sources[i, slot] = torch.arange(first + length - 1 - targeted, first + length - 1)
                first_target = clue if clues else body[-2]
                targets[i, slot] = torch.tensor([first_target, *[body[-2]] * self.ahead, body[-1]])
        return Packed(ids, *self._layout(slots, width), sources, targets)

    def _layout(self, slots: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and mask. Padding stands at the end of a slot, so causality alone hides it."""
        if (slots, width) not in self._layouts:
            start = len(self.header)
            first = self._header_positions[..., -1:] + 1
            body = (first + torch.arange(width)).repeat(*[1] * (first.dim() - 1), slots)
            positions = torch.cat([self._header_positions, body], dim=-1)
            place = torch.arange(start + slots * width)
            slot = torch.where(place < start, -1, (place - start) // width)
            visible = (slot[None, :] == -1) | (slot[:, None] == slot[None, :])
            allowed = visible & (place[None, :] <= place[:, None])
            self._layouts[slots, width] = positions, _additive(allowed)[None, None]
        return self._layouts[slots, width]

    def logits(
        self, packed: Packed, features: torch.Tensor, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits `[sequences, slots, ahead + 2, vocabulary]` at the places that predict answers.

        `features` are `[sequences, 64, hidden]`. `kept`, bool `[sequences, 64]`, hides the other visual
        tokens from everything, which is the same as to leave them out and the rest where it was.
        """
        model = self.tiny.model
        embedded = model.get_input_embeddings()(packed.ids)
        is_visual = torch.zeros(packed.ids.shape[1], dtype=torch.bool)
        is_visual[: len(self.header)] = self.is_visual
        embedded[:, is_visual] = features.to(embedded.dtype)
        positions = packed.positions.expand(*packed.positions.shape[:-2], len(embedded), -1)
        mask = packed.mask
        if kept is not None:
            hidden_column = torch.zeros(len(kept), mask.shape[-1], dtype=torch.bool)
            hidden_column[:, is_visual] = ~kept
            mask = mask.masked_fill(hidden_column[:, None, None], torch.finfo(mask.dtype).min)
        hidden = model.model.language_model(
            inputs_embeds=embedded,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        index = packed.sources.flatten(1)[..., None].expand(-1, -1, hidden.shape[-1])
        return model.lm_head(hidden.gather(1, index)).unflatten(1, packed.sources.shape[1:])


def _additive(allowed: torch.Tensor) -> torch.Tensor:
    """0 where attention is allowed, the most negative number elsewhere."""
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)

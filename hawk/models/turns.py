"""Where the turns of a prompt are: a chat template as token ids, and the question found by them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hawk.core.errors import InputError

USER = "<|im_start|>user"  # opens a user turn in the chat templates of all families


@dataclass(frozen=True)
class Markers:
    """Token ids of the chat template, needed to find the instruction inside a prompt.

    ``user``: the ids that open a user turn; ``end``: those that close it, or that open the answer where a
    template closes no turn; ``visual``: ids around visual tokens that are neither text nor visual tokens.
    ``newline``: the template's line break between ``user`` and the text. It is no part of ``user``, for a
    tokenizer merges it with a text that begins with one; such a token is text.
    """

    user: tuple[int, ...]
    end: tuple[int, ...]
    visual: frozenset[int] = frozenset()
    newline: int | None = None


def chatml_markers(tokenizer: Any, visual: frozenset[int] = frozenset()) -> Markers:
    """Of templates that write ``<|im_start|>user``, a line break, the text and ``<|im_end|>``."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    user = ids(USER)
    for text in ("\n", "\n\n", " a"):
        if ids(USER + text)[: len(user)] != user:
            raise InputError(
                f"the tokenizer merges {USER!r} with {text!r} behind it, so no user turn can be found."
            )
    newline = ids(f"{USER}\n")[len(user) :]
    return Markers(
        user=tuple(user),
        end=(token_id(tokenizer, "<|im_end|>"),),
        visual=visual,
        newline=newline[0] if len(newline) == 1 else None,
    )


def token_id(tokenizer: Any, text: str) -> int:
    """The id of one token of a vocabulary, by its text."""
    token = tokenizer.convert_tokens_to_ids(text)
    if token is None or token == getattr(tokenizer, "unk_token_id", None):
        raise InputError(f"the tokenizer has no {text!r} token, which this family's chat template needs.")
    return token


# Chat-template ids of models whose processor is known (those that hawk.load made). Weak: an entry
# goes with its model, and nothing is written into the model.
_MARKERS: weakref.WeakKeyDictionary[nn.Module, Markers] = weakref.WeakKeyDictionary()


_TOKENIZERS: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


def remember_markers(model: nn.Module, markers: Markers, tokenizer: Any = None) -> None:
    """tokenizer: for :func:`text_of`, where it is known."""
    _MARKERS[model] = markers
    if tokenizer is not None:
        _TOKENIZERS[model] = tokenizer


def remembered_markers(model: nn.Module) -> Markers | None:
    return _MARKERS.get(model)


def text_of(model: nn.Module, ids: Sequence[int]) -> str:
    """Token ids of a model's prompt as text, without special tokens.

    Raises InputError for a model whose processor is not known.
    """
    if model not in _TOKENIZERS:
        raise InputError(
            "the question's text is needed and the model's tokenizer is not known; load the model with "
            "hawk.load, or pass the processor to attach."
        )
    return str(_TOKENIZERS[model].decode(list(ids), skip_special_tokens=True)).strip()


def instruction_index(ids: Sequence[int], visual: set[int], markers: Markers, span: str) -> list[int]:
    """Positions of the query text in one unpadded prompt (HAWK, section 3: the text tokens).

    ``instruction``: the text of the last user turn wherever it stands, without template and visual
    tokens. ``all_turns``: the same of every user turn. ``after_vision``: what follows the last visual
    token up to the last end of a turn. ``authors``: as their code has it, which looks for that end one
    token later; where the turn ends with an image it finds none, and takes everything to the prompt's end.
    ``last_token``: the prompt's last token, from which the answer is generated.
    An empty span falls back to the last token before the turn's end. A prompt without a user turn is an
    error: any other span would be a guess.
    """
    if span == "last_token":
        return [len(ids) - 1]
    skip = visual | markers.visual
    if span in ("after_vision", "authors"):
        last = max((i for i, token in enumerate(ids) if token in skip), default=-1)
        ends = [i for i in _places(ids, markers.end) if i > last + (span == "authors")]
        end = ends[-1] if ends else len(ids)
        return list(range(last + 1, end)) or [max(last, 0)]
    starts = _places(ids, markers.user)
    if not starts:
        raise InputError(
            f"the prompt has no user turn (the token ids {list(markers.user)}), so its question cannot be "
            "told. Make the prompt with the processor's chat template, or set query_span: after_vision."
        )
    found: list[int] = []
    for start in starts if span == "all_turns" else starts[-1:]:
        begin = start + len(markers.user)
        begin += begin < len(ids) and ids[begin] == markers.newline
        end = next((i for i in _places(ids, markers.end) if i >= begin), len(ids))
        found += [i for i in range(begin, end) if ids[i] not in skip]
    return found or [max(end - 1, 0)]


def _places(ids: Sequence[int], part: tuple[int, ...]) -> list[int]:
    """Where ``part`` begins in ``ids``."""
    found: list[int] = []
    begin = 0
    while True:  # from one token like its first to the next: of a long prompt few are
        try:
            begin = ids.index(part[0], begin)
        except ValueError:
            return found
        if tuple(ids[begin : begin + len(part)]) == part:
            found.append(begin)
        begin += 1

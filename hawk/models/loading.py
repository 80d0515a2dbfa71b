"""Load a checkpoint through the public Auto classes; nothing is patched and no remote code is run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import is_flash_attn_2_available

from hawk.core.errors import InputError, unknown
from hawk.core.shipped import check_model_folder, resolve
from hawk.core.values import refuse
from hawk.models import allowed_types, family_by_config, packed
from hawk.models.base import Family, VisionLanguageModel
from hawk.models.turns import remember_markers

DTYPES = ("float32", "bfloat16", "float16")
_CHECKED = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ATTENTION = ("eager", "sdpa", "flash_attention_2", packed.NAME)


def resolve_device(device: str | torch.device) -> str:
    try:
        device = device if device == "auto" else str(torch.device(device))
    except (RuntimeError, TypeError):
        raise refuse("model.device", device, "auto, cpu, cuda or cuda:NUMBER") from None
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "meta":
        raise InputError("model.device is 'meta', which computes nothing; use auto or cpu.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"model.device is {device!r}, but torch sees no CUDA device; use auto or cpu.")
    return device


def read(kind: Any, path: str, what: str, revision: str | None = None, option: str = "model.path") -> Any:
    """``kind.from_pretrained``; what is wrong with a checkpoint is said in words.

    option: where the path was given, for messages.
    """
    try:
        return kind.from_pretrained(resolve(path), revision=revision, trust_remote_code=False)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        StrictDataclassError,
    ) as error:
        reason = str(error).strip().split("\n")[0]
        if "trust_remote_code" in str(error):
            reason = (
                "it comes with code of its own, which hawk never runs. Take the checkpoint in "
                "transformers' format; InternVL's names end in -hf."
            )
        elif "does not recognize this architecture" in reason and option == "model.path":
            reason = f"{reason.split('. This could')[0]}. {allowed_types()}"
        elif isinstance(error, OSError) and not Path(path).is_dir():
            reason += " Is the name right, and was it downloaded (`hawk fetch`)?"
        raise InputError(f"{option} {path!r}: its {what} cannot be read: {reason}") from None


def read_config(path: str, revision: str | None = None) -> tuple[Any, Family]:
    """A checkpoint's config and its family; a model that hawk cannot prune or measure is refused."""
    config = read(AutoConfig, path, "config", revision)
    try:
        return config, family_by_config(config)
    except InputError as error:
        raise InputError(f"model.path {path!r}: {error}") from None


def read_weights(kind: Any, path: str, option: str = "model.path", **kwargs: Any) -> Any:
    """``kind.from_pretrained`` of a model, whole: what a checkpoint lacks or has too much is refused."""
    try:
        model, loaded = kind.from_pretrained(
            resolve(path),
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named and refused below, all at once
            **kwargs,
        )
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk that fails is no damaged file
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{option} {path!r}: its weights cannot be read: {reason}") from None
    _refuse_incomplete(f"{option} {path!r}", loaded)
    return model


NAMED = 5  # tensors that a message names
COMPUTED = ("rotary_emb.inv_freq", "embeddings.position_ids")  # not read; older files hold them all the same


def _refuse_incomplete(which: str, loaded: Mapping[str, Any]) -> None:
    """A tensor that the checkpoint lacks, or has in another shape, would be random: another model every time.

    Tied weights, which a checkpoint holds once, are not missing. Tensors that the model has no place for
    are none of it; they are named too, for they tell of another architecture.
    """
    for kind, what in (
        ("missing_keys", "lacks"),
        ("mismatched_keys", "has in another shape"),
        ("unexpected_keys", "has, but the model has no place for,"),
    ):
        names = sorted(key if isinstance(key, str) else str(key[0]) for key in loaded.get(kind) or ())
        names = [name for name in names if not name.endswith(COMPUTED)]
        if names:
            raise InputError(
                f"{which}: the checkpoint {what} {_listed(names)}; "
                "it is incomplete or of another architecture."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


@torch.no_grad()
def _refuse_not_finite(path: str, model: nn.Module, dtype: str) -> None:
    """One NaN or infinity empties every answer and makes every score NaN; in float16 65520 is one.

    Smallest and largest, since neither overflows as a sum does and both pass NaN on: one reading of the
    weights where they are (0.08 s per 100 million in bfloat16 on one CPU thread), one wait.
    """
    stored = model.state_dict()  # and no buffers that the model computes
    parts = [*model.named_parameters(), *((n, part) for n, part in model.named_buffers() if n in stored)]
    parts = [(name, part) for name, part in parts if part.dtype in _CHECKED and part.numel()]
    finite = torch.stack([torch.stack(part.aminmax()).isfinite().all() for _, part in parts])
    names = [name for (name, _), good in zip(parts, finite.tolist(), strict=True) if not good]
    if names:
        raise InputError(
            f"model.path {path!r}: NaN or infinity, read as {dtype}, in {_listed(names)}; only finite "
            "weights are allowed. The checkpoint is damaged, or its dtype is too narrow for it."
        )


def load(
    path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: str = "float32",
    attention: str = "sdpa",
    device: str = "auto",
    vision: bool = True,
) -> VisionLanguageModel:
    """Load model, processor and family.

    ``vision=False`` drops the vision tower after loading, for jobs that work on stored features.
    attention: "eager", "sdpa", "flash_attention_2", or "varlen": sdpa in the language model, and torch's own
    flash attention in a vision tower that packs its windows (:mod:`hawk.models.packed`; Qwen, on a GPU).
    Raises InputError for a missing folder, an unknown family, a text-only model, or
    ``flash_attention_2`` without its package.
    """
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    check_model_folder(path)
    if revision is not None and os.path.isdir(resolve(path)):
        raise InputError(
            f"model.path {path!r} is a folder here, which has no revision {revision!r}; "
            "a revision is for a model on the Hub."
        )
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if attention not in ATTENTION:
        raise unknown("attention implementation", attention, ATTENTION)
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise InputError(
            "model.attention is 'flash_attention_2', but the package flash-attn is not installed "
            "or there is no CUDA device; use sdpa or eager."
        )
    if attention == "flash_attention_2" and dtype == "float32":
        raise InputError("flash_attention_2 computes in bfloat16 or float16; the model's dtype is 'float32'.")
    config, family = read_config(path, revision)
    varlen = attention == packed.NAME
    if varlen:
        packed.check(family, dtype, resolve_device(device))
    model = read_weights(
        AutoModelForImageTextToText,
        path,
        revision=revision,
        dtype=getattr(torch, dtype),
        attn_implementation="sdpa" if varlen else attention,
    )
    if not vision:
        family.drop_vision(model)
    elif varlen:
        packed.use(model)
    model = model.to(resolve_device(device)).eval()
    model.requires_grad_(False)
    _refuse_not_finite(path, model, dtype)
    processor = read(AutoProcessor, path, "processor", revision)
    processor.tokenizer.padding_side = "left"
    remember_markers(model, family.markers(processor.tokenizer, config), processor.tokenizer)
    commit = getattr(config, "_commit_hash", None) or revision
    source = {"id": str(path), "revision": commit, "dtype": dtype, "attention": attention}
    return VisionLanguageModel(model=model, processor=processor, family=family, source=source)

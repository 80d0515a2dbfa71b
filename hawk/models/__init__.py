"""Model families by ``config.model_type``, and loading of checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hawk.core.errors import InputError, unknown
from hawk.models.refused import check_attention, why_refused

if TYPE_CHECKING:
    from hawk.models.base import Family

# config.model_type → "module:class". Adding a family is one new file and one line here.
REGISTRY: dict[str, str] = {
    "qwen2_vl": "hawk.models.qwen2_vl:Qwen2VL",
    "qwen2_5_vl": "hawk.models.qwen2_5_vl:Qwen2_5VL",
    "qwen3_vl": "hawk.models.qwen3_vl:Qwen3VL",
    "idefics3": "hawk.models.idefics3:Idefics3",
    "smolvlm": "hawk.models.idefics3:SmolVLM",
    "internvl": "hawk.models.internvl:InternVL",
    "llava": "hawk.models.llava:Llava",
    "llava_next": "hawk.models.llava_next:LlavaNext",
    "llava_onevision": "hawk.models.llava_onevision:LlavaOneVision",
}


def family_by_type(model_type: str) -> Family:
    """The family of a ``config.model_type``; an unknown one is an error that lists the known."""
    if model_type not in REGISTRY:
        why = why_refused(model_type)
        if why is not None:
            raise InputError(f"{model_type!r} models are not supported: {why}.")
        error = unknown("model family (config.model_type)", model_type, REGISTRY)
        raise type(error)(f"{error} To add one: one file in hawk/models/ and one line in its registry.")
    module, _, cls = REGISTRY[model_type].partition(":")
    return getattr(import_module(module), cls)()


def family_of(model: Any) -> Family:
    """The family of a loaded transformers model; one whose attention does not fit is refused."""
    family = family_by_type(model.config.model_type)
    check_attention(model.config)
    return family

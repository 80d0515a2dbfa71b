"""Model families by ``config.model_type``, and loading of checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hawk.core.errors import InputError
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
    """The family of a ``config.model_type``; any other is refused, with the reason where it is known."""
    if model_type not in REGISTRY:
        why = why_refused(model_type) or "no family is registered for them (hawk/models/__init__.py)"
        raise _not_supported(model_type, why)
    module, _, cls = REGISTRY[model_type].partition(":")
    return getattr(import_module(module), cls)()


def family_by_config(config: Any) -> Family:
    """The family of a transformers config; a model that hawk cannot prune or measure is refused."""
    if config.model_type not in REGISTRY and not config.sub_configs:
        raise _not_supported(config.model_type, "their config has no vision_config: they read no images")
    family = family_by_type(config.model_type)
    check_attention(config)
    family.check_config(config)
    return family


def family_of(model: Any) -> Family:
    """The family of a loaded transformers model; one that hawk cannot prune or measure is refused."""
    return family_by_config(model.config)


def _not_supported(model_type: str, why: str) -> InputError:
    return InputError(f"{model_type!r} models are not supported: {why}. {allowed_types()}")


def allowed_types() -> str:
    """The families, as a sentence for messages."""
    return f"Allowed (config.model_type): {', '.join(sorted(REGISTRY))}."

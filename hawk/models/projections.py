"""What may be read off a projection by hand, and how those that adapt to the row want to be called."""

from __future__ import annotations

from torch import Tensor, nn

from hawk.core.errors import InputError


def plain(projection: nn.Module, states: Tensor) -> bool:
    """Whether its weight is all there is to it, so that products with the weight are its products.

    Not so with an adapter or another forward around it, a hook on it, a quantized or sharded weight
    (a subclass of torch's tensor), or a weight that is elsewhere while it is not used.
    """
    weight = getattr(projection, "weight", None)
    return (
        type(projection) is nn.Linear
        and isinstance(weight, Tensor)
        and type(weight) in (Tensor, nn.Parameter)
        and weight.dtype == states.dtype
        and weight.device == states.device
        # accelerate's forward only moves things, and here the weight is where the states are.
        and ("forward" not in projection.__dict__ or hasattr(projection, "_hf_hook"))
        and not projection._forward_pre_hooks
        and not projection._forward_hooks
    )


def refuse_sharded(projection: nn.Module, what: str) -> None:
    """Refuse one of which every process has some heads only (``tp_plan``)."""
    if any(hasattr(weight, "device_mesh") for weight in projection.parameters()):
        raise InputError(
            f"{what} is split over processes (tp_plan, FSDP), and each would see its own heads only: "
            "not supported. Load the model with device_map instead."
        )


def copies_of_a_row(model: nn.Module, batch: int) -> int:
    """How often adapted modules want to see each of ``batch`` rows, in adjacent copies: 1 but for beams.

    With ``generate(adapter_names=…)`` peft tells every adapted module the adapter of each row that the
    model will see, by hooks that hold for the whole call: with beams that is one per beam.
    """
    if not hasattr(model, "peft_config"):
        return 1
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            names = getattr(hook, "keywords", {}).get("adapter_names")
            if names is not None:
                return max(1, len(names) // batch)
    return 1

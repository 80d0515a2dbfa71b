"""What a model computes on."""

from __future__ import annotations

import platform

import torch
from torch import nn

from hawk.core.errors import InputError


def inference_device(model: nn.Module) -> torch.device:
    """Where the model computes: of its first weight, or where accelerate brings that when it is used."""
    device = next(model.parameters()).device
    if device.type != "meta":
        return device
    hooks = [hook for module in model.modules() if (hook := getattr(module, "_hf_hook", None)) is not None]
    parts = [part for hook in hooks for part in getattr(hook, "hooks", [hook])]
    devices = [part.execution_device for part in parts if getattr(part, "execution_device", None) is not None]
    if not devices:
        raise InputError("the model's weights are on the meta device: it has none to compute with.")
    return torch.device(devices[0])


def hardware_name(device: torch.device) -> str:
    """What a result ran on, in words: the GPU's name, else the processor's kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()

"""A second device on the CPU: tensors that say "cuda:0", hold CPU data, and do not mix with CPU tensors.

As CUDA does, it takes a CPU tensor only as a number without dimension, as an index, and to copy it.
It also writes down whenever the CPU would wait for it: where a value, or a size that depends on values, is
read.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from hawk.models import loading
from hawk.pruning import replay

GPU, A, T = torch.device("cuda", 0), torch.ops.aten, torch.Tensor
COPIES, INDEXED = (A.copy_, A._to_copy), (A.index, A.index_put, A.index_put_, A._index_put_impl_)

# Operations whose result is a number, or has a size, that only the device knows.
READS = (
    A._local_scalar_dense, A.item, A.is_nonzero, A.equal, A.allclose, A.nonzero, A.masked_select, A._unique,
    A._unique2, A.unique_dim, A.unique_consecutive, A.unique_dim_consecutive, A.bincount,
)  # fmt: skip
WAITS: list[str] = []  # of the open simulation: the operation, and the line of hawk that asked for it


def waited(what: object) -> None:
    stack = [frame for frame in traceback.extract_stack() if "/hawk/" in frame.filename]
    where = f"{stack[-1].filename.rpartition('/hawk/')[2]}:{stack[-1].lineno}" if stack else "outside hawk"
    WAITS.append(f"{what} {where}")


def reads(kind: object, args: tuple, kwargs: dict) -> bool:
    """Whether an operation makes the CPU wait for what the device has computed."""
    if not any(isinstance(one, OnGpu) for one in tree_leaves((args, kwargs))):
        return False
    if kind in INDEXED and isinstance(args[0], OnGpu):
        # values[index] = number, and an index on the CPU, are copied there first, and the copy is waited for.
        if any(isinstance(one, T) and not isinstance(one, OnGpu) for one in (*args[1], *args[2:3])):
            return True
    if kind in INDEXED:
        return any(isinstance(one, OnGpu) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
    if kind is A.repeat_interleave:  # of a tensor of counts; a number of copies never comes here
        return kwargs.get("output_size") is None
    if kind is A.copy_:
        return not isinstance(args[0], OnGpu)
    return kind in READS or (kind is A._to_copy and torch.device(kwargs.get("device") or GPU) != GPU)


class OnGpu(T):
    __torch_function__ = torch._C._disabled_torch_function_impl
    __torch_dispatch__ = classmethod(lambda cls, func, types, args=(), kwargs=None: run(func, args, kwargs))


def wrap(value):
    if not isinstance(value, T) or isinstance(value, OnGpu):
        return value
    with torch.inference_mode(False):
        shape = (value.shape, value.stride(), value.storage_offset())
        made = T._make_wrapper_subclass(OnGpu, *shape, dtype=value.dtype, device=GPU)
    made.on_cpu = value
    return made


def run(func, args, kwargs):
    kwargs, kind = dict(kwargs or {}), getattr(func, "overloadpacket", func)
    to, every = kwargs.get("device"), [one for one in tree_leaves((args, kwargs)) if isinstance(one, T)]
    known = {id(one.on_cpu): one for one in every if isinstance(one, OnGpu)}
    ours = every if kind not in INDEXED or not isinstance(args[0], OnGpu) else args[2:3]
    mixed = known and kind not in COPIES and any(one.dim() and not isinstance(one, OnGpu) for one in ours)
    if (mixed and "shallow_copy" not in str(func)) or (to == GPU and kwargs.get("generator")):
        raise RuntimeError(f"{func} mixes devices: {[(one.device, one.shape) for one in every]}")
    if reads(kind, args, kwargs):
        waited(func)
    kwargs |= {"device": "cpu"} if to == GPU else {}
    args_, kwargs = tree_map(lambda one: getattr(one, "on_cpu", one), (tuple(args), kwargs))
    out = func(*args_, **kwargs)
    where = to or (args[0].device if kind in COPIES else GPU if known else None)
    return tree_map(lambda one: known.get(id(one), wrap(one)), out) if where == GPU else out


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs)


class Functions(TorchFunctionMode):  # what would ask for a real GPU before any operation is dispatched
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is T.to:
            other = [(one.device, one.dtype) for one in (*args[1:], *kwargs.values()) if isinstance(one, T)]
            again = kwargs.pop("copy", False)
            device, dtype = other[0] if other else torch._C._nn._parse_to(*args[1:], **kwargs)[:2]
            device, old = device or args[0].device, getattr(args[0], "on_cpu", args[0])
            if old is not args[0] and device.type != "cuda":
                waited("to")
            data = old.to(dtype=dtype or old.dtype, copy=again or device.type != args[0].device.type)
            return args[0] if data is old else wrap(data) if device.type == "cuda" else data
        if func in (T.cpu, T.tolist, T.numpy, T.__format__, T.__repr__):
            if isinstance(args[0], OnGpu):
                waited(func.__name__)
            return func(getattr(args[0], "on_cpu", args[0]), *args[1:], **kwargs)
        if func is T.new_tensor or torch.device(kwargs.get("device") or "cpu").type == "cuda":
            return run(func, args, {**kwargs, "device": GPU if "device" in kwargs else args[0].device})
        whole = func is torch.nn.functional.scaled_dot_product_attention
        return run(func, args, kwargs) if whole else func(*args, **kwargs)


@contextmanager
def simulated() -> Iterator[list[str]]:
    """Inside, models load onto the device that their config names; yields the waits so far."""
    WAITS.clear()
    torch._C._ensureCUDADeviceGuardSet()
    with pytest.MonkeyPatch.context() as patch, Dispatch(), Functions():
        for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated", "get_device_name"):
            patch.setattr(torch.cuda, name, lambda *device: 1)
        patch.setattr(loading, "resolve_device", lambda device: device)
        patch.setattr(replay, "MANY", 1 << 31)  # it records no graphs: every step is asked for
        patch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
        yield WAITS

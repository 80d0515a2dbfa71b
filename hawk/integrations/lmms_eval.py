"""Pruned models for lmms-eval: ``lmms-eval --model hawk_qwen2_5_vl --model_args pretrained=…,ratio=0.8``.

lmms-eval finds :func:`manifests` by the entry point group ``lmms_eval.models``. A plug-in is its own chat
class of the model, unchanged but for this: ``weights``, ``method``, ``ratio`` and the method's options are
taken out of ``--model_args``, and the model is pruned for as long as it lives. Every logged sample says
among its ``token_counts`` how many visual tokens it had and how many were kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

from hawk.core.errors import InputError, unknown
from hawk.core.shipped import resolve
from hawk.pruning.options import facts

# First version that is tested, and the first that is not.
TESTED = ("0.7.3", "0.8")


@dataclass(frozen=True)
class Plugin:
    """A model id of ours: lmms-eval's chat class under it, and the families that this class loads."""

    base: str  # "module:class"
    families: tuple[str, ...]  # config.model_type
    processor: str  # the attribute of the class that holds the model's processor


PLUGINS = {
    "hawk_qwen2_5_vl": Plugin("lmms_eval.models.chat.qwen2_5_vl:Qwen2_5_VL", ("qwen2_5_vl",), "processor"),
    "hawk_qwen3_vl": Plugin("lmms_eval.models.chat.qwen3_vl:Qwen3_VL", ("qwen3_vl",), "processor"),
    "hawk_internvl_hf": Plugin("lmms_eval.models.chat.internvl_hf:InternVLHf", ("internvl",), "processor"),
    "hawk_llava_onevision": Plugin(
        "lmms_eval.models.chat.llava_hf:LlavaHf", ("llava_onevision",), "_image_processor"
    ),
}


def manifests() -> list[Any]:
    """What lmms-eval registers: one chat class per entry of ``PLUGINS``; imports no model."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest(name, chat_class_path=f"{__name__}.{name}") for name in PLUGINS]


def __getattr__(name: str) -> Any:
    """The class of a model id, made when lmms-eval asks for it."""
    if name not in PLUGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return plugin_class(name)


@cache
def plugin_class(name: str) -> type:
    """lmms-eval's class of the model with :class:`Pruned` in front.

    Raises InputError for a version of lmms-eval outside ``TESTED``.
    """
    check_version(version("lmms-eval"))
    module, _, cls = PLUGINS[name].base.partition(":")
    base = getattr(import_module(module), cls)
    members = {"model_id": name, "plugin": PLUGINS[name], "base": base, "__module__": __name__}
    return type(name, (Pruned, base), members)


def check_version(found: str) -> None:
    """Refuse a version of lmms-eval whose classes we have not run."""
    first, end = TESTED
    if not _numbers(first) <= _numbers(found) < _numbers(end):
        raise InputError(
            f"lmms-eval {found} is installed; hawk's models are tested with {first} up to, and without, "
            f"{end}: pip install 'lmms-eval>={first},<{end}'"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """ "0.7.3" → (0, 7, 3); what follows the numbers (rc1, .dev2) does not count."""
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


class Pruned:
    """Stands before a chat class of lmms-eval (``lmms_eval.api.model.lmms``) and prunes its model.

    Parameters
    ----------
    pretrained : str
        As lmms-eval has it: a folder or a Hub id.
    weights : str, default "uniform"
        Head weights: a shipped name, a file, or a Hub id.
    method : str, default "hawk"
    ratio : float, default 0.8
        Fraction of visual tokens removed, in [0, 1).
    arguments
        Options of the method, and every parameter of lmms-eval's class.
    """

    model_id: str
    plugin: Plugin
    base: type  # lmms-eval's class

    def __init__(
        self,
        pretrained: str,
        weights: str | None = None,
        method: str = "hawk",
        ratio: float | str = 0.8,
        **arguments: Any,
    ) -> None:
        options, rest = split_arguments(method, arguments, parameters(self.base))
        from hawk.pruning.measured_on import warn_of_another_model
        from hawk.pruning.written import written_pruner

        pruner = written_pruner(method, weights, ratio, options)
        if pruner.other_images:
            raise InputError(f"method {method!r} works on images, before the model: lmms-eval cannot use it.")
        check_family(self.model_id, _model_type(pretrained), pretrained)
        super().__init__(pretrained=resolve(pretrained), **rest)  # type: ignore[call-arg]
        model = self.model  # type: ignore[attr-defined]
        self.pruner = pruner
        self._open = ExitStack()
        self._open.enter_context(pruner.attach(model, getattr(self, self.plugin.processor)))
        warn_of_another_model(pruner, pretrained)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """lmms-eval's own answers to its requests, each with its visual and kept tokens.

        An error inside ``generate`` is raised: some classes would log it and answer with "".
        """
        counted = Counted(self.model, self.pruner)  # type: ignore[attr-defined]
        with counted.watch():
            results = super().generate_until([counted.announced(r, i) for i, r in enumerate(requests)])  # type: ignore[misc]
        if counted.error is not None:
            raise counted.error
        return [_with_counts(result, counted.counts.get(i)) for i, result in enumerate(results)]


class Counted:
    """Which request has how many visual and kept tokens, whatever order the base class takes them in.

    The base class builds every request's messages right before the batch is generated, in the order of
    the batch's rows: a request tells its number then.
    """

    def __init__(self, model: Any, pruner: Any) -> None:
        self.model, self.pruner = model, pruner
        self.counts: dict[int, tuple[int, int]] = {}  # number of the request → (visual, kept)
        self.error: Exception | None = None
        self._rows: list[int] = []

    def announced(self, request: Any, number: int) -> Any:
        """The request, telling its number when its messages are made."""
        context, make, *others = request.args

        def tell(*args: Any, **kwargs: Any) -> Any:
            self._rows.append(number)
            return make(*args, **kwargs)

        return replace(request, arguments=(context, tell, *others))

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note what every ``generate`` kept; for a model to which the pruner is attached."""
        attached: Callable[..., Any] = self.model.generate

        def generate(*args: Any, **kwargs: Any) -> Any:
            try:
                out = attached(*args, **kwargs)
                last = self.pruner.last
                kept = zip(last.visual_tokens, last.kept_tokens, strict=True)
                self.counts.update(zip(self._rows, kept, strict=True))
            except Exception as error:
                self.error = self.error or error
                raise
            finally:
                self._rows.clear()
            return out

        self.model.generate = generate
        try:
            yield
        finally:
            self.model.generate = attached


def _with_counts(result: Any, counts: tuple[int, int] | None) -> Any:
    if counts is None:  # answered without the model
        return result
    return replace(result, token_counts=_token_counts_class()(*counts, **vars(result.token_counts)))


@cache
def _token_counts_class() -> Any:
    """lmms-eval's TokenCounts with our two numbers: what ``--log_samples`` writes of a sample."""
    from lmms_eval.api.instance import TokenCounts

    class VisualTokenCounts(TokenCounts):
        def __init__(self, visual: int, kept: int, **counts: int | None) -> None:
            super().__init__(**counts)
            self.visual_tokens, self.kept_tokens = visual, kept

        def to_dict(self) -> dict[str, int | None]:
            visual = {"visual_tokens": self.visual_tokens, "kept_tokens": self.kept_tokens}
            return {**super().to_dict(), **visual}

    return VisualTokenCounts


def parameters(base: type) -> list[str]:
    """What a chat class of lmms-eval takes; some inherit ``__init__`` from the simple class of the model."""
    known = inspect.signature(base.__init__).parameters  # type: ignore[misc]
    return [name for name in known if name not in ("self", "pretrained", "kwargs")]


def split_arguments(
    method: str, arguments: dict[str, Any], base: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of the method, arguments of lmms-eval's class); an argument of neither is refused.

    base: the parameters of lmms-eval's class.
    """
    options = [name for name in facts(method).options if name not in ("weights", "pruning_ratio")]
    for name in arguments:
        if name not in options and name not in base:
            allowed = ["pretrained", "weights", "method", "ratio", *options, *base]
            raise unknown(f"argument in --model_args (method {method!r})", name, allowed)
    of_method = {name: value for name, value in arguments.items() if name in options}
    return of_method, {name: value for name, value in arguments.items() if name not in options}


def check_family(model_id: str, model_type: str, pretrained: str) -> None:
    """Refuse a checkpoint of another family than the plug-in's, naming the plug-in that takes it."""
    if model_type in PLUGINS[model_id].families:
        return
    able = {family: name for name, plugin in PLUGINS.items() for family in plugin.families}
    advice = f"take --model {able[model_type]}" if model_type in able else "no plug-in takes that"
    every = ", ".join(f"{name} ({family})" for family, name in able.items())
    raise InputError(
        f"--model {model_id}: {pretrained!r} is a {model_type!r} model; {advice}. Allowed: {every}."
    )


def _model_type(pretrained: str) -> str:
    from transformers import AutoConfig

    from hawk.core.shipped import check_model_folder
    from hawk.models.loading import read

    check_model_folder(pretrained)
    return read(AutoConfig, pretrained, "config").model_type

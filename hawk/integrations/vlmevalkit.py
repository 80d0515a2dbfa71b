"""``hawk vlmevalkit``: VLMEvalKit's own ``run.py``, with every model of its table also as ``hawk-NAME``.

VLMEvalKit has no entry points: it looks a name up in the dictionary ``vlmeval.config.supported_VLM``. So its
table gets a second entry per model, which builds VLMEvalKit's own object, prompts and all, and attaches the
pruner to the transformers model inside it for as long as it lives.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import runpy
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hawk.core.errors import InputError
from hawk.models import REGISTRY as FAMILIES
from hawk.pruning.base import Pruner
from hawk.pruning.measured_on import warn_of_another_model

PREFIX = "hawk-"


def launch(arguments: Sequence[str], pruner: Pruner, method: str) -> None:
    """Register the pruned names, then run ``run.py`` with ``arguments``.

    Results go to ``outputs/METHOD-RATIO-DIGEST`` unless ``--work-dir`` says otherwise: VLMEvalKit reuses
    what it finds under a model's name, and the same name with another ratio is another model.
    """
    if find_spec("vlmeval") is None:
        raise InputError(
            "hawk vlmevalkit needs VLMEvalKit: pip install ms-vlmeval, or run it in the folder of its clone."
        )
    table = import_module("vlmeval.config").supported_VLM
    check_names(arguments, table)
    register(table, pruner)
    sys.argv = ["run.py", *with_work_dir(arguments, pruner, method)]
    _run()


def register(table: MutableMapping[str, Any], pruner: Pruner) -> None:
    """Add ``hawk-NAME`` for every name of VLMEvalKit's table; builds no model."""
    for name, build in [*table.items()]:
        table[f"{PREFIX}{name}"] = partial(pruned, build, f"{PREFIX}{name}", pruner)


def pruned(build: Any, name: str, pruner: Pruner, **keywords: Any) -> Any:
    """What ``build`` makes, its model pruned.

    build: VLMEvalKit's own entry; keywords: what VLMEvalKit hands to an entry (``use_vllm``).
    """
    if keywords.get("use_vllm"):
        raise InputError(f"{name}: hawk prunes transformers models; leave out --use-vllm.")
    kept = build(**keywords)
    model = getattr(kept, "model", None)
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in FAMILIES or not hasattr(model, "generate"):
        raise InputError(
            f"{name}: VLMEvalKit loads a {kind!r} model, which hawk cannot prune. "
            f"Allowed: transformers models of the families {', '.join(sorted(FAMILIES))}."
        )
    kept.hawk = ExitStack()  # stays open: pruned for as long as it lives
    kept.hawk.enter_context(pruner.attach(model, getattr(kept, "processor", None)))
    warn_of_another_model(pruner, getattr(model, "name_or_path", None))
    return kept


def check_names(arguments: Sequence[str], table: MutableMapping[str, Any]) -> None:
    """Refuse a call that would run nothing pruned, and a name that VLMEvalKit does not have."""
    names = models_of(arguments)
    wanted = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    if not wanted and "--config" not in arguments:
        raise InputError(
            f"--model {' '.join(names) or 'is missing'}: no name begins with {PREFIX!r}, so nothing would be "
            f"pruned. Write {PREFIX}NAME, where NAME is a model of VLMEvalKit (vlmutil mlist all)."
        )
    for name in wanted:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=3)
            hint = f" Did you mean {', '.join(PREFIX + other for other in near)}?" if near else ""
            raise InputError(
                f"--model {PREFIX}{name}: VLMEvalKit has no model {name!r}.{hint} "
                "Allowed: the names that vlmutil mlist all prints."
            )


def models_of(arguments: Sequence[str]) -> list[str]:
    """The values of ``--model`` among the arguments of ``run.py``."""
    names: list[str] = []
    inside = False
    for word in arguments:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            inside = flag == "--model"
            names += [value] if inside and value else []
        elif inside:
            names.append(word)
    return names


def with_work_dir(arguments: Sequence[str], pruner: Pruner, method: str) -> list[str]:
    """The arguments, with a folder of these settings' own where none was given."""
    given = any(word.partition("=")[0] == "--work-dir" for word in arguments)
    if given or "MMEVAL_ROOT" in os.environ:
        return [*arguments]
    digest = hashlib.sha256(repr(pruner).encode()).hexdigest()[:8]
    return [*arguments, "--work-dir", f"./outputs/{method}-{pruner.pruning_ratio}-{digest}"]


def _run() -> None:
    """``run.py``: a module of the wheel, a file beside the package in a clone."""
    if find_spec("vlmeval.run") is not None:
        runpy.run_module("vlmeval.run", run_name="__main__")
        return
    spec = find_spec("vlmeval")
    assert spec is not None
    script = Path(str(spec.origin)).parents[1] / "run.py"
    if not script.is_file():
        raise InputError(f"VLMEvalKit at {script.parent} has no run.py: neither vlmeval/run.py nor {script}.")
    runpy.run_path(str(script), run_name="__main__")

"""Where the files of a run lie (DESIGN contract). Used by the Snakefile and by every step.

Steps that read thousands of files get the run's folder and build the paths here, so that no
command line has to list them.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

from hawk.core import values
from hawk.core.errors import InputError

NO_KINDS = ("__init__", "refuse_own")  # methods of RunPaths that build no path


class RunPaths:
    """Paths under ``outputs/<run>/``. Strings may hold Snakemake wildcards such as ``{head}``."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    def samples(self, role: str, benchmark: str) -> str:
        return f"{self.root}/samples/{role}/{benchmark}.parquet"

    def features(self, role: str, benchmark: str) -> str:
        return f"{self.root}/features/{role}/{benchmark}.safetensors"

    def baseline(self, benchmark: str, role: str) -> str:
        return f"{self.root}/scores/{benchmark}/baseline/{role}.parquet"

    def head_means(self, benchmark: str) -> str:
        return f"{self.root}/scores/{benchmark}/head_means.safetensors"

    def head_gradients(self, ablation: str, benchmark: str) -> str:
        return f"{self.root}/head_gradients/{ablation}/{benchmark}.parquet"

    def mean_queries(self, recipe: str, benchmark: str) -> str:
        return f"{self.root}/mean_queries/{recipe}/{benchmark}.json"

    def scores(self, benchmark: str, ablation: str, name: str) -> str:
        """``name`` is ``reference``, ``repeat1`` … or a head such as ``L0H17``."""
        return f"{self.root}/scores/{benchmark}/{ablation}/{name}.parquet"

    def drops(self, ablation: str) -> str:
        """One file per ablation; the folder as a whole is one table to pandas and pyarrow."""
        return f"{self.root}/drops/{ablation}.parquet"

    def stability(self, ablation: str) -> str:
        return f"{self.root}/stability/{ablation}.json"

    def head_weights(self, recipe: str, subset: str = "pooled") -> str:
        """``subset`` is ``pooled`` or ``without-{family}``."""
        return f"{self.root}/head_weights/{recipe}/{subset}.json"

    def evaluation(self, benchmark: str, variant: str) -> str:
        return f"{self.root}/evaluation/{benchmark}/{variant}.parquet"

    def cost(self) -> str:
        return f"{self.root}/cost.parquet"

    def table(self, name: str, ending: str) -> str:
        return f"{self.root}/tables/{name}.{ending}"

    def figure(self, name: str, ending: str = "svg") -> str:
        return f"{self.root}/figures/{name}.{ending}"

    def head_scores(self) -> str:
        """Example images with the token scores of every head of the scoring layer."""
        return f"{self.root}/figures/head_scores.json"

    def report(self) -> str:
        return f"{self.root}/report.html"

    @classmethod
    def parse(cls, path: str | Path, *kinds: str) -> tuple[RunPaths, str, dict[str, str]]:
        """A run, which kind of its files ``path`` is, and the names that the path carries.

        ``RunPaths.parse("outputs/tiny/samples/evaluation/digits.parquet", "samples")`` gives the run at
        ``outputs/tiny``, ``"samples"`` and ``{"role": "evaluation", "benchmark": "digits"}``. kinds are
        names of the methods above, tried in order; a path of none of them is an error.
        """
        for kind in kinds:
            match = _pattern(kind).fullmatch(Path(path).as_posix())
            if match:
                names = match.groupdict()
                root = names.pop("root")
                for key, value in names.items():
                    values.name(value, f"output {str(path)!r}: {key}")
                return cls(root), kind, names
        shapes = " or ".join(_template(kind).replace("{root}", "outputs/<run>") for kind in kinds)
        raise InputError(f"output {str(path)!r} is no path of this step; it writes {shapes}.")

    def refuse_own(self, option: str, path: str | Path) -> None:
        """Refuse an output that would stand where the workflow keeps a file of this run."""
        root = Path(self.root).resolve().as_posix()
        for kind in KINDS:
            match = _pattern(kind).fullmatch(Path(path).resolve().as_posix())
            if match and match["root"] == root:
                raise InputError(
                    f"{option}: {str(path)!r} is the place of one of the run's own files; give another name."
                )


KINDS = tuple(
    name for name, member in vars(RunPaths).items() if inspect.isfunction(member) and name not in NO_KINDS
)


def _template(kind: str) -> str:
    names = [name for name in inspect.signature(getattr(RunPaths, kind)).parameters if name != "self"]
    return getattr(RunPaths("{root}"), kind)(*(f"{{{name}}}" for name in names))


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", _template(kind))
    literal, names = parts[::2], parts[1::2]
    text = re.escape(literal[0])
    for name, after in zip(names, literal[1:], strict=True):
        text += f"(?P<{name}>{'.+' if name == 'root' else '[^/]+'})" + re.escape(after)
    return re.compile(text)

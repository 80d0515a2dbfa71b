"""Where the files of a run lie (DESIGN contract). Used by the Snakefile and by every step.

Steps that read thousands of files get the run's folder and build the paths here, so that no
command line has to list them.
"""

from __future__ import annotations

from pathlib import Path


class RunPaths:
    """Paths under ``outputs/<run>/``. Strings may hold Snakemake wildcards such as ``{head}``."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    def samples(self, role: str, benchmark: str) -> str:
        return f"{self.root}/samples/{role}/{benchmark}.parquet"

    def features(self, role: str, benchmark: str, view: str = "native") -> str:
        return f"{self.root}/features/{role}/{benchmark}/{view}.safetensors"

    def baseline(self, benchmark: str, role: str) -> str:
        return f"{self.root}/scores/{benchmark}/baseline/{role}.parquet"

    def head_means(self, benchmark: str) -> str:
        return f"{self.root}/scores/{benchmark}/head_means.safetensors"

    def scores(self, benchmark: str, intervention: str, name: str) -> str:
        """``name`` is ``reference``, ``repeat1`` … or a head such as ``L0H17``."""
        return f"{self.root}/scores/{benchmark}/{intervention}/{name}.parquet"

    def drops(self) -> str:
        return f"{self.root}/drops.parquet"

    def stability(self) -> str:
        return f"{self.root}/stability.json"

    def head_weights(self, intervention: str, subset: str = "pooled") -> str:
        """``subset`` is ``pooled`` or ``without-{family}``."""
        return f"{self.root}/head_weights/{intervention}/{subset}.json"

    def evaluation(self, benchmark: str, variant: str) -> str:
        return f"{self.root}/evaluation/{benchmark}/{variant}.parquet"

    def cost(self) -> str:
        return f"{self.root}/cost.parquet"

    def table(self, name: str, ending: str) -> str:
        return f"{self.root}/tables/{name}.{ending}"

    def figure(self, name: str, ending: str = "svg") -> str:
        return f"{self.root}/figures/{name}.{ending}"

    def report(self) -> str:
        return f"{self.root}/report.html"

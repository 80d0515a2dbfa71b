"""Every figure that needs a GPU, by one command: ``make gpu``, under 10 minutes on an H100 or A100.

Runs the tests marked gpu, then measures on random weights of Qwen2.5-VL-7B's real geometry, made on the
device: token score, vision, prefill, decode, KV cache and peak memory of every method; picture to answer
at 80 % beside the paper's 1.34 x, with sdpa, torch's varlen attention and flash attention if installed; the
ablation sweep; the greedy rivals beside their published algorithms; waits for the device.
Writes docs/gpu.json and docs/gpu.md, and ends in one line per claim. The exit code is 1 if a part failed,
whatever the claims; what its time did not suffice for is said and is no failure.

Needs no network and nothing that is not in an environment with: Python >= 3.11, torch >= 2.11 (CUDA),
torchvision, transformers >= 5.18 (with tokenizers, safetensors), numpy, pyarrow, pillow, pandas, pyyaml,
click, tqdm, jsonschema, pytest, hypothesis; flash-attn if wanted. Wheels that such an environment often
lacks, to be carried: transformers, tokenizers, jsonschema, jsonschema-specifications, referencing,
rpds-py, attrs, hypothesis, sortedcontainers. Put them on PYTHONPATH; the package itself need not be
installed. About 40 GB of GPU memory.

--small is a test of this script: the same code on a small geometry and a CPU, in about a minute.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

LEAST = {"torch": (2, 11), "transformers": (5, 18)}
MODULES = (
    "torchvision", "tokenizers", "safetensors", "numpy", "pyarrow", "PIL", "pandas", "yaml", "click", "tqdm",
    "jsonschema", "pytest", "hypothesis",
)  # fmt: skip
PARTS = {  # functions of gpu_parts, and the share of the time that each may take
    "gpu tests": 90,
    "machine": 10,
    "token score": 20,
    "greedy": 20,
    "waits": 30,  # and the making of the model
    "end to end": 70,
    "sweep": 120,
    "generation": 180,  # last: the least wanted of its rows are what is cut
}


def lacking() -> list[str]:
    """What this python lacks, or has too old: told before any time of a GPU is spent."""
    found = [name for name in MODULES if importlib.util.find_spec(name) is None]
    for name, least in LEAST.items():
        have = version(name)
        if tuple(map(int, re.findall(r"\d+", have)[:2])) < least:
            found.append(f"{name} >= {'.'.join(map(str, least))} ({have})")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a small geometry; writes to build/")
    parser.add_argument("--out", type=Path, help="folder of gpu.json and gpu.md; docs/, or build/ if --small")
    parser.add_argument("--seconds", type=float, default=540, help="of all parts together")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts")
    chosen = parser.parse_args(arguments)
    if lacks := lacking():
        words = f"{sys.executable} lacks {', '.join(lacks)}; --help says what to carry."
        print(f"error: {words}", file=sys.stderr)
        return 2
    import gpu_parts
    import torch
    from gpu_budget import run as run_parts
    from gpu_claims import claims, markdown
    from gpu_model import FULL, SMALL

    cuda = torch.cuda.is_available()
    if not (cuda or chosen.small):
        print("error: torch sees no CUDA device; --small tests this script on a CPU.", file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = False
    run = gpu_parts.Run(
        SMALL if chosen.small else FULL, "cuda" if cuda else "cpu", repeats=1 if chosen.small else 3
    )
    out = chosen.out or ROOT / ("build" if chosen.small else "docs")
    out.mkdir(parents=True, exist_ok=True)
    if not chosen.small:
        (ROOT / "build").mkdir(exist_ok=True)
        run.log = (chosen.out or ROOT / "build") / "gpu_tests.log"
    jobs = [
        (name, share, partial(getattr(gpu_parts, name.replace(" ", "_")), run))
        for name, share in PARTS.items()
        if name in (chosen.only or [name])
    ]
    with torch.inference_mode():
        parts = run_parts(jobs, chosen.seconds, said=partial(print, flush=True))
    found = claims(parts, run.geometry.side, run.geometry.batch)
    state = {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if cuda else "CPU, a test of the script and no result",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "flash-attn"))
        + f", CUDA {torch.version.cuda}",
        "geometry": run.geometry.name,
        "parts": {name: part.as_json() for name, part in parts.items()},
        "claims": [claim.as_json() for claim in found],
        "lines": [claim.line() for claim in found],
    }
    (out / "gpu.json").write_text(json.dumps(state, indent=1) + "\n")
    (out / "gpu.md").write_text(markdown(state))
    print(f"\nwrote {out / 'gpu.json'} and {out / 'gpu.md'}\n")
    print(*state["lines"], sep="\n")
    failed = [name for name, part in parts.items() if part.status == "failed"]
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())

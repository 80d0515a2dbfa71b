"""Where bad input is tried: a folder with a good file of every kind, and a watch over what a command does.

A command runs in this process (a second each would be start-up otherwise), through ``command_line`` as a
process would. An audit hook sees every file that is opened for writing and every process that is started.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
import yaml
from factories import make_config, measure_drops, write_run

from hawk.cli.main import command_line
from hawk.core.head_weights import HeadWeights
from hawk.core.heads import Geometry
from hawk.models import loading

ROOT = Path(__file__).parent.parent.parent
HANG = 20  # seconds
# Imported before the clock starts: on a full machine they alone take as long. loading names the classes that
# every command with a model needs, and transformers loads the others when asked for.
LOADED = (loading, transformers.GenerationConfig)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
# What libraries keep for themselves, wherever they are told to.
CACHES = (
    "__pycache__",
    "/.cache/",
    "/.config/",
    "/torchinductor",
    "/matplotlib",
    "/dev/null",
    "/proc/",
    "/.hypothesis/",
)

_watching: list[Watch] = []
ended: Counter[str] = Counter()  # how commands ended, for whoever asks (pytest -s)


@dataclass
class Watch:
    """What happened in a command that it must not do."""

    allowed: list[str]
    wrong: list[str] = field(default_factory=list)

    def see(self, event: str, words: tuple[Any, ...]) -> None:
        if event in PROCESSES:
            name = str(words[0])
            if os.path.basename(name) != "git":  # provenance asks it for the commit, with fixed words
                self.wrong.append(f"started {words[:2]}")
        elif event == "open" and isinstance(words[2], int):
            if words[2] & WRITING:
                self._wrote(words[0])
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            self._wrote(words[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._wrote(words[1])

    def _wrote(self, path: Any) -> None:
        if isinstance(path, int):
            return
        place = os.path.abspath(os.fsdecode(path))
        if not any(place.startswith(one) for one in self.allowed) and not any(c in place for c in CACHES):
            self.wrong.append(f"wrote {place}")


def _hook(event: str, words: tuple[Any, ...]) -> None:
    for watch in _watching:
        watch.see(event, words)


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(*allowed: str, seconds: int = HANG) -> Iterator[Watch]:
    """Note what the block writes outside the allowed places, and what it starts; end it when it hangs."""

    def hang(*_: object) -> None:
        raise AssertionError(f"it did not end within {seconds} s")

    watch = Watch([os.path.abspath(one) for one in allowed])
    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def hawk(*words: str, output: str = "outputs/toy") -> str:
    """Run a command on bad input: it ends with 0 or 2, one line says why, and nothing else happens."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["hawk", *words]
    try:
        with watched(output) as watch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command_line()
    finally:
        sys.argv = before
    said = err.getvalue()
    case = f"hawk {' '.join(map(repr, words))}\n{said}"
    assert code in (0, 2), f"exit code {code}: {case}"
    assert "Traceback" not in said, case
    if code == 2:
        last = said.strip().splitlines()[-1] if said.strip() else ""
        assert last.startswith(("error: ", "Error: ")), case
        assert all(c.isprintable() for c in last), f"it steers the terminal: {case!r}"
    assert not watch.wrong, f"{watch.wrong}: {case}"
    assert not list(Path().rglob("PWNED")), case
    ended["clear line" if code else "accepted"] += 1
    return said


@dataclass
class Workplace:
    """A finished toy run and a file of every kind; ``put`` makes one of them bad."""

    folder: Path
    config: dict[str, Any]

    @classmethod
    def make(cls, folder: Path) -> Workplace:
        config = make_config(statistics={"resamples": 100, "confidence": 0.95, "repeats": 1})
        root = folder / "outputs" / "toy"
        write_run(root, config)
        measure_drops(config, root)
        made = {"weights": (0.1, 0.2, 0.3, 0.4), "geometry": Geometry(2, 4, 2, 8), "intervention": "zero"}
        HeadWeights(**made, per_benchmark={"toy": (0.25,) * 4}, samples={"toy": 64}).save(folder / "w.json")  # type: ignore[arg-type]
        own = {**config, "run": "toy", "model": {**config["model"], "path": "someone/model"}}
        own["calibration"] = {"benchmarks": ["digits"], "samples": 8, "holdout": "disjoint"}
        variants = [
            {"name": "ours", "method": "hawk", "weights": "zero"},
            {"name": "mmr", "method": "mmr", "trade_off": 0.5, "scorer": {"method": "hawk", "rope": False}},
            {"name": "file", "method": "hawk", "weights": "w.json"},
            {"name": "random", "method": "random", "seeds": 2},
        ]
        own["evaluation"] = {
            "benchmarks": ["digits", "mine"], "samples": 8, "ratios": [0.8], "reference": "ours",
            "variants": variants,
        }  # fmt: skip
        own["data"] = {"mine": {"definition": "mine.yaml"}}
        (folder / "config.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
        definition = {
            "file": "mine.csv", "version": 1, "family": "mine", "prompt": "{question}", "parser": "text",
            "metric": "equal", "columns": {"id": "i", "question": "q", "image": "p", "answer": "a"},
        }  # fmt: skip
        (folder / "mine.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
        (folder / "mine.csv").write_text("i,q,p,a\n1,which?,a.png,red\n2,what?,a.png,blue\n")
        return cls(folder, config)

    @contextlib.contextmanager
    def changed(self, name: str, content: bytes) -> Iterator[Path]:
        path = self.folder / name
        kept = path.read_bytes()
        path.write_bytes(content)
        try:
            yield path
        finally:
            if path.is_dir():
                shutil.rmtree(path)
            path.write_bytes(kept)

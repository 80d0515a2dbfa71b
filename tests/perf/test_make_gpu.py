"""``make gpu`` without a GPU: its budget, its counts and its claims; and the whole of it, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent))

from gpu_budget import Part, run
from gpu_claims import claims, markdown
from gpu_parts import WAITS, choosers, count_waits, gpu_tests

from hawk.pruning import REGISTRY

SCRIPT = ROOT / "tests" / "perf" / "gpu.py"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_slow_part_is_cut_and_a_failing_one_ends_no_other() -> None:
    clock, said = Clock(), []

    def slow(part: Part) -> None:
        for number in range(5):
            part.measure({"number": number}, lambda: clock.__setattr__("now", clock.now + 4) or {"took": 4})

    def failing(part: Part) -> None:
        part.measure({"what": "good"}, lambda: {"value": 1})
        part.measure({"what": "bad"}, lambda: {"value": 1 / 0})
        part.measure({"what": "good again"}, lambda: {"value": 2})

    def broken(part: Part) -> None:
        raise RuntimeError("no memory")

    jobs = [("slow", 1.0, slow), ("failing", 2.0, failing), ("broken", 1.0, broken)]
    parts = run(jobs, 40.0, said.append, clock)
    assert parts["slow"].status == "cut"  # 10 of the 40 seconds: begun at 0, 4 and 8
    assert [row["number"] for row in parts["slow"].rows] == [0, 1, 2]
    assert [note.rsplit(" ", 1)[1] for note in parts["slow"].notes] == ["3", "4"]
    assert parts["failing"].status == "failed"
    assert [row["value"] for row in parts["failing"].rows] == [1, 2]
    assert parts["failing"].notes == ["bad: ZeroDivisionError: division by zero"]
    assert (parts["broken"].status, parts["broken"].rows) == ("failed", [])
    assert json.loads(json.dumps(parts["failing"].as_json()))["status"] == "failed"


def test_waits_are_those_of_our_lines() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for file, line, text in (
            (ROOT / "hawk" / "pruning" / "rows.py", 50, "called a synchronizing CUDA operation"),
            (ROOT / "hawk" / "pruning" / "rows.py", 50, "called a synchronizing CUDA operation"),
            (ROOT / "hawk" / "pruning" / "rows.py", 51, "something else"),
            ("/elsewhere/transformers/models/hawk/x.py", 7, "called a synchronizing CUDA operation"),
        ):
            warnings.warn_explicit(text, UserWarning, str(file), line)
    assert count_waits(seen) == {"waits": 3, "in_our_lines": 2, "lines": {"hawk/pruning/rows.py:50": 2}}


def generation(speed: float, cache: float) -> Part:
    part = Part("generation")
    for batch in (1, 16):
        plain = {"prompt_tokens": 1360, "visual_tokens": 1296, "kept_tokens": 1296, "kv_cache_bytes": 1360e3,
                 "prefill_ms": 100.0, "token_score_ms": 0.0, "peak_memory_bytes": 20e9}  # fmt: skip
        pruned = {**plain, "kept_tokens": 260, "kv_cache_bytes": 1360e3 / cache,
                  "prefill_ms": 100 / speed - 1, "token_score_ms": 1.0,
                  "peak_memory_bytes": 18e9}  # fmt: skip
        where = {"batch": batch, "visual": 1296}
        part.rows += [
            {**where, "method": "unpruned", "ratio": "0", **plain},
            {**where, "method": "hawk", "ratio": "0.8", **pruned},
        ]
    return part


def verdicts(parts: dict[str, Part]) -> dict[str, bool | None]:
    return {claim.text: claim.held for claim in claims(parts, side=36, batch=16)}


def test_the_tests_get_the_packages_that_this_process_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment may lack them, or have them older: then the tests fail for that alone."""
    seen: dict[str, str] = {}

    def run(command: list[str], env: dict[str, str], **options: object) -> SimpleNamespace:
        seen.update(env)
        return SimpleNamespace(returncode=0, stdout="3 passed in 1s", stderr="")

    monkeypatch.setattr("gpu_parts.subprocess.run", run)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["carried", "more"]))
    part = Part("gpu tests")
    gpu_tests(SimpleNamespace(cuda=True, log=None), part)  # type: ignore[arg-type]
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "carried", "more"]
    assert part.rows == [{"passed": 3, "failed": 0, "error": 0, "skipped": 0}]


def test_tests_that_are_cut_off_leave_what_they_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = b"a.py::one PASSED [ 33%]\na.py::two FAILED [ 66%]\na.py::three "

    def run(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 1, output=said)

    monkeypatch.setattr("gpu_parts.subprocess.run", run)
    part = Part("gpu tests")
    gpu_tests(SimpleNamespace(cuda=True, log=tmp_path / "log"), part)  # type: ignore[arg-type]
    assert part.status == "cut"
    assert part.notes[0].endswith("passed: 1")
    assert part.notes[1:] == ["a.py::two FAILED [ 66%]"]
    assert (tmp_path / "log").read_bytes() == said


def test_claims_are_held_broken_or_not_measured() -> None:
    ideal = 1360 / (1360 - 1296 + 260)
    assert set(verdicts({}).values()) == {None}
    good = {"generation": generation(0.9 * ideal, ideal), "waits": Part("waits")}
    good["waits"].rows = [{"prompt": name, "in_our_lines": 4} for name in WAITS]
    bad = {"generation": generation(0.6 * ideal, 0.9 * ideal), "waits": Part("waits")}
    bad["waits"].rows = [{"prompt": name, "in_our_lines": 4 + len(rows)} for name, rows in WAITS.items()]
    assert set(verdicts(good).values()) == {None, True}
    broken = [text for text, held in verdicts(bad).items() if held is False]
    assert [text.split(":")[0] for text in broken] == ["prune waits for the device at most 5 times a prompt, "
        "however many pictures, rows and tokens", *["batch 1"] * 2, *["batch 16"] * 2]  # fmt: skip
    lines = [claim.line() for claim in claims(bad, 36, 16)]
    assert any(line.startswith("NOT HELD") and "0.60 x" not in line for line in lines)
    found = {"date": "d", "device": "card", "versions": "v", "geometry": "g", "notes": ["By hand."]}
    found["claims"] = [claim.as_json() for claim in claims(bad, 36, 16)]
    page = markdown({**found, "parts": {name: part.as_json() for name, part in bad.items()}})
    assert page.count("| 1,296 | hawk | 0.8 |") == 2
    assert "| **no** | batch 1: at 80 % the KV cache shrinks as the prompt does |" in page
    assert "\n\nBy hand.\n\n" in page


def test_a_share_just_below_its_bound_does_not_look_like_it() -> None:
    part = Part(
        "sweep", rows=[{"layer": 27, "heads_per_job": "all", "in_model": 0.8957, "head_samples_per_s": 1}]
    )
    (claim,) = (one for one in claims({"sweep": part}, 36, 16) if "spends 90 % of its time" in one.text)
    assert (claim.held, claim.found) == (False, "89.6%")


def test_every_registered_method_is_measured() -> None:
    """One that is added without what the script would have to give it fails here, and not on a GPU."""
    made = {(method, ratio): make() for method, ratio, make in choosers()}
    methods = {method for method, _ in made}
    assert set(REGISTRY) - methods == {"downscale", "oracle"}
    assert next(iter(made)) == ("unpruned", "0")
    assert [ratio for method, ratio in made if method == "hawk"] == ["0.8", "0.6", "0.9"]
    assert [ratio for method, ratio in made if method == "blind"] == ["0.8"]


def test_without_a_gpu_it_says_so() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: torch sees no CUDA device; --small tests this script on a CPU."


def test_what_an_environment_lacks_is_told_at_once(tmp_path: Path) -> None:
    """And --help, which says what to carry, asks for nothing. An empty python with an older transformers."""
    (tmp_path / "transformers-5.2.0.dist-info").mkdir()
    (tmp_path / "transformers-5.2.0.dist-info" / "METADATA").write_text(
        "Name: transformers\nVersion: 5.2.0\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    base = [sys._base_executable, "-S", SCRIPT]  # -S: without site-packages
    done = subprocess.run([*base, "--small"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    for words in (" lacks torchvision, ", " hypothesis, ", "torch >= 2.11 (not installed)", "5.18 (5.2.0)"):
        assert words in line
    done = subprocess.run([*base, "--help"], capture_output=True, text=True, env=environment, check=True)
    assert "to be carried" in done.stdout


@pytest.mark.long
def test_the_whole_of_it_on_a_small_geometry(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, "--small", "--out", tmp_path, "--seconds", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    states = {name: part["status"] for name, part in found["parts"].items()}
    assert states.pop("gpu tests") == "left out"
    assert set(states.values()) == {"ok"}
    rows = found["parts"]["generation"]["rows"]
    unpruned, hawk = (row for row in rows if row["batch"] == 4 and row["ratio"] in ("0", "0.8")
                      and row["method"] in ("unpruned", "hawk"))  # fmt: skip
    assert unpruned["kept_tokens"] == 4 * 36
    assert hawk["kept_tokens"] == 4 * 8  # ceil(36 / 5)
    assert hawk["kv_cache_bytes"] < unpruned["kv_cache_bytes"]
    methods = {row["method"] for row in rows}
    assert {"hawk", "fastv", "visionzip", "mmr", "blind"} <= methods
    assert {row["heads_per_job"] for row in found["parts"]["sweep"]["rows"]} == {1, 7, "all"}

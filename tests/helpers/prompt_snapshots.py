"""The exact prompts of every published benchmark, and a print of its scoring rules.

    python tests/helpers/prompt_snapshots.py            # what differs from tests/prompts/
    python tests/helpers/prompt_snapshots.py --update   # after an intended change and a new version

A snapshot is only replaced by one of a higher ``version`` of the benchmark: results of another prompt
or rule must not pass for the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hub_rows

from hawk.benchmarks import REGISTRY, benchmark
from hawk.benchmarks.base import Benchmark, Sample
from hawk.benchmarks.rules.protocols import LMMS_EVAL, STYLES

FOLDER = Path(__file__).parents[1] / "prompts"
CASES = Path(__file__).parents[1] / "data" / "metric_cases.json"
MADE_HERE = ("hawk.benchmarks.easy_vqa", "hawk.benchmarks.scenes")
PUBLISHED = sorted(name for name, place in REGISTRY.items() if not place.startswith(MADE_HERE))


def samples(name: str) -> list[Sample]:
    """Questions of the benchmark in the form its loader gives, and one that lacks what it can lack.

    Those below where rows of :mod:`hub_rows` do not show every form; else the first two rows.
    """
    image, video = ({"bytes": b"", "path": None},), {"bytes": None, "path": "clip.mp4"}
    base = {"sample_id": "0", "group_id": "g"}
    question = "what is the Brand of this camera?"
    letter = "Please answer directly with only the letter of the correct option and nothing else."
    yes_no = {"question": "Is there a dog? Please answer yes or no.", "references": ("Yes",)}
    options = {"question": "Which one?", "options": ("Left", "Right", "Both"), "references": ("B",)}
    lettered = {**options, "options": ("A. Left", "B. Right", "C. Both", "D. None")}
    inside = {**options, "question": f"Which one?\n\nA. Left\nB. Right\nC. Both\n{letter}"}
    hinted = {**options, "question": "Use the map.\n[question]\nWhich one?"}
    free = {"question": question, "references": ("nokia",) * 6 + ("9", "yes", "", "2")}
    formula = "Handwritten Mathematical Expression Recognition"
    fields: dict[str, list[dict[str, Any]]] = {
        "ai2d": [options],
        "textvqa": [free],
        "vizwiz": [free],
        "chartqa": [{**free, "references": ("[2013, 14]",)}, {**free, "references": ("100",)}],
        "gqa": [{**free, "references": ("yes",)}],
        "hallusionbench": [{**yes_no, "question": "Is the left circle larger?"}],
        "mme": [yes_no],
        "mmstar": [{**options, "question": "Which one?\nOptions: A: Left, B: Right, C: Both"}],
        "ocrbench": [{**free, "category": "Doc-oriented VQA"}, {**free, "category": formula}],
        "pope": [{**yes_no, "question": "Is there a dog?"}],
        "realworldqa": [inside, {"question": "How many?", "references": ("2",)}],
        "scienceqa": [hinted, options],
        "mmbench": [hinted, options],
        "ccbench": [hinted, options],
        "videomme": [lettered],
        "worldsense": [lettered, {**lettered, "options": lettered["options"][:3]}],
        "mlvu": [options],
        "longvideobench": [options],
    }
    if name not in fields:
        return _loaded(name)[:2]
    shown = {"video": video} if name in hub_rows.VIDEOS else {"images": image}
    return [Sample(**{**base, **shown, **changed}) for changed in fields[name]]


@cache
def _loaded(name: str) -> list[Sample]:
    with TemporaryDirectory() as folder:
        hub_rows.write(name, Path(folder))
        videos = {"videos": folder} if name in hub_rows.VIDEOS else {}
        return list(benchmark(name, {"source": "parquet", "path": folder, **videos}).load())


def conversation(messages: list[dict[str, Any]]) -> str:
    """Roles, visual parts and text, as they follow each other."""
    parts = []
    for message in messages:
        content = "".join(
            part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in message["content"]
        )
        parts.append(f"{message['role']}: {content}")
    return "\n".join(parts)


@cache
def texts() -> tuple[str, ...]:
    """Answers of all kinds: every text that the worked cases give as a prediction."""
    found = []
    for case in json.loads(CASES.read_text(encoding="utf-8")):
        prediction = case["prediction"]
        listed = [prediction] if isinstance(prediction, str) else prediction
        found += [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []
    return tuple(sorted(set(found)))


def rules(bench: Benchmark, protocol: str) -> str:
    """A hash of what parser and metric make of many answers."""
    state = hashlib.sha256()
    for sample in samples(bench.name):
        for text in texts():
            parsed = bench.parse(text, sample, protocol)
            score = 0.0 if parsed is None else bench.score(parsed, sample, protocol)
            state.update(repr((text, parsed, round(score, 9))).encode())
    return state.hexdigest()[:16]


def snapshot(name: str, build: Any = benchmark) -> dict[str, Any]:
    result: dict[str, Any] = {"version": build(name).version, "protocols": {}}
    for protocol in build(name).protocols:
        styles = ("default",) if protocol == LMMS_EVAL else STYLES
        prompts = {}
        for style in styles:
            bench = build(name, {"prompt": style})
            prompts[style] = [conversation(bench.messages(one, protocol)) for one in samples(name)]
        result["protocols"][protocol] = {
            "max_new_tokens": {
                style: build(name, {"prompt": style}).max_new_tokens(protocol) for style in styles
            },
            "prompts": prompts,
            "rules": rules(build(name), protocol),
        }
    return result


def problem(name: str, found: dict[str, Any], stored: dict[str, Any] | None) -> str | None:
    """Why a snapshot does not stand; None where it does."""
    if stored is None:
        return f"{name}: no snapshot yet; run with --update."
    if found == stored:
        return None
    if found["version"] == stored["version"]:
        changed = [
            f"{protocol} {part}"
            for protocol in {*found["protocols"], *stored["protocols"]}
            for part in ("max_new_tokens", "prompts", "rules")
            if found["protocols"].get(protocol, {}).get(part)
            != stored["protocols"].get(protocol, {}).get(part)
        ]
        return (
            f"{name}: {', '.join(sorted(changed))} changed, but its version is still "
            f"{stored['version']}. Raise {name}'s `version`, then run with --update."
        )
    if found["version"] < stored["version"]:
        return f"{name}: version {found['version']} is below the stored {stored['version']}."
    return f"{name}: version {found['version']} has no snapshot; run with --update."


def read(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def update(name: str, found: dict[str, Any], folder: Path = FOLDER) -> bool:
    """Store a snapshot if none stands in its way."""
    stored = read(name, folder)
    if stored is not None and (found == stored or found["version"] <= stored["version"]):
        return found == stored
    folder.mkdir(exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Check or update the stored prompts.")
    parser.add_argument("--update", action="store_true", help="store what has a new version")
    arguments = parser.parse_args()
    failed = False
    for name in PUBLISHED:
        found = snapshot(name)
        if arguments.update:
            update(name, found)
        message = problem(name, found, read(name))
        failed |= message is not None
        if message:
            print(message)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

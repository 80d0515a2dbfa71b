"""``python -m hawk.study``: the stages of the study, each resumable, in order."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hawk.config.load import load_config
from hawk.core.atomic import write_json, write_text
from hawk.core.errors import InputError
from hawk.core.paths import RunPaths

log = logging.getLogger("hawk.study")

STAGES = ("develop", "choose", "evaluate", "findings")


@click.command()
@click.option("--config", "source", default="config/study.yaml", show_default=True, help="Config.")
@click.option("--out", default="outputs/study", show_default=True, help="Folder of everything measured.")
@click.option(
    "--record", default="docs/study", show_default=True, help="Folder of the choice and the results."
)
@click.option("--findings", default="docs/findings.md", show_default=True, help="Page with the tables.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Only these; by default all, up to a choice that is not committed.",
)
@click.argument("models", nargs=-1, metavar="NAME=FOLDER ...")
def main(
    source: str, out: str, record: str, findings: str, stages: tuple[str, ...], models: tuple[str, ...]
) -> None:
    """Calibrate, try, choose, evaluate and write down, for every given trained model folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        run(source, out, Path(record), Path(findings), stages or STAGES, _named(models))
    except InputError as error:
        raise click.ClickException(str(error)) from None


def run(
    source: str,
    out: str,
    record: Path,
    findings: Path,
    stages: Sequence[str],
    models: Mapping[str, str],
) -> None:
    from hawk.study.choose import choose, read_choice

    config = load_config(source)
    choice = record / "choice.json"
    if "develop" in stages and not ("evaluate" in stages and choice.exists()):
        for name, folder in models.items():
            _develop(config, name, folder, RunPaths(f"{out}/{name}"))
    if "choose" in stages and not choice.exists():
        found = {name: RunPaths(f"{out}/{name}") for name in models}
        chosen = choose(config, found, record, {name: _identity(one) for name, one in found.items()})
        click.echo(f"Chosen: {', '.join(chosen)}. Commit {choice}, then run the same command again.")
        return
    if "evaluate" in stages:
        chosen = read_choice(record)
        for name, folder in models.items():
            _evaluate(config, name, folder, RunPaths(f"{out}/{name}"), chosen)
    if "findings" in stages:
        _findings(config, Path(out), record, findings, read_choice(record))


def _develop(config: dict[str, Any], name: str, folder: str, files: RunPaths) -> None:
    from hawk.study.calibrate import calibrate
    from hawk.study.develop import develop
    from hawk.study.plan import SETTINGS, ZERO

    config, vlm = _load(config, name, folder, files)
    calibrate(config, vlm, files, [ZERO, *(setting.name for setting in SETTINGS)])
    develop(config, vlm, files)
    click.echo(f"{name}: development images scored.")


def _evaluate(config: dict[str, Any], name: str, folder: str, files: RunPaths, chosen: Sequence[str]) -> None:
    from hawk.study.calibrate import calibrate
    from hawk.study.evaluate import evaluate
    from hawk.study.plan import finalists, settings_needed

    config, vlm = _load(config, name, folder, files)
    calibrate(config, vlm, files, settings_needed(files, finalists(files, list(chosen))))
    evaluate(config, vlm, files, chosen)
    click.echo(f"{name}: evaluated.")


def _findings(config: Mapping[str, Any], out: Path, record: Path, page: Path, chosen: Sequence[str]) -> None:
    """Compare all models whose evaluation is there, and write the tables into the page."""
    from hawk.study.family import compare_finals, retention_rows
    from hawk.study.findings import update
    from hawk.study.plan import finalists
    from hawk.study.retained import read_finals

    done = {one.parent.name: RunPaths(one.parent) for one in sorted(out.glob("*/config.yaml"))}
    if not done:
        raise InputError(f"{out}: no model was evaluated yet.")
    identities = {name: _identity(files) for name, files in done.items()}
    found = read_finals(config, done, chosen)
    variants = [one["name"] for one in finalists(RunPaths("ROOT"), list(chosen))]
    result = {
        "models": identities,
        "chosen": list(chosen),
        "unpruned": {m: dict(zip(found.benchmarks, found.points(m).tolist(), strict=True)) for m in done},
        "samples": dict(zip(found.benchmarks, found.samples, strict=True)),
        "images": len(found.joint.union),
        "retention": retention_rows(config, found, variants, identities),
        "tests": compare_finals(config, found, chosen, identities),
    }
    write_json(record / "evaluation.json", result)
    if page.exists():
        write_text(page, update(page.read_text(encoding="utf-8"), record))
    click.echo(f"{len(done)} models: {record / 'evaluation.json'}, {page}")


def _load(config: Mapping[str, Any], name: str, folder: str, files: RunPaths) -> tuple[dict[str, Any], Any]:
    """The model, and the config with its geometry; refused if this name stood for another model."""
    from hawk.steps.session import load_for

    own = Path(folder, "config.json")
    if not own.is_file():
        raise InputError(f"{name}={folder}: there is no config.json; it is no model folder.")
    declared = json.loads(own.read_text(encoding="utf-8"))
    text = declared.get("text_config", declared)
    section = {"path": folder, "layers": text["num_hidden_layers"], "heads": text["num_attention_heads"]}
    config = {**config, "model": {**config["model"], **section}}
    vlm = load_for(config, vision=True)
    identity = {"family": vlm.family.name, "weights": _digest(folder), "study": _settings(config)}
    path = Path(files.root, "model.json")
    if path.exists() and _identity(files) != identity:
        raise InputError(
            f"{files.root}: measured with other weights or other settings than {folder} and the config have "
            "now. Give the model another name, or delete the folder."
        )
    write_json(path, identity)
    return config, vlm


def _identity(files: RunPaths) -> dict[str, Any]:
    path = Path(files.root, "model.json")
    if not path.exists():
        raise InputError(f"{files.root}: nothing was measured here yet; run the stage develop first.")
    return json.loads(path.read_text(encoding="utf-8"))


def _digest(folder: str) -> str:
    """SHA-256 of the model's weight files."""
    state = hashlib.sha256()
    for path in sorted(Path(folder).glob("*.safetensors")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What all models of a study have in common; a change asks for new folders."""
    keys = ("seed", "calibration", "generation", "preprocessing")
    evaluation = {key: config["evaluation"][key] for key in ("benchmarks", "samples", "ratios")}
    return {**{key: config[key] for key in keys}, "evaluation": evaluation}


def _named(models: Sequence[str]) -> dict[str, str]:
    named = {}
    for one in models:
        name, sign, folder = one.partition("=")
        if not sign or not name or not folder or "/" in name:
            raise click.BadParameter(
                f"{one!r} must be NAME=FOLDER, for instance seed0=outputs/trained/seed0."
            )
        if name in named:
            raise click.BadParameter(f"the name {name!r} is given twice.")
        named[name] = folder
    return named


if __name__ == "__main__":
    main()

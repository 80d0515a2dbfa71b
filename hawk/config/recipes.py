"""Named ablations and named weights: filled on loading, and looked up by whoever uses them.

An ablation says what is done to heads and how that is measured, a weights recipe how its drops become
head weights; a variant names a weights recipe. Each is one node of the workflow, made once.
After :func:`expand` every recipe has all its keys, and no step looks anywhere else for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hawk.core.errors import InputError, unknown
from hawk.core.head_weights import shipped
from hawk.core.heads import Head, head_table
from hawk.core.values import RATIO
from hawk.core.variants import CALIBRATED, TOKEN_SCORE, ablation_names
from hawk.core.yaml_places import Places

# The model is untouched, and heads choose the tokens; the others switch a head off inside the model.
CHOOSING = ("selection", "keep_only")
# All heads are estimated at once, from gradients, and none is switched off.
ESTIMATE = "gradient"
DEFAULT_RATIO = 0.8
# Keys of older configs, and what says the same now.
_BEFORE = {
    "ablation": {
        "interventions": "recipes: [{name: zero, intervention: zero}, {name: selection, intervention: "
        "selection, ratio: 0.8}]",
        "selection_ratio": "ratio in the recipe: {name: selection, intervention: selection, ratio: 0.8}",
        "layers": "layers in the recipe: {name: zero, intervention: zero, layers: [0, 1]}",
    },
    "weights": {
        "normalization": "recipes: [{name: zero, ablation: zero, normalization: positive_significant}]"
    },
}


def refuse_older(config: Mapping[str, Any], where: str | Places) -> None:
    """Refuse the keys that recipes replaced, with the line to write instead."""
    for section, keys in _BEFORE.items():
        section_settings = config.get(section)
        older_keys = (
            [key for key in keys if key in section_settings] if isinstance(section_settings, Mapping) else []
        )
        if older_keys:
            place = where.of([section, older_keys[0]]) if isinstance(where, Places) else where
            raise InputError(
                f"{place}: {section}.{older_keys[0]} is now part of recipes; write in section {section}: "
                f"{keys[older_keys[0]]}."
            )
    evaluation = config.get("evaluation")
    published = evaluation.get("published") if isinstance(evaluation, Mapping) else None
    if isinstance(published, Mapping) and (older := [key for key in published if RATIO.fullmatch(str(key))]):
        place = where.of(["evaluation", "published", older[0]]) if isinstance(where, Places) else where
        raise InputError(
            f"{place}: evaluation.published names the variant first; write "
            f"{{hawk-zero: {{'{older[0]}': ...}}}}, with the name of a variant, or baseline."
        )


def expand(config: dict[str, Any]) -> None:
    """Fill every recipe's open keys from ``scoring``, in place; without weights recipes, one per ablation."""
    scoring = config["scoring"]
    for ablation in config["ablation"]["recipes"]:
        ablation["layer"] = scoring["layer"] if ablation.get("layer") is None else ablation["layer"]
        if ablation["intervention"] in CHOOSING:
            ablation.setdefault("ratio", DEFAULT_RATIO)
            for key in TOKEN_SCORE:
                ablation.setdefault(key, scoring[key])
        elif ablation["intervention"] == ESTIMATE:
            ablation.setdefault("layers", list(range(config["model"]["layers"])))
        else:
            ablation.setdefault("layers", [ablation["layer"]])
    if config["weights"]["recipes"] is None:
        config["weights"]["recipes"] = [
            {"name": ablation["name"], "ablation": ablation["name"]}
            for ablation in measured(config)
            if config["ablation"]["heads"] == "all" and ablation["layer"] in layers(ablation)
        ]
    for recipe in config["weights"]["recipes"]:
        recipe.setdefault("normalization", "min_shift")  # the paper's
        recipe.setdefault("measure", "value")
        recipe.setdefault("query", "question")


def check_recipes(config: Mapping[str, Any]) -> None:
    """What the schema cannot say of recipes."""
    _check_names("ablation.recipes", config["ablation"]["recipes"])
    for ablation in config["ablation"]["recipes"]:
        _check_ablation(config, ablation)
    recipes = config["weights"]["recipes"]
    _check_names("weights.recipes", recipes)
    for recipe in recipes:
        where = f"weights.recipes, {recipe['name']!r}"
        if recipe["name"] == "uniform" or recipe["name"] in shipped():
            raise InputError(f"{where}: the name is taken by weights that come with hawk; choose another.")
        names = [ablation["name"] for ablation in config["ablation"]["recipes"]]
        for name in ablation_names(recipe):
            if name not in names:
                raise unknown(f"{where}: ablation (a name of ablation.recipes)", name, names)
        if chooses_layer(recipe):
            _check_layer_choice(where, recipe, ablations_of(config, recipe))
        for ablation in ablations_of(config, recipe):
            if ablation["layer"] not in layers(ablation):
                raise InputError(
                    f"{where}: weights are of layer {ablation['layer']}, which the layers {layers(ablation)} "
                    f"of ablation {ablation['name']!r} do not include."
                )
            if ablation["intervention"] == ESTIMATE and recipe["measure"] != "margin":
                raise InputError(
                    f"{where}: ablation {ablation['name']!r} estimates drops in the margin alone, not in "
                    f"{recipe['measure']}; write measure: margin."
                )
        if config["ablation"]["heads"] != "all":
            raise InputError(f"{where}: head weights need every head; ablation.heads must be all.")


def _check_layer_choice(where: str, recipe: Mapping[str, Any], ablations: list[dict[str, Any]]) -> None:
    """Refuse a list of ablations that differ in more than the layer in which tokens are chosen."""
    if recipe["query"] == CALIBRATED:
        raise InputError(
            f"{where}: query {CALIBRATED!r} belongs to one layer, and the layer is chosen between "
            f"{listed_layers(ablations)}; write query: question, or name one ablation."
        )
    for ablation in ablations:
        if ablation["intervention"] not in CHOOSING:
            raise InputError(
                f"{where}: intervention of ablation {ablation['name']!r} is {ablation['intervention']!r}; a "
                f"layer is chosen between ablations that choose tokens: {' or '.join(CHOOSING)}."
            )
    first, *rest = ablations
    for other in rest:
        for key in ("intervention", "ratio", *TOKEN_SCORE):
            if other[key] != first[key]:
                raise InputError(
                    f"{where}: {key} of ablation {first['name']!r} is {first[key]!r}, and {other[key]!r} of "
                    f"{other['name']!r}; where a layer is chosen they may differ in name and layer alone."
                )
    by_layer: dict[int, str] = {}
    for ablation in ablations:
        same = by_layer.setdefault(ablation["layer"], ablation["name"])
        if same != ablation["name"]:
            raise InputError(
                f"{where}: layer of ablation {ablation['name']!r} is {ablation['layer']}, as that of "
                f"{same!r}; a layer is chosen between ablations of different layers."
            )


def _check_names(where: str, recipes: list[dict[str, Any]]) -> None:
    names = [recipe["name"] for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: the name {name!r} is used more than once.")
        if name == "baseline":
            raise InputError(f"{where}: the name 'baseline' is taken by the scores of the untouched model.")


def _check_ablation(config: Mapping[str, Any], ablation: Mapping[str, Any]) -> None:
    where, count = f"ablation.recipes, {ablation['name']!r}", config["model"]["layers"]
    chooses = ablation["intervention"] in CHOOSING
    for key in ("layers",) if chooses else ("ratio", *TOKEN_SCORE):
        if key in ablation:
            owners = "zero, mean and gradient" if chooses else " and ".join(CHOOSING)
            raise InputError(f"{where}: {key} belongs to {owners}, not to {ablation['intervention']!r}.")
    for layer in (ablation["layer"], *layers(ablation)):
        if layer >= count:
            raise InputError(f"{where}: layer {layer} is outside model.layers, 0-{count - 1}.")
    ratio = ablation.get("ratio", 0)
    if round(ratio * 10_000) / 10_000 != ratio:
        raise InputError(f"{where}: ratio {ratio!r} has more than four decimals.")


# --- what the workflow asks ------------------------------------------------------------------------


def measured(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ablations whose heads are switched off or choose tokens, one by one; the others are estimates."""
    return [ablation for ablation in config["ablation"]["recipes"] if ablation["intervention"] != ESTIMATE]


def check_estimate(ablation: Mapping[str, Any], wanted: bool = True) -> Mapping[str, Any]:
    """The ablation, if it is of the kind that a step is for: estimated, or measured head by head."""
    if (ablation["intervention"] == ESTIMATE) != wanted:
        step = "score-samples" if wanted else "screen-heads"
        raise InputError(
            f"ablation {ablation['name']!r} has intervention {ablation['intervention']!r}: `hawk {step}` "
            "measures it."
        )
    return ablation


def layers(ablation: Mapping[str, Any]) -> list[int]:
    """The layers whose heads an ablation measures."""
    return list(ablation.get("layers", [ablation["layer"]]))


def ablation_named(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _named(config["ablation"]["recipes"], name, "ablation")


def weights_named(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _named(config["weights"]["recipes"], name, "weights recipe")


def _named(recipes: list[dict[str, Any]], name: str, what: str) -> dict[str, Any]:
    for recipe in recipes:
        if recipe["name"] == name:
            return recipe
    raise unknown(what, name, [recipe["name"] for recipe in recipes])


def ablated_heads(config: Mapping[str, Any], ablation: Mapping[str, Any]) -> tuple[Head, ...]:
    """The heads whose drops an ablation measures, layer by layer, in the order of tables."""
    heads = config["ablation"]["heads"]
    every = head_table(sorted(layers(ablation)), config["model"]["heads"])
    return tuple(head for head in every if heads == "all" or head.index in heads)


def token_score_of_weights(config: Mapping[str, Any], ablation: Mapping[str, Any]) -> dict[str, Any]:
    """The token score that the weights of an ablation are meant for, by the keys of ``TOKEN_SCORE``.

    Where no token was scored (zero, mean) it is the run's own.
    """
    source = ablation if ablation["intervention"] in CHOOSING else config["scoring"]
    return {key: source[key] for key in TOKEN_SCORE}


def ablations_of(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [ablation_named(config, name) for name in ablation_names(recipe)]


def listed_layers(ablations: list[dict[str, Any]]) -> str:
    """The layers between which one is chosen, for messages."""
    return ", ".join(str(layer) for layer in sorted(ablation["layer"] for ablation in ablations))


def chooses_layer(recipe: Mapping[str, Any]) -> bool:
    """Whether the weights' layer is known only once their file is made."""
    return len(ablation_names(recipe)) > 1


def has_query(config: Mapping[str, Any], name: str) -> bool:
    """Whether the weights of a recipe hold a mean query."""
    return bool(weights_named(config, name)["query"] == CALIBRATED)


def head_groups(config: Mapping[str, Any]) -> dict[tuple[str, ...], list[str]]:
    """The heads of every job where several share one, consecutive → the ablations with such a job.

    Empty where each head has a job of its own.
    """
    per_job = config["ablation"]["heads_per_job"]
    groups: dict[tuple[str, ...], list[str]] = {}
    if per_job == 1:
        return groups
    for ablation in measured(config):
        heads = [str(head) for head in ablated_heads(config, ablation)]
        size = len(heads) if per_job == "all" else per_job
        for start in range(0, len(heads), size):
            groups.setdefault(tuple(heads[start : start + size]), []).append(ablation["name"])
    return groups


def with_ablation(config: Mapping[str, Any], name: str | None, layers: bool = False) -> dict[str, Any]:
    """The config with only this ablation: a job must depend on no other.

    layers: keep those of one that switches heads off. A scoring job must not depend on them either, since
    its heads stand in its outputs.
    """
    kept = [] if name is None else [ablation_named(config, name)]
    if kept and not layers and "layers" in kept[0]:
        kept = [{key: value for key, value in kept[0].items() if key not in ("layers", "layer")}]
    return {**config, "ablation": {**config["ablation"], "recipes": kept}}

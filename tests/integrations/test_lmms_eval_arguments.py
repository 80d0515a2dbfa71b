"""The lmms-eval plug-in where lmms-eval is not installed: registration, arguments, what is refused.

``test_lmms_eval.py`` runs the real one.
"""

from __future__ import annotations

import tomllib
from importlib import import_module

import pytest
from conftest import EMBEDDED, ROOT

from hawk.core.errors import InputError
from hawk.integrations import lmms_eval
from hawk.models import REGISTRY as FAMILIES
from hawk.pruning import REGISTRY as METHODS
from hawk.pruning.options import facts

BASE = ["device", "batch_size", "min_pixels"]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_entry_point_names_the_function() -> None:
    (place,) = project()["entry-points"]["lmms_eval.models"].values()
    module, _, name = place.partition(":")
    assert callable(getattr(import_module(module), name))


def test_the_extra_installs_what_is_tested() -> None:
    first, end = lmms_eval.TESTED
    wanted, *_ = project()["optional-dependencies"]["lmms-eval"]
    assert wanted == f"lmms-eval[video-legacy]>={first},<{end}"
    lmms_eval.check_version(first)
    lmms_eval.check_version("0.7.12")


@pytest.mark.parametrize("found", ["0.7.2", "0.8", "0.8.0rc1", "1.0", "0.6"])
def test_another_version_is_refused_in_one_line(found: str) -> None:
    with pytest.raises(InputError) as error:
        lmms_eval.check_version(found)
    text = str(error.value)
    assert found in text
    assert "pip install 'lmms-eval>=0.7.3,<0.8'" in text
    assert "\n" not in text


def test_every_plugin_is_of_a_family_that_hawk_has() -> None:
    for name, plugin in lmms_eval.PLUGINS.items():
        assert name.startswith("hawk_")
        assert set(plugin.families) <= set(FAMILIES)


def test_arguments_go_to_the_method_or_to_lmms_eval() -> None:
    own, rest = lmms_eval.split_arguments(
        "hawk", {"rope": True, "device": "cpu", "budget": "per_image", "batch_size": 4}, BASE
    )
    assert own == {"rope": True, "budget": "per_image"}
    assert rest == {"device": "cpu", "batch_size": 4}


def refusal(call, *args) -> str:
    with pytest.raises(InputError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_argument_names_what_is_allowed() -> None:
    text = refusal(lmms_eval.split_arguments, "hawk", {"min_pixel": 4}, BASE)
    assert "'min_pixel'" in text
    assert "Did you mean 'min_pixels'?" in text
    for name in ("weights", "ratio", "query_span", "batch_size"):
        assert name in text.partition("Allowed:")[2]
    # An option of another method is none of this one.
    assert "'trade_off'" in refusal(lmms_eval.split_arguments, "grid", {"trade_off": 1}, BASE)


def test_an_unknown_method_names_the_methods() -> None:
    text = refusal(lmms_eval.split_arguments, "hwak", {}, BASE)
    assert "Did you mean 'hawk'?" in text
    assert all(name in text for name in METHODS)


def test_a_checkpoint_of_another_family_names_its_plugin() -> None:
    text = refusal(lmms_eval.check_family, "hawk_qwen2_5_vl", "internvl", "some/model")
    assert "'internvl'" in text
    assert "take --model hawk_internvl_hf" in text
    lmms_eval.check_family("hawk_internvl_hf", "internvl", "some/model")  # the control


def test_a_family_without_a_plugin_names_those_that_have_one() -> None:
    text = refusal(lmms_eval.check_family, "hawk_qwen2_5_vl", "qwen2_vl", "some/model")
    assert "no plug-in takes that" in text
    assert "hawk_qwen3_vl (qwen3_vl)" in text


def test_the_family_is_read_from_the_checkpoint() -> None:
    assert lmms_eval._model_type(str(EMBEDDED)) == "qwen2_5_vl"
    assert "no such model folder" in refusal(lmms_eval._model_type, "/no/such/folder")


def test_no_option_of_a_method_hides_what_is_ours() -> None:
    for method in METHODS:
        assert not {"pretrained", "method", "ratio", "device", "batch_size"} & set(facts(method).options)


def test_another_name_is_no_plugin() -> None:
    with pytest.raises(AttributeError, match="hawk_gemma"):
        lmms_eval.hawk_gemma  # noqa: B018

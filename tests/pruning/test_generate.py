"""Every feature of ``generate`` inside ``attach``: the same tensor as the masked unpruned prompt."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from oracles import CASES, FAMILIES, generate, masked, pruned, stacked
from tiny_prompts import Image, build
from tiny_random import END, IMAGE, MODELS, NEWLINE, PAD
from tokenizers import Tokenizer, decoders, models
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedTokenizerFast,
    StoppingCriteria,
)

import hawk
from hawk.core.errors import InputError
from hawk.pruning.methods.random import Random

KEPT = Random(pruning_ratio=0.6)
FREE = {"max_new_tokens": None, "min_new_tokens": None}


@pytest.fixture
def model():
    return MODELS["qwen2_5_vl"]()


@pytest.fixture
def inputs():
    return build("qwen2_5_vl", CASES["mixed"])


def prompt_length(inputs):
    return inputs["input_ids"].shape[1]


GREEDY = {
    "beams": {"num_beams": 3},
    "beams, two returned": {"num_beams": 3, "num_return_sequences": 2},
    "one long beam": {"num_beams": 2, "length_penalty": 2.0, "early_stopping": True},
    "repetition penalty": {"repetition_penalty": 1.3},
    "no repeated token": {"no_repeat_ngram_size": 1},
    "no repeated pair": {"no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[30], [31], [32, 33]]},
    "suppressed at first": {"begin_suppress_tokens": list(range(40, 90))},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "stops early": {"min_new_tokens": 0, "eos_token_id": list(range(9, 40))},
    "forced end": {"forced_eos_token_id": END},
    "prompt lookup": {"prompt_lookup_num_tokens": 2, "rows": [[*range(20, 30), Image(2, 3), 30]]},
}


@pytest.mark.parametrize("options", GREEDY.values(), ids=GREEDY)
@pytest.mark.parametrize("family", FAMILIES)
def test_deterministic(family, options):
    model, options = MODELS[family](), dict(options)
    inputs = build(family, options.pop("rows", CASES["mixed"][:3]))
    reference = {} if options.get("use_cache") is False else options  # the oracle keeps its cache
    out = pruned(model, KEPT, inputs, **options)
    expected = masked(model, inputs, KEPT.last.kept_index, **reference)
    assert torch.equal(out.sequences, expected.sequences)
    if "num_beams" in options:
        torch.testing.assert_close(out.sequences_scores, expected.sequences_scores, rtol=0, atol=1e-5)
        assert torch.equal(out.beam_indices, expected.beam_indices)
    else:
        torch.testing.assert_close(torch.stack(out.scores), torch.stack(expected.scores))
        assert len(out.logits) == out.sequences.shape[1] - prompt_length(inputs)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_return_sequences": 3}, {"top_k": 5, "temperature": 1.7}, {"num_beams": 2}],
    ids=["plain", "three returned", "top k", "beam sampling"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_with_a_seed(family, options):
    model, inputs = MODELS[family](), build(family, CASES["mixed"])
    settings = {"do_sample": True, "top_k": 0, "temperature": 0.5, **options}
    torch.manual_seed(5)
    out = pruned(model, KEPT, inputs, **settings)
    torch.manual_seed(5)
    expected = masked(model, inputs, KEPT.last.kept_index, **settings)
    assert torch.equal(out.sequences, expected.sequences)
    torch.manual_seed(6)
    assert not torch.equal(pruned(model, KEPT, inputs, **settings).sequences, out.sequences)


@pytest.mark.parametrize("where", ["argument", "configuration", "model"])
@pytest.mark.parametrize("name", ["max_length", "min_length"])
def test_lengths_count_the_full_prompt(model, inputs, name, where, monkeypatch):
    settings = {"max_length": prompt_length(inputs) + 5}
    if name == "min_length":
        settings = {"min_length": prompt_length(inputs) + 5, "max_new_tokens": 9}
        settings["eos_token_id"] = list(range(END + 1, 96))  # would stop at once
    options = dict(FREE)
    if where == "argument":
        options.update(settings)
    elif where == "configuration":
        options["generation_config"] = GenerationConfig(pad_token_id=PAD, **settings)
        options = {k: v for k, v in options.items() if v is not None}
    else:
        for key, value in settings.items():
            monkeypatch.setattr(model.generation_config, key, value)
    before = copy.deepcopy(options.get("generation_config"))
    call = {"do_sample": False, **inputs, **options}
    with KEPT.attach(model):
        out = model.generate(**call)
    length = out.shape[1] - prompt_length(inputs)
    assert length == 5 if name == "max_length" else length > 5
    assert options.get("generation_config") == before  # the caller's configuration is untouched
    assert torch.equal(out[:, : prompt_length(inputs)], inputs["input_ids"])


def test_too_long_a_prompt_is_refused_as_without_pruning(model, inputs):
    with pytest.raises(ValueError, match="max_length"), KEPT.attach(model):
        model.generate(**inputs, max_length=prompt_length(inputs) - 3)


def test_default_length(model, inputs):
    with KEPT.attach(model):
        out = model.generate(**inputs, do_sample=False, eos_token_id=None)
    assert out.shape[1] == prompt_length(inputs) + 20


def test_arguments_by_position(model, inputs):
    config = GenerationConfig(max_new_tokens=4, min_new_tokens=4, pad_token_id=PAD, eos_token_id=END)
    rest = {k: v for k, v in inputs.items() if k != "input_ids"}
    with KEPT.attach(model):
        by_position = model.generate(inputs["input_ids"], config, **rest)
        by_name = model.generate(**inputs, generation_config=config)
        as_inputs = model.generate(inputs=inputs["input_ids"], generation_config=config, **rest)
    assert torch.equal(by_position, by_name)
    assert torch.equal(by_position, as_inputs)


def test_mask_from_the_pad_token(model, inputs):
    """Without an attention mask generate infers it from the padding, and so does attach."""
    bare = {k: v for k, v in inputs.items() if k != "attention_mask"}
    with KEPT.attach(model):
        out = generate(model, **bare)
    assert torch.equal(out.sequences, pruned(model, KEPT, inputs).sequences)


def test_streamer(model):
    class Collect:
        def __init__(self):
            self.parts, self.ended = [], False

        def put(self, value):
            self.parts.append(value)

        def end(self):
            self.ended = True

    inputs = build("qwen2_5_vl", CASES["one"])
    streamer = Collect()
    out = pruned(model, KEPT, inputs, streamer=streamer)
    assert torch.equal(streamer.parts[0], inputs["input_ids"])
    new = torch.cat([part.flatten() for part in streamer.parts[1:]])
    assert torch.equal(new, out.sequences[0, prompt_length(inputs) :])
    assert streamer.ended


def test_stop_strings(model, inputs):
    """Also a string that begins in the prompt and ends in the answer."""

    vocabulary = {chr(33 + i): i for i in range(96)}  # one character per token
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    free = masked(model, inputs, _kept(model, inputs)).sequences[:, prompt_length(inputs) :]
    for stop in ([int(free[0, 2])], [NEWLINE, int(free[0, 0])]):  # the prompt ends in NEWLINE
        text = "".join(chr(33 + token) for token in stop)
        options = {"stop_strings": text, "tokenizer": tokenizer, "min_new_tokens": 0}
        out = pruned(model, KEPT, inputs, **options)
        expected = masked(model, inputs, KEPT.last.kept_index, **options)
        assert torch.equal(out.sequences, expected.sequences)


def _kept(model, inputs):
    pruned(model, KEPT, inputs)
    return KEPT.last.kept_index


def test_assistant_model(model):
    inputs = build("qwen2_5_vl", CASES["one"])
    helper = MODELS["qwen2_5_vl"](seed=1)
    out = pruned(model, KEPT, inputs, assistant_model=helper)
    expected = masked(model, inputs, KEPT.last.kept_index)
    assert torch.equal(out.sequences, expected.sequences)


def test_custom_processors_see_the_pruned_prompt(model, inputs):
    seen = []

    class Look(LogitsProcessor):
        def __call__(self, ids, scores):
            seen.append(ids.shape[1])
            return scores

    class Never(StoppingCriteria):
        def __call__(self, ids, scores, **kwargs):
            seen.append(ids.shape[1])
            return torch.zeros(len(ids), dtype=torch.bool)

    out = pruned(model, KEPT, inputs, logits_processor=[Look()], stopping_criteria=[Never()])
    removed = max(v - k for v, k in zip(KEPT.last.visual_tokens, KEPT.last.kept_tokens))
    assert min(seen) < prompt_length(inputs) <= min(seen) + removed
    assert out.sequences.shape[1] == prompt_length(inputs) + 12


def test_cache_in_the_result_is_as_long_as_what_was_kept(model):
    inputs = build("qwen2_5_vl", CASES["one"])
    out = pruned(model, KEPT, inputs)
    removed = KEPT.last.visual_tokens[0] - KEPT.last.kept_tokens[0]
    assert removed > 0
    assert out.past_key_values.get_seq_length() == prompt_length(inputs) - removed + 12 - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_blind_batch(family):
    """A prompt may lose all its visual tokens."""
    from hawk.pruning.methods.blind import Blind

    model, inputs = MODELS[family](), build(family, CASES["mixed"])
    out = pruned(model, Blind(), inputs)
    expected = masked(model, inputs, [torch.empty(0, dtype=torch.long)] * 4)
    torch.testing.assert_close(stacked(out), stacked(expected), rtol=0, atol=1e-5)
    assert torch.equal(out.sequences, expected.sequences)


# --- contexts ----------------------------------------------------------------------------------


def test_nested_contexts_use_the_inner_pruner_alone(model, inputs):
    inner = Random(pruning_ratio=0.3)
    expected, outside = pruned(model, inner, inputs), pruned(model, KEPT, inputs)
    with KEPT.attach(model):
        with inner.attach(model):
            assert torch.equal(generate(model, **inputs).sequences, expected.sequences)
        assert torch.equal(generate(model, **inputs).sequences, outside.sequences)
    assert "generate" not in model.__dict__


def test_direct_calls_and_deep_copies_are_not_pruned(model, inputs):
    plain = model(**inputs).logits
    expected = generate(model, **inputs)
    with KEPT.attach(model):
        assert torch.equal(model(**inputs).logits, plain)
        twin = copy.deepcopy(model)
        assert torch.equal(generate(twin, **inputs).sequences, expected.sequences)
    assert torch.equal(generate(twin, **inputs).sequences, expected.sequences)


def test_another_override_is_called_and_put_back(model, inputs):
    """Somebody else's ``generate`` on the instance is what runs inside, and what remains."""
    calls = []
    own = model.generate

    def counted(*args, **kwargs):
        calls.append(kwargs["input_ids"].shape[1])
        return own(*args, **kwargs)

    model.generate = counted
    try:
        pruned(model, KEPT, inputs)
        assert calls[0] < prompt_length(inputs)
        assert model.generate is counted
    finally:
        del model.generate


def test_a_thread_without_its_own_pruner_uses_the_last_attached(model, inputs):
    """The usual way of streaming: generate runs in a worker."""
    expected = pruned(model, KEPT, inputs).sequences
    with KEPT.attach(model), ThreadPoolExecutor(1) as pool:
        out = pool.submit(generate, model, **inputs).result()
    assert torch.equal(out.sequences, expected)


def test_threads_with_their_own_pruners(model, inputs):
    """Two threads attach and detach in an order that is no nesting; each is pruned its own way."""
    pruners = [Random(pruning_ratio=0.6), Random(pruning_ratio=0.3)]
    expected = [pruned(model, pruner, inputs).sequences for pruner in pruners]
    barrier = threading.Barrier(2, timeout=60)

    def work(i):
        with pruners[i].attach(model):
            barrier.wait()
            found = generate(model, **inputs).sequences
            barrier.wait()
            if i:  # the first to attach may be the first to leave
                barrier.wait()
                found = torch.cat([found, generate(model, **inputs).sequences])
        if not i:
            barrier.wait()
        return found

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert torch.equal(first, expected[0])
    assert torch.equal(second, torch.cat([expected[1]] * 2))
    assert "generate" not in model.__dict__


def test_last_tells_of_the_last_call(model, inputs):
    pruned(model, KEPT, inputs)
    assert KEPT.last.kept_tokens[0] < KEPT.last.visual_tokens[0]
    pruned(model, KEPT, build("qwen2_5_vl", [[20, 21]]))
    assert KEPT.last.visual_tokens == [0]


# --- wrappers ----------------------------------------------------------------------------------


def test_compiled_wrapper_is_looked_through(model, inputs):
    compiled = torch.compile(model, backend="eager")
    with KEPT.attach(compiled):
        out = generate(compiled, **inputs)
    assert torch.equal(out.sequences, pruned(model, KEPT, inputs).sequences)


def test_compiled_forward(model, inputs):
    """What the transformers documentation advises: compile the instance's forward."""
    expected = pruned(model, KEPT, inputs).sequences
    model.forward = torch.compile(model.forward, backend="eager")
    try:
        assert torch.equal(pruned(model, KEPT, inputs).sequences, expected)
    finally:
        del model.forward


def test_a_model_that_takes_no_features(model, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda input_ids: None)
    with pytest.raises(InputError, match=r"transformers 5\.18"), KEPT.attach(model):
        pass


def test_template_ids_from_a_processor(inputs):
    """A model that hawk.load did not load has no known template until a processor is given."""
    from types import SimpleNamespace

    from hawk.pruning.methods.hawk import Hawk

    model = copy.deepcopy(MODELS["qwen2_5_vl"]())

    class Words(dict):
        unk_token_id = None

        def __call__(self, text, add_special_tokens=True):
            ids = {"<|im_start|>user": [0, 1], "<|im_start|>user\n": [0, 1, 2]}
            return {"input_ids": ids.get(text, [0, 1, 9])}

        def convert_tokens_to_ids(self, token):
            return self.get(token)

    pruner = Hawk(pruning_ratio=0.5)
    with pruner.attach(model), pytest.raises(InputError, match="pass processor= to attach"):
        model.generate(**inputs)
    with pytest.raises(InputError, match=r"no '<\|im_end\|>' token"):
        pruner.attach(model, SimpleNamespace(tokenizer=Words())).__enter__()
    processor = SimpleNamespace(tokenizer=Words({"<|im_end|>": END}))
    with pruner.attach(model, processor):
        out = generate(model, **inputs)
    expected = pruned(MODELS["qwen2_5_vl"](), pruner, inputs)
    assert torch.equal(out.sequences, expected.sequences)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_flash_attention(family):
    """The same tokens kept, and nearly the same logits as sdpa, in bfloat16 on a GPU."""
    pytest.importorskip("flash_attn")
    inputs = {k: v.cuda() for k, v in build(family, CASES["mixed"]).items()}
    logits = []
    for attention in ("sdpa", "flash_attention_2"):
        model = copy.deepcopy(MODELS[family](attention)).cuda().to(torch.bfloat16)
        out = pruned(model, KEPT, inputs)
        logits.append(out.logits[0].float())
    assert (logits[0] - logits[1]).abs().max() < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu(family):
    """Inputs may be on the CPU; a static cache compiles decoding by itself."""
    inputs = build(family, CASES["mixed"])
    expected = pruned(MODELS[family](), KEPT, inputs)
    kept = [index.tolist() for index in KEPT.last.kept_index]
    model = copy.deepcopy(MODELS[family]()).cuda()
    for options in ({}, {"cache_implementation": "static"}):
        out = pruned(model, KEPT, inputs, **options)
        assert [index.tolist() for index in KEPT.last.kept_index] == kept
        assert torch.equal(out.sequences.cpu(), expected.sequences)


class Peft:
    """What attach needs to know of peft's wrapper; the package is no dependency."""

    def __init__(self, model, prompt_learning=False):
        self.model = model
        self.peft_config = {"default": type("C", (), {"is_prompt_learning": prompt_learning})}

    def get_base_model(self):
        return self.model

    def generate(self, **kwargs):
        return self.get_base_model().generate(**kwargs)


def test_peft_wrapper_is_looked_through(model, inputs):
    wrapped = Peft(model)
    with KEPT.attach(wrapped):
        out = generate(wrapped, **inputs)
    assert torch.equal(out.sequences, pruned(model, KEPT, inputs).sequences)


def test_prompt_tuning_is_refused(model):
    with pytest.raises(InputError, match="prompt-tuning"), KEPT.attach(Peft(model, True)):
        pass


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cache", "past_key_values"])  # the newer and the older
def test_a_cache_cannot_be_continued(model, inputs, name):
    cache = generate(model, **inputs).past_key_values
    with KEPT.attach(model), pytest.raises(InputError, match=f"{name} is not empty"):
        model.generate(**inputs, **{name: cache})


def test_embeddings_are_refused(model, inputs):
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    with KEPT.attach(model), pytest.raises(InputError, match="inputs_embeds"):
        model.generate(**inputs, inputs_embeds=embeds)


def test_right_padding_is_refused(model, inputs):
    inputs["input_ids"] = inputs["input_ids"].flip(1)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    with KEPT.attach(model), pytest.raises(InputError, match="left padding"):
        model.generate(**inputs)


def test_more_images_than_placeholders(model):
    inputs = build("qwen2_5_vl", CASES["one"])
    inputs["input_ids"][inputs["input_ids"] == IMAGE] = 20
    inputs["input_ids"][0, 5] = IMAGE
    with KEPT.attach(model), pytest.raises(InputError, match=r"1 image placeholders.*6 visual"):
        model.generate(**inputs)


@pytest.mark.parametrize("family", ["internvl", "llava", "llava_next", "llava_onevision"])
def test_placeholders_that_no_image_fills(family):
    model, inputs = MODELS[family](), build(family, [[Image(1, 1), 20]])
    where = (inputs["input_ids"] == IMAGE).nonzero()[-1]
    inputs["input_ids"][tuple(where)] = 20
    with KEPT.attach(model), pytest.raises(InputError, match="placeholders"):
        model.generate(**inputs)


@pytest.mark.parametrize("key", ["image_grid_thw", "image_sizes"])
def test_a_processor_without_grid(key):
    family = "qwen2_vl" if key == "image_grid_thw" else "llava_onevision"
    model, inputs = MODELS[family](), build(family, CASES["one"])
    del inputs[key]
    with KEPT.attach(model), pytest.raises(InputError, match=key):
        model.generate(**inputs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{}", "its config cannot be read: .*model_type"),
        ("{", "its config cannot be read"),
        (
            '{"model_type": "llama"}',
            r"^model.path .*'llama' models .*: .* read no images. Allowed .*internvl",
        ),
        ('{"model_type": "aria"}', r"^model.path .*'aria' models .*: no family .*Allowed .*internvl"),
        ('{"model_type": "unheard_of"}', r"type `unheard_of` but Transformers .*Allowed .*internvl"),
        (
            '{"model_type": "qwen3_5"}',
            r"^model.path .*linear attention and have no heads.*Allowed .*internvl",
        ),
        ('{"model_type": "gemma4"}', r"^model.path .*sliding windows.*Allowed .*internvl"),
        (
            '{"model_type": "internvl", "text_config": {"model_type": "qwen3_next"}}',
            r"^model.path .*linear attention.*Allowed: full attention",
        ),
        ('{"model_type": "internvl", "text_config": {"model_type": "gpt_oss"}}', r"windows of 128 tokens"),
        (
            '{"model_type": "llava_next", "text_config": {"model_type": "mistral"}}',
            r"^model.path .*windows of 4096 tokens.*Allowed: full attention",
        ),
        (
            '{"model_type": "llava", "vision_config": {"model_type": "pixtral"}}',
            r"^model.path .*'pixtral'; .*clip_vision_model or siglip_vision_model",
        ),
        (
            '{"model_type": "llava_next", "vision_feature_select_strategy": "full"}',
            r"^model.path .*'full'.*hawk knows 'default'",
        ),
        (
            '{"model_type": "internvl_chat", "auto_map": {"AutoConfig": "own.Config"}}',
            "code of its own, which hawk never runs.*end in -hf",
        ),
    ],
)
def test_folders_that_are_no_model_of_a_family(tmp_path, config, message):
    from hawk.tools.init import write_config

    (tmp_path / "config.json").write_text(config)
    (tmp_path / "own.py").write_text("raise RuntimeError('was run')")
    for call in (hawk.load, lambda folder: write_config(folder, str(tmp_path / "out.yaml"))):
        with pytest.raises(InputError, match=message) as caught:
            call(str(tmp_path))
        assert "\n" not in str(caught.value)


def test_a_model_without_its_processor(tmp_path):
    MODELS["qwen2_5_vl"]().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its processor cannot be read"):
        hawk.load(str(tmp_path), device="cpu")


def test_unknown_and_text_only_models():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"'qwen2'.* read no images.*internvl.*qwen3_vl"):
        KEPT.attach(Qwen2ForCausalLM(config)).__enter__()

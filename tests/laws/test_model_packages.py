"""Models of timm and transformers, unchanged and with random weights: the laws, and a training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import hrat
from laws.checks import assert_laws, assert_model_is_chip, assert_same
from laws.networks import SPECS, as_trained
from model_packages import package

IMAGES = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])

TIMM: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_vit": {"img_size": 32},
    "test_efficientnet": {},
    "mobilenetv2_035": {},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 20), "drop_path_rate": 0.1},
    "densenet121": {"growth_rate": 4, "block_config": (2, 2)},
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "swin_tiny_patch4_window7_224": {
        **{"img_size": 32, "window_size": 4, "embed_dim": 12},
        **{"depths": (2, 2), "num_heads": (2, 2)},
    },
}

SLOW = ("test_resnet", "mobilenetv2_035")

SIZES: dict[str, Any] = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "vocab_size": 50,
}
IMAGE_SIZES = {**{k: v for k, v in SIZES.items() if k != "vocab_size"}, "image_size": 32, "patch_size": 8}
GPT2 = {
    **{"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2},
    **{"bos_token_id": 1, "eos_token_id": 2},
}
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", SIZES, {"input_ids": IDS}),
    "bert, padded": (
        *("BertForSequenceClassification", "BertConfig", SIZES),
        {"input_ids": IDS, "attention_mask": MASK},
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "use_cache": False}, {"input_ids": IDS}),
    "gpt2, padded": (
        *("GPT2LMHeadModel", "GPT2Config", {**GPT2, "use_cache": False}),
        {"input_ids": IDS, "attention_mask": MASK},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", IMAGE_SIZES, {"pixel_values": IMAGES}),
    "distilbert": (
        *("DistilBertForSequenceClassification", "DistilBertConfig"),
        {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
        {"input_ids": IDS},
    ),
    "llama": (
        *("LlamaForCausalLM", "LlamaConfig", {**SIZES, "num_key_value_heads": 1, "use_cache": False}),
        {"input_ids": IDS},
    ),
    "t5": (
        *("T5ForConditionalGeneration", "T5Config"),
        {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "use_cache": False},
        {"input_ids": IDS, "decoder_input_ids": IDS[:, :5]},
    ),
    "convnext": (
        *("ConvNextForImageClassification", "ConvNextConfig"),
        {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
        {"pixel_values": IMAGES},
    ),
    "resnet": (
        *("ResNetForImageClassification", "ResNetConfig"),
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        {"pixel_values": IMAGES},
    ),
}


def of_timm(name: str) -> nn.Module:
    torch.manual_seed(0)
    return as_trained(package("timm").create_model(name, num_classes=5, **TIMM[name]))


def of_transformers(name: str) -> tuple[nn.Module, dict[str, Any]]:
    transformers = package("transformers")
    model, config, sizes, inputs = TRANSFORMERS[name]
    torch.manual_seed(0)
    return as_trained(getattr(transformers, model)(getattr(transformers, config)(**sizes))), inputs


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TIMM])
def test_a_model_of_timm(name: str) -> None:
    prepared = assert_laws(of_timm(name), IMAGES, SPECS["harsh"])
    _assert_trains(prepared, IMAGES)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_model_of_transformers(name: str) -> None:
    model, inputs = of_transformers(name)
    prepared = assert_laws(model, inputs, SPECS["harsh"])
    out = prepared.eval()(**inputs)
    assert type(out) is type(model(**inputs))  # with its attributes
    _assert_trains(prepared, inputs)
    chip = hrat.program(hrat.deploy(prepared))
    assert_model_is_chip(prepared, chip, _turned(inputs))
    one = {key: value[:1] for key, value in inputs.items()}
    if name in ("gpt2", "llama"):  # without a mask, transformers itself treats a single text in another way
        with pytest.raises(hrat.HratError, match=r"branches on a size at masking_utils\.py:\d+"):
            prepared(**one)
    else:
        assert_model_is_chip(prepared, chip, one)


def _turned(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of another size."""
    return {key: torch.cat([value, value.flip(0)]) for key, value in inputs.items()}


def _assert_trains(prepared: hrat.PreparedModel, x: Any) -> None:
    prepared.train()
    out = prepared(**x) if isinstance(x, dict) else prepared(x)
    sum(leaf.square().mean() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)).backward()  # type: ignore[union-attr]
    for key, parameter in prepared.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, key


def test_the_length_of_a_text_is_free() -> None:
    model, inputs = of_transformers("bert, padded")
    prepared = hrat.prepare(model, SPECS["harsh"], inputs)
    chip = hrat.program(hrat.deploy(prepared))
    shorter = {key: value[:, :5] for key, value in inputs.items()}
    assert_model_is_chip(prepared, chip, shorter)


def test_a_switch_of_the_example_is_part_of_the_network() -> None:
    transformers = package("transformers")
    model = as_trained(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)))
    prepared = hrat.prepare(model, SPECS["harsh"], {"input_ids": IDS, "use_cache": False})
    with torch.no_grad():
        assert_same(
            prepared(input_ids=IDS, use_cache=False).logits, prepared(IDS).logits, "with and without the switch"
        )
    with pytest.raises(hrat.HratError, match=r"'use_cache' is False as in the example input.*got True"):
        prepared(input_ids=IDS, use_cache=True)


def test_a_cache_that_a_model_returns_is_left_out_with_a_note() -> None:
    transformers = package("transformers")
    model = as_trained(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)))
    prepared = hrat.prepare(model, SPECS["harsh"], IDS)
    assert any("DynamicCache" in note and "left out" in note for note in prepared.report.notes)
    with torch.no_grad():
        assert_same(prepared(IDS).logits.shape, model(IDS).logits.shape, "shape")


def test_names_of_layers_are_those_of_the_model() -> None:
    model, inputs = of_transformers("gpt2")
    names = [row.name for row in hrat.prepare(model, SPECS["harsh"], inputs).report.layers]
    assert names[:4] == [f"transformer.h.0.{part}" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    assert names[-1] == "lm_head"

"""Networks of transformers are built from local files alone and give the tensors that the tasks define."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from footplate.errors import InputError, MissingExtraError
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network, compute_layers_again, get_layer_stack, get_tensor_plan
from footplate.trainer.weights import get_weights, load_weights, save_weights

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32, "vocab_size": 50257}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
}
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 224,
    "patch_size": 4,
}
SEGFORMER = {
    "model_type": "segformer",
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [8, 16],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 8,
}


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(1)


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_signature(task: TaskKind, shape: tuple[int, ...], *, vocab_size: int = 0, num_outputs: int = 3) -> Signature:
    outputs = vocab_size if task == "language_model" else num_outputs
    return Signature(task=task, input_shape=shape, num_outputs=outputs, vocab_size=vocab_size)


def build(folder: Path, signature: Signature) -> torch.nn.Module:
    return build_network(Model(architecture=f"hf:{folder}"), signature).eval()


def make_inputs(signature: Signature) -> torch.Tensor:
    shape = (2, *signature.input_shape)
    return torch.randint(0, signature.vocab_size, shape) if signature.vocab_size else torch.randn(shape)


@pytest.mark.parametrize(
    ("config", "signature", "outputs"),
    [
        (GPT2, make_signature("language_model", (9,), vocab_size=20), (9, 20)),
        (GPT2, make_signature("classification", (9,), vocab_size=20), (3,)),
        (GPT2, make_signature("sequence", (9,), vocab_size=20), (9, 3)),
        (BERT, make_signature("language_model", (9,), vocab_size=20), (9, 20)),
        (BERT, make_signature("multi_label", (9,), vocab_size=20), (3,)),
        (BERT, make_signature("regression", (9,), vocab_size=20, num_outputs=1), (1,)),
        (BERT, make_signature("sequence", (9,), vocab_size=20), (9, 3)),
        (VIT, make_signature("classification", (3, 16, 16)), (3,)),
        (VIT, make_signature("classification", (16, 16)), (3,)),
        (VIT, make_signature("multi_label", (16, 12, 3)), (3,)),
        (SEGFORMER, make_signature("segmentation", (3, 18, 22)), (3, 18, 22)),
    ],
    ids=lambda value: value.get("model_type") if isinstance(value, dict) else getattr(value, "task", None),
)
def test_outputs_are_the_tensors_of_the_task(
    config: dict[str, Any], signature: Signature, outputs: tuple[int, ...], tmp_path: Path
) -> None:
    network = build(write_config(tmp_path, config), signature)
    given = network(make_inputs(signature))
    assert type(given) is torch.Tensor
    assert given.shape == (2, *outputs)
    assert given.dtype is torch.float32
    assert get_tensor_plan(network) == {}


def test_a_config_file_of_any_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(GPT2))
    signature = make_signature("language_model", (9,), vocab_size=20)
    assert build_network(Model(architecture=f"hf:{tmp_path / 'small.json'}"), signature)


@pytest.mark.parametrize("config", [GPT2, BERT], ids=["gpt2", "bert"])
def test_a_language_model_sees_no_later_token(config: dict[str, Any], tmp_path: Path) -> None:
    signature = make_signature("language_model", (9,), vocab_size=20)
    network = build(write_config(tmp_path, config), signature)
    tokens = make_inputs(signature)
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 20
    torch.testing.assert_close(network(tokens)[:, :5], network(changed)[:, :5], rtol=0, atol=1e-6)
    assert not torch.allclose(network(tokens)[:, 5:], network(changed)[:, 5:], atol=1e-5)


def test_the_last_position_answers_whatever_its_token(tmp_path: Path) -> None:
    """No token is padding, also not 0 or the end of a text."""
    signature = make_signature("classification", (6,), vocab_size=20)
    network = build(write_config(tmp_path, {**GPT2, "vocab_size": 20, "eos_token_id": 0}), signature)
    tokens = torch.tensor([[1, 2, 3, 4, 0, 0], [1, 2, 3, 4, 0, 5]])
    scores = network.get_submodule("network.score")(
        network.get_submodule("network.transformer")(tokens).last_hidden_state[:, -1]
    )
    torch.testing.assert_close(network(tokens), scores)


def save_pretrained(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    config = transformers.GPT2Config(**{name: value for name, value in GPT2.items() if name != "model_type"})
    network = transformers.GPT2LMHeadModel(config).to(dtype)
    network.save_pretrained(folder)
    return network.eval()


def test_weights_beside_the_config_are_the_start(tmp_path: Path) -> None:
    original = save_pretrained(tmp_path)
    network = build(tmp_path, make_signature("language_model", (9,), vocab_size=20))
    tokens = torch.randint(0, 20, (2, 9))
    torch.testing.assert_close(network(tokens), original(tokens).logits[..., :20])


def test_weights_in_half_precision_are_trained_in_full(tmp_path: Path) -> None:
    save_pretrained(tmp_path, torch.bfloat16)
    network = build(tmp_path, make_signature("language_model", (9,), vocab_size=20))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_new_last_layer_starts_fresh_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    original = save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="footplate"):
        network = build(tmp_path, make_signature("classification", (9,), vocab_size=20))
    assert "weights that start fresh: score.weight" in caplog.text
    kept = network.get_parameter("network.transformer.h.0.attn.c_attn.weight")
    assert torch.equal(kept, original.transformer.h[0].attn.c_attn.weight)


def test_tokens_that_the_network_does_not_know_are_refused(tmp_path: Path) -> None:
    save_pretrained(tmp_path)
    with pytest.raises(InputError, match="the network knows 50,257 tokens, the data have 60,000"):
        build(tmp_path, make_signature("language_model", (9,), vocab_size=60_000))


def test_weights_that_can_hold_code_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path, GPT2)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match=r"pytorch_model\.bin, which can hold code; only safetensors are read"):
        build(tmp_path, make_signature("language_model", (9,), vocab_size=20))


def test_code_beside_the_config_is_not_run(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}},
    )
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w').close()")
    with pytest.raises(InputError, match="transformers cannot build"):
        build(tmp_path, make_signature("language_model", (9,), vocab_size=20))
    assert not ran.exists()


def test_a_path_that_is_not_there_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there") as caught:
        build(tmp_path / "gpt2", make_signature("language_model", (9,), vocab_size=20))
    assert "nothing is fetched" in caught.value.hint


def test_a_class_that_does_not_learn_the_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot build .* for language_model") as caught:
        build(write_config(tmp_path, VIT), make_signature("language_model", (9,), vocab_size=20))
    assert caught.value.hint == "it is asked for an AutoModelForCausalLM"


def test_without_transformers_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, GPT2)
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"footplate\[hf\]|transformers"):
        build(tmp_path, make_signature("language_model", (9,), vocab_size=20))


@pytest.mark.parametrize("config", [GPT2, BERT, VIT], ids=["gpt2", "bert", "vit"])
def test_layers_are_found_and_computed_again_with_the_same_numbers(config: dict[str, Any], tmp_path: Path) -> None:
    image = config is VIT
    signature = (
        make_signature("classification", (3, 8, 8)) if image else make_signature("classification", (9,), vocab_size=20)
    )
    inputs = make_inputs(signature)
    gradients = []
    for again in (False, True):
        torch.manual_seed(3)
        network = build(write_config(tmp_path, config), signature).train()
        assert len(get_layer_stack(network) or ()) == config.get("n_layer", config.get("num_hidden_layers"))
        assert not again or compute_layers_again(network)
        torch.manual_seed(4)
        network(inputs).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all((one is None and two is None) or torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_weights_are_saved_and_read_with_their_tied_tables(tmp_path: Path) -> None:
    signature = make_signature("language_model", (9,), vocab_size=20)
    folder = write_config(tmp_path / "config", GPT2)
    network, other = build(folder, signature), build(folder, signature)
    save_weights(get_weights(network), tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    tokens = make_inputs(signature)
    assert torch.equal(network(tokens), other(tokens))

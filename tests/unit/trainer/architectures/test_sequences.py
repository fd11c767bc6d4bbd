"""Language models see no later token, attention is the textbook's, and what can be split is split whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from footplate.errors import InputError
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network, get_tensor_plan

VOCAB = 13
LANGUAGE = Signature(task="language_model", input_shape=(12,), num_outputs=VOCAB, vocab_size=VOCAB)
READERS: list[dict[str, Any]] = [
    {"architecture": "gpt"},
    {"architecture": "gpt", "positions": "rotary"},
    {"architecture": "transformer"},
    {"architecture": "lightweight_transformer"},
    {"architecture": "rnn"},
    {"architecture": "lstm"},
    {"architecture": "gru"},
]


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(1)


def build(keys: dict[str, Any], signature: Signature = LANGUAGE) -> nn.Module:
    return build_network(Model(**{"hidden_size": 16, "num_layers": 2, **keys}), signature).eval()


@pytest.mark.parametrize("keys", READERS, ids=lambda keys: "-".join(keys.values()))
@pytest.mark.parametrize("at", [1, 6, 11])
def test_a_token_changes_no_output_before_it_and_its_own(keys: dict[str, Any], at: int) -> None:
    network = build(keys)
    tokens = torch.randint(0, VOCAB, (3, 12))
    changed = tokens.clone()
    changed[:, at] = (changed[:, at] + 1) % VOCAB
    before, after = network(tokens), network(changed)
    torch.testing.assert_close(before[:, :at], after[:, :at], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, at], after[:, at], atol=1e-4)
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-6)


@pytest.mark.parametrize("name", ["transformer", "lightweight_transformer"])
def test_an_encoder_sees_both_ways(name: str) -> None:
    signature = Signature(task="sequence", input_shape=(12,), num_outputs=4, vocab_size=VOCAB)
    network = build({"architecture": name}, signature)
    tokens = torch.randint(0, VOCAB, (1, 12))
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert not torch.allclose(network(tokens)[:, 0], network(changed)[:, 0], atol=1e-7)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_a_language_model_reads_shorter_texts_too(name: str, positions: str) -> None:
    more = {"positions": positions} if name == "gpt" else {}
    network = build({"architecture": name, **more})
    tokens = torch.randint(0, VOCAB, (2, 12))
    torch.testing.assert_close(network(tokens)[:, :5], network(tokens[:, :5]))


def test_a_gpt_layer_is_the_textbook_formula() -> None:
    layer = build({"architecture": "gpt", "num_attention_heads": 2}).get_submodule("layers.0")
    hidden = torch.randn(2, 5, 16)
    fused = layer.query_key_value(layer.attention_norm(hidden)).reshape(2, 5, 2, 3, 8)
    heads = []
    for head in range(2):
        query, key, value = fused[:, :, head].unbind(2)
        scores = query @ key.transpose(1, 2) / math.sqrt(8)
        scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -math.inf)
        heads.append(torch.softmax(scores, dim=-1) @ value)
    attended = hidden + layer.attention_out(torch.cat(heads, dim=2))
    inner = functional.gelu(layer.feed_in(layer.feed_norm(attended)), approximate="tanh")
    torch.testing.assert_close(layer(hidden), attended + layer.feed_out(inner))


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    from footplate.trainer.architectures.gpt import _make_turns, _turn

    turns = _make_turns(Model(architecture="gpt", hidden_size=16, num_attention_heads=2), 40)
    query, key = torch.randn(8), torch.randn(8)

    def score(at: int, other: int) -> Tensor:
        return _turn(query, turns[:, at]) @ _turn(key, turns[:, other])

    torch.testing.assert_close(score(3, 1), score(33, 31), rtol=1e-4, atol=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3
    torch.testing.assert_close(score(9, 9), query @ key)


def test_a_rotary_head_must_be_even() -> None:
    with pytest.raises(InputError, match="heads of an even size, and hidden_size 12 / 4 heads = 3"):
        build({"architecture": "gpt", "positions": "rotary", "hidden_size": 12})


def test_a_gpt_starts_as_gpt2_does() -> None:
    network = build({"architecture": "gpt", "hidden_size": 256, "num_layers": 8})
    assert network.get_parameter("embed.weight").std().item() == pytest.approx(0.02, rel=0.05)
    for name, parameter in network.named_parameters():
        if name.endswith(("query_key_value.weight", "feed_in.weight")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        elif name.endswith(("attention_out.weight", "feed_out.weight")):
            assert parameter.std().item() == pytest.approx(0.02 / 4, rel=0.05), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
    tokens = torch.randint(0, VOCAB, (8, 12))
    loss = functional.cross_entropy(network(tokens).flatten(0, 1), tokens.flip(0).flatten())
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=0.3)


def test_a_gpt_predicts_by_the_table_of_its_tokens() -> None:
    network = build({"architecture": "gpt"})
    assert not [name for name, _ in network.named_parameters() if name.startswith("head")]
    with torch.no_grad():
        network.get_parameter("embed.weight")[4] = 0
    assert not network(torch.zeros(1, 12, dtype=torch.int64))[..., 4].any()


def test_separable_attention_is_the_formula_of_its_paper() -> None:
    signature = Signature(task="classification", input_shape=(6, 3), num_outputs=2)
    layer = build({"architecture": "lightweight_transformer", "num_attention_heads": 1}, signature).get_submodule(
        "layers.0"
    )
    hidden = torch.randn(2, 6, 16) / 4
    key, value = layer.key_value(hidden).chunk(2, dim=-1)
    weights = torch.softmax(8 * torch.tanh(layer.score(hidden) / 8), dim=1)
    context = (weights * key).sum(dim=1, keepdim=True)
    torch.testing.assert_close(layer._attend(hidden), layer.attention_out(torch.relu(value) * context))


def test_running_sums_stay_in_range_over_long_texts() -> None:
    signature = Signature(task="language_model", input_shape=(4096,), num_outputs=VOCAB, vocab_size=VOCAB)
    network = build({"architecture": "lightweight_transformer", "hidden_size": 8, "num_layers": 1}, signature)
    with torch.no_grad():
        network.get_parameter("layers.0.score.weight").mul_(1e4)
        assert network(torch.randint(0, VOCAB, (1, 4096))).isfinite().all()


def test_a_bidirectional_answer_has_seen_the_whole_sequence_both_ways() -> None:
    signature = Signature(task="classification", input_shape=(6, 3), num_outputs=2)
    network = build({"architecture": "lstm", "bidirectional": True, "num_layers": 1}, signature)
    cell = network.get_submodule("layers.0.cell")
    inputs = torch.randn(2, 6, 3)
    _, (last, _) = cell(inputs)
    head = network.get_submodule("head")
    torch.testing.assert_close(network(inputs), head(torch.cat([last[0], last[1]], dim=1)))


@pytest.mark.parametrize(
    ("keys", "signature"),
    [
        ({"architecture": "gpt", "num_attention_heads": 4}, LANGUAGE),
        ({"architecture": "gpt", "num_attention_heads": 4, "positions": "rotary"}, LANGUAGE),
        ({"architecture": "transformer"}, LANGUAGE),
        ({"architecture": "lightweight_transformer"}, LANGUAGE),
        ({"architecture": "mlp", "num_layers": 3}, Signature(task="regression", input_shape=(6,), num_outputs=2)),
        ({"architecture": "mlp", "num_layers": 2}, Signature(task="regression", input_shape=(6,), num_outputs=2)),
    ],
    ids=["gpt", "gpt-rotary", "transformer", "lightweight", "mlp-even", "mlp-odd"],
)
def test_a_network_split_by_its_plan_gives_the_same_outputs(keys: dict[str, Any], signature: Signature) -> None:
    """Each half computes with its part of the split layers; what rowwise layers give is added up."""
    network = build(keys, signature)
    inputs = torch.randint(0, VOCAB, (2, 12)) if signature.vocab_size else torch.randn(2, 6)
    whole = network(inputs)
    plan = get_tensor_plan(network)
    assert plan
    split_by_hand(network, plan)
    torch.testing.assert_close(network(inputs), whole, rtol=1e-4, atol=1e-5)


class _Halves(nn.Module):
    """Stands for the two processes in turn: calls what lies between two split layers once for each."""

    def __init__(self, layer: nn.Linear, how: str) -> None:
        super().__init__()
        self.layer, self.how = layer, how

    def forward(self, inputs: Tensor) -> Tensor:
        weight, bias = self.layer.weight, self.layer.bias
        if self.how == "colwise":  # the halves travel side by side as twice the batch
            return torch.cat(
                [functional.linear(inputs, w, b) for w, b in zip(weight.chunk(2), bias.chunk(2), strict=True)]
            )
        first, second = inputs.chunk(2)
        left, right = weight.chunk(2, dim=1)
        return functional.linear(first, left) + functional.linear(second, right) + bias


def split_by_hand(network: nn.Module, plan: dict[str, Any]) -> None:
    for name, how in plan.items():
        parent, _, child = name.rpartition(".")
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(network.get_submodule(parent), child, _Halves(layer, how))

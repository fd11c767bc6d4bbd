"""The built-in networks have the parameters the formula counts; classes of the user's are found and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from footplate.errors import InputError
from footplate.profile.costs import count_parameters
from footplate.profile.facts import Signature
from footplate.profile.load import load_profile_text
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_model, build_network, count_model_parameters


def make_signature(shape: tuple[int, ...] = (4,), num_outputs: int = 3) -> Signature:
    return Signature(task="classification", input_shape=shape, num_outputs=num_outputs)


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ({"architecture": "mlp", "num_layers": 1}, (7,)),
        ({"architecture": "mlp", "num_layers": 3, "hidden_size": 33, "dropout": 0.1}, (4, 5)),
        ({"architecture": "cnn", "num_layers": 5, "hidden_size": 4}, (8, 8)),
        ({"architecture": "cnn", "hidden_size": 6}, (3, 10, 12)),
        ({"architecture": "cnn", "hidden_size": 6, "dropout": 0.2}, (10, 12, 3)),
        ({"architecture": "cnn", "hidden_size": 6}, (4, 4, 4)),
        ({"architecture": "transformer", "hidden_size": 16}, (100, 32)),
        ({"architecture": "transformer", "hidden_size": 16, "intermediate_size": 20, "num_layers": 3}, (12,)),
        ({"architecture": "transformer", "hidden_size": 16, "max_position_embeddings": 50}, (6, 2, 3)),
    ],
)
def test_networks_have_the_parameters_that_are_planned_and_give_the_outputs_asked_for(
    keys: dict[str, Any], shape: tuple[int, ...]
) -> None:
    model = Model(**keys)
    network = build_network(model, make_signature(shape, 5))
    assert count_model_parameters(network) == count_parameters(model, make_signature(shape, 5))
    assert network(torch.randn(2, *shape)).shape == (2, 5)


def test_attention_is_the_textbook_formula() -> None:
    layer = build_network(
        Model(architecture="transformer", hidden_size=8, num_attention_heads=2), make_signature((5, 3), 1)
    ).layers[0]
    hidden = torch.randn(2, 5, 8)
    query, key, value = layer.query_key_value(hidden).chunk(3, dim=2)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / 2.0, dim=-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(layer._attend(hidden), layer.attention_out(torch.cat(heads, dim=2)))


def test_channels_last_images_are_read_as_such() -> None:
    network = build_network(Model(architecture="cnn", hidden_size=4), make_signature((9, 9, 3), 2)).eval()
    twin = build_network(Model(architecture="cnn", hidden_size=4), make_signature((3, 9, 9), 2)).eval()
    twin.load_state_dict(network.state_dict())
    images = torch.randn(2, 9, 9, 3)
    torch.testing.assert_close(network(images), twin(images.permute(0, 3, 1, 2)))


def test_the_older_spelling_of_dropout_holds_where_the_newer_is_not_given() -> None:
    older = load_profile_text("training: {dropout: 0.3}")
    assert [m.p for m in build_model(older, make_signature()).modules() if isinstance(m, torch.nn.Dropout)] == [
        0.3,
        0.3,
    ]
    both = load_profile_text("{training: {dropout: 0.3}, model: {dropout: 0.1}}")
    assert [m.p for m in build_model(both, make_signature()).modules() if isinstance(m, torch.nn.Dropout)] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("keys", "shape", "words"),
    [
        ({"architecture": "resnet"}, (4,), "resnet takes images ([H, W], [C, H, W] or [H, W, C])"),
        ({"architecture": "transfomer"}, (4,), "not built in; there are: mlp, cnn, transformer, resnet"),
        ({"architecture": "cnn"}, (4,), "an input of this data is [4]"),
        ({"architecture": "transformer", "max_position_embeddings": 3}, (5, 2), "a sequence of the data has 5"),
        ({"architecture": "transformer", "hidden_size": 10}, (5, 2), "(4) does not divide model.hidden_size (10)"),
    ],
)
def test_what_cannot_be_built_is_named_with_its_reason(
    keys: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_network(Model(**keys), make_signature(shape, 2))
    assert words in caught.value.message


def test_a_class_gets_the_keys_of_the_section_and_the_shapes_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, monkeypatch)
    profile = load_profile_text("model: {architecture: 'my_nets:Wide', hidden_size: 7, factor: 3}")
    network = build_model(profile, make_signature((2, 2)))
    assert network.told == {"hidden_size": 7, "factor": 3, "input_shape": (2, 2), "num_outputs": 3}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("architecture: 'my_nets:Missing'", "my_nets has no class Missing; it has: NotANetwork, Wide"),
        ("architecture: 'no_such_module:Net'", "there is no module no_such_module"),
        ("architecture: 'my_nets:NotANetwork'", "is no torch.nn.Module"),
        ("{architecture: 'my_nets:Wide', hidden_size: 2, depth: 9}", "refuses its arguments"),
        ("{architecture: 'my_nets:Wide', hidden_size: 2, factor: 0}", "ZeroDivisionError"),
        (
            "{architecture: 'my_nets:Wide', hidden_size: 2, factor: x}",
            "in __init__: self.width = hidden_size // factor",
        ),
        ("architecture: 'my_nets.inner:Net'", "there is no module my_nets.inner"),
        ("architecture: 'pkg.nets.wide:Missing'", "pkg.nets.wide has no class Missing; it has: Net"),
    ],
)
def test_a_class_that_cannot_be_used_is_named_with_its_reason(
    section: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, monkeypatch)
    section = section if section.startswith("{") else f"{{{section}}}"
    with pytest.raises(InputError, match=r"model\.architecture") as caught:
        build_model(load_profile_text(f"model: {section}"), make_signature())
    assert words in caught.value.message


def test_a_module_that_pythons_own_hides_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    (tmp_path / "code.py").write_text("class Net: pass")
    with pytest.raises(InputError, match="code has no class Net") as caught:
        build_network(Model(architecture="code:Net"), make_signature((4,), 2))
    assert caught.value.hint.startswith("code.py has the name of another module")


def write_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    (folder / "pkg" / "nets").mkdir(parents=True)
    (folder / "pkg" / "nets" / "wide.py").write_text("class Net: pass")
    (folder / "my_nets.py").write_text(
        """
import torch as _torch

class Wide(_torch.nn.Module):
    def __init__(self, hidden_size, input_shape, num_outputs, factor=1):
        super().__init__()
        self.told = dict(hidden_size=hidden_size, factor=factor, input_shape=input_shape, num_outputs=num_outputs)
        self.width = hidden_size // factor

class NotANetwork:
    pass
"""
    )

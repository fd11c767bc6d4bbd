"""A batch of one sample whose image has shrunk to one place: networks take it, and all other batches as before."""

import pytest
import torch
from torch import nn

from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.architectures import build_network
from footplate.trainer.architectures.norm import BatchNorm


@pytest.mark.parametrize(
    ("architecture", "task"), [("cnn", "classification"), ("resnet", "regression"), ("unet", "segmentation")]
)
def test_one_sample_can_be_trained_on_where_the_image_has_shrunk_to_one_place(architecture: str, task: str) -> None:
    signature = Signature(task=task, input_shape=(3, 5), num_outputs=2, vocab_size=0)  # type: ignore[arg-type]
    network = build_network(Model(architecture=architecture, hidden_size=4, num_layers=4), signature).train()
    outputs = network(torch.randn(1, 3, 5))
    outputs.square().mean().backward()
    assert torch.isfinite(outputs).all()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_single_number_is_normalised_by_the_running_statistics_and_does_not_move_them() -> None:
    norm = BatchNorm(2)
    norm(torch.randn(8, 2, 3, 3))
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    single = torch.randn(1, 2, 1, 1)
    outputs = norm(single)
    assert torch.equal(outputs, norm.eval()(single))
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_other_batches_give_the_bits_of_torchs_own_norm() -> None:
    norm, torchs = BatchNorm(2), nn.BatchNorm2d(2)
    for shape in ((2, 2, 1, 1), (1, 2, 1, 2), (4, 2, 3, 3)):
        batch = torch.randn(shape)
        assert torch.equal(norm(batch), torchs(batch))
    assert all(torch.equal(a, b) for a, b in zip(norm.state_dict().values(), torchs.state_dict().values(), strict=True))

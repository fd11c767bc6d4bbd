"""Memory-efficient attention leaves the plain kernel out, gives the same numbers, and never falls back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from footplate.profile.facts import Signature
from footplate.profile.load import load_profile_text
from footplate.trainer.architectures import build_model
from footplate.trainer.reproducible import set_up_torch

CPU = torch.device("cpu")
TEXT = "model: {architecture: gpt, attention_dropout: %g}\nembedded_optimizations: {use_memory_efficient_attention: %s}"
SIGNATURE = Signature(task="language_model", input_shape=(8,), num_outputs=11, vocab_size=11)


@pytest.fixture(autouse=True)
def _kernels_as_they_were() -> Iterator[None]:
    allowed = torch.backends.cuda.math_sdp_enabled()
    yield
    torch.backends.cuda.enable_math_sdp(allowed)


def compute(dropout: float, *, efficient: bool) -> torch.Tensor:
    profile = load_profile_text(TEXT % (dropout, str(efficient).lower()))
    set_up_torch(profile, CPU)
    torch.manual_seed(1)
    return build_model(profile, SIGNATURE)(torch.arange(8).unsqueeze(0))


def test_the_numbers_are_those_of_the_plain_kernel() -> None:
    torch.testing.assert_close(compute(0.0, efficient=True), compute(0.0, efficient=False))


def test_where_no_such_kernel_can_run_the_training_fails() -> None:
    compute(0.1, efficient=False)
    with pytest.raises(RuntimeError, match="No available kernel"):
        compute(0.1, efficient=True)


def test_the_next_training_of_the_process_chooses_freely_again() -> None:
    compute(0.0, efficient=True)
    assert not torch.backends.cuda.math_sdp_enabled()
    compute(0.1, efficient=False)
    assert torch.backends.cuda.math_sdp_enabled()

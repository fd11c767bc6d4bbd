"""The same training step in other trainers, where they are installed (`pip install -r benchmarks/requirements.txt`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Runner = Callable[[int], None]
"""Does so many more steps."""


def make_runners(
    make_model: Callable[[], nn.Module], inputs: torch.Tensor, targets: torch.Tensor, batch_size: int
) -> dict[str, Runner]:
    """Return the peers that are installed, by name."""
    data = TensorDataset(inputs, targets)
    makers = {"accelerate": make_accelerate, "lightning": make_lightning}
    return {
        name: maker(make_model(), DataLoader(data, batch_size=batch_size, shuffle=True))
        for name, maker in makers.items()
        if importlib.util.find_spec(name) is not None
    }


def make_accelerate(model: nn.Module, loader: DataLoader) -> Runner:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def draw() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    batches = draw()

    def run(steps: int) -> None:
        for _ in range(steps):
            x, y = next(batches)
            loss = functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return run


def make_lightning(model: nn.Module, loader: DataLoader) -> Runner:
    import logging

    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss = functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.0)

    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=0,
        max_epochs=-1,
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )

    def run(steps: int) -> None:
        trainer.fit_loop.epoch_loop.max_steps = trainer.global_step + steps
        trainer.fit(module, loader)

    return run

"""The same training step in other trainers, where they are installed (`pip install -r benchmarks/requirements.txt`).

Each is timed between its own steps, so that what it does to set up and to tear down a training does not count.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Clock = Callable[[], float]
Runner = Callable[[int, Clock], float]
"""Does so many more steps and returns the seconds they took."""

_WARM_UP_STEPS = 5


def make_runners(
    make_model: Callable[[], nn.Module], inputs: torch.Tensor, targets: torch.Tensor, batch_size: int
) -> dict[str, Runner]:
    """Return the peers that are installed, by name."""
    data = TensorDataset(inputs, targets)
    makers = {"accelerate": make_accelerate, "transformers": make_hf_trainer, "lightning": make_lightning}
    needs = {"transformers": ("transformers", "accelerate")}  # its Trainer; its networks do without
    return {
        name: maker(make_model(), data, batch_size)
        for name, maker in makers.items()
        if all(importlib.util.find_spec(module) is not None for module in needs.get(name, (name,)))
    }


class Watch:
    """Takes the time from the end of the warm-up to the end of the last step."""

    def __init__(self) -> None:
        self.clock: Clock = lambda: 0.0
        self.seen = 0
        self.first = self.last = 0.0

    def start(self, clock: Clock) -> None:
        self.clock, self.seen = clock, 0

    def on_step(self) -> None:
        self.seen += 1
        if self.seen == _WARM_UP_STEPS:
            self.first = self.clock()
        self.last = self.clock()

    def seconds(self) -> float:
        return self.last - self.first


def make_accelerate(model: nn.Module, data: TensorDataset, batch_size: int) -> Runner:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def draw() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    batches = draw()

    def run(steps: int, clock: Clock) -> float:
        start = clock()
        for _ in range(steps):
            x, y = next(batches)
            loss = functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return clock() - start

    return run


def make_hf_trainer(model: nn.Module, data: TensorDataset, batch_size: int) -> Runner:
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    watch = Watch()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": functional.cross_entropy(self.net(x), labels)}

    class Callback(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.on_step()

    def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([x for x, _ in items]), "labels": torch.stack([y for _, y in items])}

    def run(steps: int, clock: Clock) -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=batch_size,
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                max_grad_norm=1.0,
                max_steps=steps + _WARM_UP_STEPS,
                logging_steps=10,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
                log_level="error",
            )
            trainer = Trainer(
                model=net, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Callback()]
            )
            watch.start(clock)
            trainer.log = lambda *_, **__: None  # its console lines; what leads to them is measured
            trainer.train()
        return watch.seconds()

    net = Net()
    return run


def make_lightning(model: nn.Module, data: TensorDataset, batch_size: int) -> Runner:
    import lightning

    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    watch = Watch()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss = functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train/loss", loss)
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            watch.on_step()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.0)

    module = Module()
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)

    def run(steps: int, clock: Clock) -> float:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=steps + _WARM_UP_STEPS,
            gradient_clip_val=1.0,
            log_every_n_steps=10,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        watch.start(clock)
        trainer.fit(module, loader)
        return watch.seconds()

    return run

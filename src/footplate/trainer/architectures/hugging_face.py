"""``hf:PATH``: a class of transformers, by its config.json; weights beside it (safetensors) are its start."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from footplate.errors import InputError, MissingExtraError
from footplate.profile.facts import Signature, TaskKind
from footplate.profile.sections.model import Model
from footplate.trainer.architectures.images import ImageReader, resize_to
from footplate.trainer.architectures.network import Network, drop_inside
from footplate.trainer.failure import describe_failure, is_out_of_memory

__all__ = ["HuggingFace"]

_log = logging.getLogger("footplate")
_KEY = "model.architecture"
_FOR_TOKENS: dict[TaskKind, str] = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "multi_label": "AutoModelForSequenceClassification",
    "sequence": "AutoModelForTokenClassification",
    "language_model": "AutoModelForCausalLM",
}
_FOR_IMAGES: dict[TaskKind, str] = {
    "classification": "AutoModelForImageClassification",
    "regression": "AutoModelForImageClassification",
    "multi_label": "AutoModelForImageClassification",
    "segmentation": "AutoModelForSemanticSegmentation",
}
_UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


class HuggingFace(Network):
    """A network of transformers that gives plain tensors: [K], [L, K], [L, V] or [K, H, W] for each sample.

    Nothing is fetched and no code is run that lies beside the config: local files only. A folder with safetensors
    starts from these weights; layers that do not fit the task's number of outputs start fresh.
    """

    def __init__(self, model: Model, signature: Signature) -> None:
        super().__init__()
        path = _find_config(model.architecture.removeprefix("hf:"))
        self.image = None if signature.vocab_size else ImageReader(signature.input_shape)
        self.num_outputs = signature.num_outputs
        self.network = _build(path, signature, self.image)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.image is None:
            logits: Tensor = self.network(input_ids=inputs).logits
            return logits[..., : self.num_outputs]  # a vocabulary may be larger than that of the data
        logits = self.network(pixel_values=self.image.read(inputs)).logits
        return logits if logits.ndim == 2 else resize_to(logits, self.image.height, self.image.width)

    def list_layers(self) -> Sequence[nn.Module]:
        """Return the longest list of modules in the network: its layers."""
        stacks = [module for module in self.network.modules() if isinstance(module, nn.ModuleList)]
        return list(max(stacks, key=lambda stack: sum(1 for _ in stack), default=nn.ModuleList()))

    def compute_layers_again(self) -> bool:
        """Compute the layers again: as they are called, whatever transformers has for it in each version."""
        return drop_inside(self.list_layers())


def _find_config(text: str) -> Path:
    path = Path(text).expanduser()
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"{_KEY}: {path} is not there",
            hint="hf: takes a folder with a config.json, or a config file; nothing is fetched from the network",
        )
    return path


def _build(path: Path, signature: Signature, image: ImageReader | None) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    class_name = (_FOR_TOKENS if image is None else _FOR_IMAGES).get(signature.task)
    if class_name is None:
        raise InputError(f"{_KEY}: no class of transformers learns {signature.task} from such inputs")
    has_weights = _has_weights(path.parent)
    try:
        config = transformers.AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        _fit(config, signature, image, is_fresh=not has_weights)
        auto = getattr(transformers, class_name)
        network: nn.Module = (
            _load(auto, path.parent, config) if has_weights else auto.from_config(config, trust_remote_code=False)
        )
    except InputError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"{_KEY}: transformers cannot build {path} for {signature.task}: {describe_failure(error)}",
            hint=f"it is asked for an {class_name}",
        ) from error
    _forget_padding(network, signature)
    return network.float()  # weights may be stored in half precision; mixed_precision is the profile's to decide


def _has_weights(folder: Path) -> bool:
    if any(folder.glob("*.safetensors")):
        return True
    unsafe = [file.name for pattern in _UNSAFE for file in sorted(folder.glob(pattern))]
    if unsafe:
        raise InputError(
            f"{_KEY}: {folder} has weights in {unsafe[0]}, which can hold code; only safetensors are read",
            hint="convert it with transformers' save_pretrained, or name the config.json in a folder of its own",
        )
    return False


def _fit(config: Any, signature: Signature, image: ImageReader | None, *, is_fresh: bool) -> None:
    """Tell the config what the data decide; of weights that are there only the last layer may change."""
    config.use_cache = False
    if signature.task == "language_model":
        config.is_decoder = True  # without it an encoder looks ahead
    else:
        config.num_labels = signature.num_outputs
    if image is not None:
        if is_fresh:
            size = image.height if image.height == image.width else (image.height, image.width)
            _replace(config, image_size=size, num_channels=image.channels)
        return
    if is_fresh:
        config.vocab_size = signature.vocab_size
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if (getattr(config, name, None) or 0) >= signature.vocab_size:
                setattr(config, name, None)
    elif config.vocab_size < signature.vocab_size:
        raise InputError(
            f"{_KEY}: the network knows {config.vocab_size:,} tokens, the data have {signature.vocab_size:,}",
            hint="encode the data with the network's own tokenizer",
        )


def _replace(config: Any, **values: object) -> None:
    for name, value in values.items():
        if hasattr(config, name):
            setattr(config, name, value)


def _load(auto: Any, folder: Path, config: Any) -> nn.Module:
    network, told = auto.from_pretrained(
        str(folder),
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    fresh = sorted(
        {*told["missing_keys"], *(key if isinstance(key, str) else key[0] for key in told["mismatched_keys"])}
    )
    if fresh:
        _log.info("weights that start fresh: %s", ", ".join(fresh[:8]) + (" …" if len(fresh) > 8 else ""))
    return network  # type: ignore[no-any-return]


def _forget_padding(network: nn.Module, signature: Signature) -> None:
    """Let no token count as padding: sequences of a set are equally long, and looking for it would wait for the GPU.

    A classifier over a decoder refuses batches without one; -1 is no token, so that it answers at the last position.
    """
    config: Any = network.config
    if signature.vocab_size:
        is_whole = signature.task in ("classification", "regression", "multi_label")
        config.pad_token_id = -1 if is_whole else None

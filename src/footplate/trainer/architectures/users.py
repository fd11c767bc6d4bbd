"""A network that is a class of the user's: built from the keys of the section and the shapes of the data."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from footplate.errors import InputError
from footplate.profile.facts import Signature
from footplate.profile.sections.model import Model
from footplate.trainer.failure import describe_failure, find_users_line, is_out_of_memory
from footplate.trainer.user_code import find_class, takes_argument

__all__ = ["build_users"]

_KEY = "model.architecture"


def build_users(model: Model, signature: Signature) -> nn.Module:
    """Build the user's class from every key of the section that is set, and from what it asks for of the data."""
    found = find_class(model.architecture, key=_KEY)
    if not issubclass(found, nn.Module):
        raise InputError(f"{_KEY}: {model.architecture} is no torch.nn.Module")
    names = model.model_fields_set - {"architecture"}
    arguments: dict[str, Any] = {name: getattr(model, name) for name in sorted(names)}
    given = sorted(arguments)
    arguments |= _get_asked(found, signature, arguments)
    try:
        return found(**arguments)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if not isinstance(error, TypeError) or find_users_line(error):
            raise InputError(f"{_KEY}: building {model.architecture} failed: {describe_failure(error)}") from error
        told = ", ".join(given) if given else "none"
        raise InputError(
            f"{_KEY}: {model.architecture} refuses its arguments: {error}",
            hint=f"every key of `model` but `architecture` is passed to the class; given: {told}",
        ) from error


def _get_asked(found: type, signature: Signature, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes, also for ``**kwargs``; task and vocabulary only where the class names them."""
    shapes = {"input_shape": signature.input_shape, "num_outputs": signature.num_outputs}
    others = {"task": signature.task, "vocab_size": signature.vocab_size}
    asked = {name: value for name, value in shapes.items() if takes_argument(found, name)}
    named = inspect.signature(found).parameters
    asked |= {name: value for name, value in others.items() if name in named}
    return {name: value for name, value in asked.items() if name not in arguments}

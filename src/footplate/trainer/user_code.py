"""Finding a class of the user's by its name, ``package.module:Class``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from footplate.errors import InputError
from footplate.trainer.failure import describe_failure, is_out_of_memory

__all__ = ["find_class", "takes_argument"]


def find_class(reference: str, *, key: str) -> type:
    """Import ``package.module:Class``; modules in the current directory are found too.

    Raises InputError that names ``key`` of the profile and the reason.
    """
    module_name, _, class_name = reference.partition(":")
    if not module_name or not class_name:
        raise InputError(f"{key}: {reference!r} is no class; write it as package.module:Class")
    here = os.getcwd()
    _make_importable(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{key}: {module_name} needs the module {error.name}, which is not installed") from error
        raise InputError(
            f"{key}: there is no module {error.name}",
            hint=f"modules are looked for in the installed packages and in {here}",
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"{key}: importing {module_name} failed: {describe_failure(error)}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        known = f"; it has: {', '.join(sorted(classes))}" if classes else ""
        raise InputError(f"{key}: {module_name} has no class {class_name}{known}", hint=_find_hidden(module, here))
    return found


def _make_importable(here: str) -> None:
    """Put a directory behind Python's own modules, which a json.py in it must not hide, and before installed ones."""
    if here in sys.path or "" in sys.path:
        return
    installed = (at for at, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages")))
    sys.path.insert(next(installed, len(sys.path)), here)


def _find_hidden(module: ModuleType, here: str) -> str:
    """Say when a module of the user's cannot be seen because Python has one of the same name."""
    own = Path(here) / f"{module.__name__}.py"
    if not own.is_file() or module.__file__ is None or own.samefile(module.__file__):
        return ""
    return f"{own.name} has the name of another module ({module.__file__}): give it a name of its own"


def takes_argument(callable_: Callable[..., object], name: str) -> bool:
    """Return whether a constructor takes an argument by that name (``**kwargs`` takes every name)."""
    try:
        parameters = inspect.signature(callable_).parameters
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if name in parameters and parameters[name].kind in kinds:
        return True
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())

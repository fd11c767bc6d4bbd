"""``entrypoint``: your own code instead of the built-in training."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from footplate.profile.fields import Section, Text, key

__all__ = ["Entrypoint"]


class Entrypoint(Section):
    """Exactly one of `script`, `module` and `command`."""

    script: Text = key("")
    """Python file that is run."""
    module: Text = key("")
    """Python module that is run (`python -m`)."""
    command: tuple[Text, ...] = key(())
    """Command and arguments, as a list."""
    args: tuple[Text, ...] = key(())
    """Arguments of the script or module."""
    resume_args: tuple[Text, ...] = key(())
    """Arguments added to the command of every attempt after the first, which is to go on where the last one ended."""
    env: Mapping[Text, Text] = key({})
    """Environment variables of the job; secrets as references: `${env:NAME}`."""

    @model_validator(mode="after")
    def _check_one(self) -> Entrypoint:
        given = [name for name in ("script", "module", "command") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; keep one")
        if "command" in given and self.args:
            raise ValueError("command takes its arguments in its own list; args is for script and module")
        return self

    @property
    def is_set(self) -> bool:
        """Whether the profile names code of its own."""
        return bool(self.script or self.module or self.command)

"""``entrypoint``: your own code instead of the built-in training."""

from __future__ import annotations

from collections.abc import Mapping

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
    resume_args: tuple[Text, ...] = key((), inactive="resume is not built yet")
    """Arguments added when an attempt goes on from an earlier one."""
    env: Mapping[Text, Text] = key({})
    """Environment variables of the job; secrets as references: `${env:NAME}`."""

    @property
    def is_set(self) -> bool:
        """Whether the profile names code of its own."""
        return bool(self.script or self.module or self.command)

"""``environment``: the versions the profile was written for."""

from __future__ import annotations

from footplate.profile.fields import Section, Text, key

__all__ = ["Environment"]

_LATER = "environments are not prepared yet; the training runs in the interpreter that starts it"


class Environment(Section):
    """Compared with what is there; a difference is said."""

    python_version: Text = key("")
    """Python."""
    virtual_env: Text = key("", inactive=_LATER)
    """Virtual environment of the job."""
    cuda_version: Text = key("")
    """CUDA."""
    cudnn_version: Text = key("")
    """cuDNN."""
    pytorch_version: Text = key("")
    """PyTorch."""
    tensorrt_version: Text = key("")
    """TensorRT."""
    requirements_file: Text = key("", inactive=_LATER)
    """Packages of the job."""

"""``resources``: what the training may use, and where its run directory goes."""

from __future__ import annotations

from footplate.profile.fields import Seconds, Section, SizeGB, Text, key

__all__ = ["Resources"]

_CLUSTER = "clusters and queues are not built yet; the training runs here, now"


class Resources(Section):
    """Machines, devices, memory, time and places."""

    num_nodes: int = key(1, ge=1, unit="machines", inactive=_CLUSTER)
    """Machines."""
    num_gpus: int | None = key(None, ge=0, unit="GPUs")
    """GPUs in all; null = `device` decides. With `distributed.enabled` so many processes train, one on each."""
    num_cpus_per_gpu: int | None = key(None, ge=1, unit="cores", inactive=_CLUSTER)
    """CPU cores for each GPU."""
    num_cpus: int | None = key(None, ge=1, unit="cores")
    """CPU cores the training computes with (code of your own gets them as `OMP_NUM_THREADS`); null = all of this
    machine."""
    memory_per_gpu_gb: SizeGB | None = key(None, gt=0, unit="GB")
    """Memory of one device; the estimate is compared with it. null = the device's own."""
    memory_gb: SizeGB | None = key(None, gt=0, unit="GB")
    """Main memory; the estimate is compared with it. null = the machine's own."""
    scratch_dir: Text | None = key(None, inactive="scratch space is not built yet")
    """Fast local space for a job."""
    output_dir: Text = key("runs")
    """Directory in which the run directory is made."""
    queue: Text = key("", inactive=_CLUSTER)
    """Queue or partition."""
    wall_time: Seconds | None = key(None, gt=0, unit="s")
    """Longest time the training may take; `validate` compares the estimate with it."""
    job_name: Text = key("")
    """Name of the run; empty = `metadata.profile_name`, else the file's name."""
    account: Text = key("", inactive=_CLUSTER)
    """Account that is charged."""
    qos: Text = key("", inactive=_CLUSTER)
    """Quality of service of the queue."""
    image: Text = key("", inactive=_CLUSTER)
    """Container image."""

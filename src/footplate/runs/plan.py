"""Makes a plan of a profile and of what was seen: what would run, how long, with what, and whether it should.

Pure: nothing is run, opened or asked here. ``runs.inspect`` gathered the facts, ``runs.launch`` does the rest.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from footplate.errors import PlanError
from footplate.profile.costs import count_parameters
from footplate.profile.facts import DeviceFacts, Facts
from footplate.profile.fields import Section
from footplate.profile.findings import Finding, Severity
from footplate.profile.horizon import Horizon, get_horizon
from footplate.profile.lint import lint
from footplate.profile.mesh import get_declared_mesh, get_num_processes
from footplate.profile.model import Profile
from footplate.profile.size import MemoryEstimate, estimate_memory
from footplate.quantities import format_count
from footplate.record.redact import Redactor
from footplate.record.restart import RestartPolicy
from footplate.runs.launch import JobSpec
from footplate.runs.plan_text import render_plan, wrap
from footplate.runs.verdict import Verdict, get_verdict

__all__ = [
    "Measurement",
    "Plan",
    "get_command",
    "get_num_started",
    "get_redact",
    "get_restart",
    "get_worker_command",
    "plan",
]

_BYTES_PER_WEIGHT = 4  # weights are kept in float32 whatever precision they are trained in
_NUM_WEIGHT_FILES = 2  # the best and the last


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a probe of real steps has shown."""

    num_steps: int
    """Steps that were timed."""
    step_s: float
    """Median time of one optimiser step in seconds."""
    step_s_range: tuple[float, float]
    """What eight of ten steps lay between, in seconds."""
    samples_per_s: float
    """Samples trained on in a second, at the median."""
    energy_j_per_step: float | None = None
    """Energy of one step in joules, where the machine tells."""
    energy_note: str = ""
    """Where the energy was read, or why it is not known."""

    def to_json(self) -> dict[str, object]:
        """Return the measurement as plain data."""
        return {
            "num_steps": self.num_steps,
            "step_s": self.step_s,
            "step_s_range": list(self.step_s_range),
            "samples_per_s": self.samples_per_s,
            "energy_j_per_step": self.energy_j_per_step,
            "energy_note": self.energy_note,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would run. Printing it shows everything; ``launch`` takes it as it is."""

    profile: Profile
    """What was asked for."""
    facts: Facts
    """What was seen."""
    name: str
    """Name of the run; its id is this and six characters."""
    argv: tuple[str, ...]
    """The exact command; ``{run_dir}`` stands for the run directory, which has its name from the launch on."""
    findings: tuple[Finding, ...]
    """What lint says."""
    not_checked: tuple[str, ...]
    """What could not be checked, each with its reason."""
    allowed: tuple[str, ...]
    """Codes of errors that were let pass by `--allow`."""
    horizon: Horizon | None
    """Steps and epochs, or None for your own code and for data that were not seen."""
    memory: MemoryEstimate | None
    """Memory of one device."""
    verdict: Verdict
    """How it is best run, and why."""
    measurement: Measurement | None = None
    """What a probe has shown (`plan --measure`)."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that stop a launch: errors that were not allowed."""
        return tuple(f for f in self.findings if f.severity == Severity.error and f.code not in self.allowed)

    @property
    def estimated_s(self) -> float | None:
        """Return the estimated time of all steps in seconds, where a step was measured."""
        if self.horizon is None or self.facts.step_s is None:
            return None
        return self.horizon.total_steps * self.facts.step_s

    @property
    def weights_bytes(self) -> int | None:
        """Return the size of one file of weights, or None when the parameters are not counted."""
        count = self.facts.num_parameters
        return None if count is None or self.profile.entrypoint.is_set else count * _BYTES_PER_WEIGHT

    @property
    def output_dir(self) -> Path:
        """Return the directory in which the run directory is made."""
        return self.profile.base_dir / self.profile.resources.output_dir

    @property
    def job(self) -> JobSpec:
        """Return what ``launch`` needs."""
        monitoring = self.profile.monitoring
        left_out = {
            "gpu_utilization": monitoring.track_gpu_utilization,
            "memory": monitoring.track_memory_usage,
            "temperature": monitoring.track_temperature,
            "power": monitoring.track_power_consumption,
        }
        return JobSpec(
            name=self.name,
            kind="exec" if self.profile.entrypoint.is_set else "train",
            argv=self.argv,
            cwd=self.profile.base_dir,
            output_dir=self.output_dir,
            env=self._get_env(),
            experiment=self.profile.logging.mlflow.experiment_name,
            parent="",
            profile_yaml=self.profile.to_yaml(),
            plan=self.to_json(),
            sidecar_interval_s=monitoring.health_check_interval,
            sampler_without=tuple(name for name, wanted in left_out.items() if not wanted),
            trackers=get_trackers(self.profile),
            redact=get_redact(self.profile),
            num_processes=get_num_started(self.profile),
            restart=get_restart(self.profile),
            resume_args=self.profile.entrypoint.resume_args,
        )

    def _get_env(self) -> Mapping[str, str]:
        """Return what the profile adds to the environment: your own code learns its cores as the libraries do."""
        profile = self.profile
        if not profile.entrypoint.is_set or profile.resources.num_cpus is None:
            return profile.entrypoint.env
        return {"OMP_NUM_THREADS": str(profile.resources.num_cpus), **profile.entrypoint.env}

    def check(self) -> None:
        """Raise a PlanError that names every error that stops the launch, if there is any."""
        if not self.errors:
            return
        lines = []
        for error in self.errors:
            place = f"line {error.line}: " if error.line else ""
            lines += wrap(f"{error.code}: {place}{error.message}", indent=2, hang=2)
            lines += wrap(f"→ {error.fix}", indent=4, hang=2) if error.fix else []
        count = len(self.errors)
        raise PlanError(
            "\n".join([f"{count} error{'s' if count > 1 else ''}; nothing was started", *lines]),
            hint="see `footplate plan`; --allow CODE lets an error pass, and records that",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data; the keys are stable."""
        return {
            "name": self.name,
            "command": {"argv": list(self.argv), "cwd": str(self.profile.base_dir)},
            "output_dir": str(self.output_dir),
            "data": _data_to_json(self.facts),
            "machine": _machine_to_json(self.facts.device),
            "versions": dict(self.facts.versions),
            "horizon": _horizon_to_json(self.profile, self.facts, self.horizon),
            "num_parameters": self.facts.num_parameters,
            "memory": None if self.memory is None else {"gb": self.memory.total_gb, "text": self.memory.to_text()},
            "weights": None
            if self.weights_bytes is None
            else {"num_files": _NUM_WEIGHT_FILES, "bytes_each": self.weights_bytes},
            "estimated_s": self.estimated_s,
            "measurement": None if self.measurement is None else self.measurement.to_json(),
            "verdict": self.verdict.to_json(),
            "findings": [finding.to_json() for finding in self.findings],
            "allowed": list(self.allowed),
            "not_checked": list(self.not_checked),
        }

    def __str__(self) -> str:
        return render_plan(self.to_json())


def plan(
    profile: Profile,
    facts: Facts,
    *,
    name: str = "",
    allow: Sequence[str] = (),
    measurement: Measurement | None = None,
) -> Plan:
    """Return the plan of one training.

    Args:
        profile: what was asked for.
        facts: what ``inspect`` saw; what is missing in it is named as not checked.
        name: the run's name; empty = ``resources.job_name``, else ``metadata.profile_name``, else the file's name.
        allow: codes of errors that must not stop the launch.
        measurement: what a probe has shown.

    """
    own_code = profile.entrypoint.is_set
    if facts.num_parameters is None and facts.data is not None:
        count = count_parameters(profile.model, facts.data.signature)
        facts = replace(facts, num_parameters=count)
    horizon = (
        None
        if own_code or facts.data is None
        else get_horizon(profile, facts.data.num_train, num_val=facts.data.num_val)
    )
    memory = None if own_code else estimate_memory(profile, facts)
    checked = lint(profile, facts)
    return Plan(
        profile=profile,
        facts=facts,
        name=name or _get_name(profile),
        argv=get_command(profile),
        findings=checked.findings,
        not_checked=tuple(dict.fromkeys([*checked.not_checked, *facts.not_checked])),
        allowed=tuple(code for code in dict.fromkeys(allow) if any(f.code == code for f in checked.findings)),
        horizon=horizon,
        memory=memory,
        verdict=get_verdict(
            profile,
            facts,
            total_steps=None if horizon is None else horizon.total_steps,
            memory_gb=None if memory is None else memory.total_gb,
        ),
        measurement=measurement,
    )


def get_num_started(profile: Profile) -> int:
    """Return how many processes the command starts that each leave a word about their end."""
    if profile.entrypoint.is_set or profile.distributed.rank is not None:
        return 1
    return get_num_processes(profile)


def get_restart(profile: Profile) -> RestartPolicy:
    """Return after what a training is started again: after a preemption always, it has left a checkpoint."""
    wish = profile.fault_tolerance
    return RestartPolicy(after_failure=wish.auto_restart, max_restarts=wish.max_restarts, delay_s=wish.restart_delay)


def get_trackers(profile: Profile) -> dict[str, dict[str, object]]:
    """Return the trackers that a run is shipped to, each with its settings; secrets stay references."""
    chosen: dict[str, Section] = {}
    if profile.logging.mlflow.enabled:
        chosen["mlflow"] = profile.logging.mlflow
    if profile.logging.tensorboard.enabled:
        chosen["tensorboard"] = profile.logging.tensorboard
    if profile.logging.wandb.enabled:
        chosen["wandb"] = profile.logging.wandb
    if profile.monitoring.alerts.enabled:
        chosen["alerts"] = profile.monitoring.alerts
    return {name: section.model_dump(mode="json", exclude={"enabled"}) for name, section in chosen.items()}


def get_redact(profile: Profile) -> dict[str, object]:
    """Return what the texts of a run are cleaned by; empty where that is not asked for."""
    settings = profile.compliance
    if not (settings.anonymize_logs or settings.remove_pii):
        return {}
    author = re.sub(r"<[^>]*>|\S+@\S+", "", profile.metadata.author)
    names = [name.strip() for name in re.split(r"[,;&]|\band\b", author)]
    names += [name.split()[-1] for name in names if " " in name]  # a family name stands alone in many a log
    redactor = Redactor(
        anonymize=settings.anonymize_logs, pii=settings.remove_pii, names=(*names, *settings.known_names)
    )
    return redactor.to_json()


def _get_name(profile: Profile) -> str:
    given = profile.resources.job_name or profile.metadata.profile_name
    return given or Path(profile.file).stem or "training"


def get_command(profile: Profile) -> tuple[str, ...]:
    """Return the command the profile stands for: your own code, or the built-in training in this interpreter."""
    entry = profile.entrypoint
    if entry.command:
        return tuple(entry.command)
    if entry.script:
        return (sys.executable, entry.script, *entry.args)
    if entry.module:
        return (sys.executable, "-m", entry.module, *entry.args)
    return get_worker_command(profile, "train", "{run_dir}")


def get_worker_command(profile: Profile, verb: str, run_dir: str) -> tuple[str, ...]:
    """Return the command of the built-in training, started by torchrun where several processes train.

    One whose number the profile says (`distributed.rank`) is started alone: its user starts the others.
    """
    # -P: a json.py in the current directory is the user's, not for Footplate to import
    python = (sys.executable, "-P", "-m")
    worker = (*python, "footplate.worker", verb, run_dir)
    count = get_num_processes(profile)
    if count == 1 or profile.distributed.rank is not None:
        return worker
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--max-restarts", "0")
    return (*python, *launcher, "--no-python", *worker)


def _data_to_json(facts: Facts) -> dict[str, object] | None:
    data = facts.data
    if data is None:
        return None
    return {
        "source": data.source,
        "num_train": data.num_train,
        "num_val": data.num_val,
        "num_test": data.num_test,
        "input_shape": list(data.input_shape),
        "input_dtype": data.input_dtype,
        "target_shape": list(data.target_shape),
        "target_dtype": data.target_dtype,
        "classes": list(data.classes),
        "class_counts": list(data.class_counts),
        "task": data.kind,
        "vocab_size": data.vocab_size,
        "num_bytes": data.num_bytes,
    }


def _machine_to_json(machine: DeviceFacts | None) -> dict[str, object] | None:
    if machine is None:
        return None
    return {
        "host": machine.host,
        "num_cpus": machine.num_cpus,
        "memory_gb": machine.memory_gb,
        "cpu_name": machine.cpu_name,
        "gpus": [{"name": name, "memory_gb": memory_gb} for name, memory_gb in machine.gpus],
        "disk_free_gb": machine.disk_free_gb,
    }


def _horizon_to_json(profile: Profile, facts: Facts, horizon: Horizon | None) -> dict[str, object] | None:
    if horizon is None or facts.data is None:
        return None
    training, mesh = profile.training, get_declared_mesh(profile)
    batch = f"({training.batch_size} × {training.gradient_accumulation_steps} × {mesh.data})"
    per_epoch, steps = format_count(horizon.steps_per_epoch, "step"), format_count(horizon.total_steps, "step")
    epochs, samples = format_count(horizon.num_epochs, "epoch"), format_count(facts.data.num_train, "sample")
    length = f"× {epochs} = {steps}" if horizon.ends_by == "max_epochs" else f"ends at max_steps: {steps} = {epochs}"
    return {
        "effective_batch": horizon.effective_batch,
        "steps_per_epoch": horizon.steps_per_epoch,
        "total_steps": horizon.total_steps,
        "num_epochs": horizon.num_epochs,
        "ends_by": horizon.ends_by,
        "evaluation_interval": horizon.evaluation_interval,
        "num_evaluations": horizon.num_evaluations,
        "text": f"{samples} / {batch} → {per_epoch} per epoch {length}",
    }

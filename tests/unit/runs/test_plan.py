"""The plan: pure, complete, printable in 80 columns, and stopped by errors that nobody allowed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from footplate.errors import PlanError
from footplate.profile.facts import DataFacts, DeviceFacts, Facts, Fault
from footplate.profile.load import load_profile_text
from footplate.profile.model import Profile
from footplate.runs.plan import Measurement, plan
from footplate.runs.plan_text import render_findings, render_plan

DATA = DataFacts(
    source="sklearn:digits",
    num_train=1149,
    num_val=288,
    num_test=360,
    input_shape=(8, 8),
    input_dtype="float64",
    target_shape=(),
    target_dtype="int64",
    classes=tuple("0123456789"),
    class_counts=(178, 182, 177, 183, 181, 182, 181, 179, 174, 180),
    num_bytes=920_064,
)
FACTS = Facts(
    data=DATA,
    device=DeviceFacts(host="laptop", num_cpus=8, memory_gb=16.0, cpu_name="AMD", disk_free_gb=84.2),
    num_parameters=26_122,
    versions={"python": "3.11.7", "pytorch": "2.13.0"},
)
DIGITS = """
metadata: {profile_name: digits}
data: {train_data: "sklearn:digits"}
training: {batch_size: 64, max_epochs: 30}
"""


def load(text: str = DIGITS, **kwargs: Any) -> Profile:
    return load_profile_text(text, base_dir=Path("/home/me/dir"), **kwargs)


def test_shows_the_arithmetic() -> None:
    page = str(plan(load(), FACTS))
    flat = " ".join(page.split())
    assert "1,149 samples / (64 × 1 × 1) → 18 steps per epoch × 30 epochs = 540 steps" in flat
    assert "validation every 18 steps: 30 evaluations" in flat
    assert "26,122 parameters" in flat
    assert "each 26,122 × 4 bytes = 104 kB; 209 kB on disk" in flat
    assert "1,149 to train · 288 to validate · 360 to test" in flat
    assert "10 classes (174 to 183 samples each)" in flat
    assert "Standard (here, now): 540 steps whose time is not measured yet" in flat


def test_shows_the_exact_command_and_where_the_record_goes() -> None:
    planned = plan(load(), FACTS)
    page = str(planned)
    assert "Command     python -P -m footplate.worker train '{run_dir}'" in page
    assert "in /home/me/dir" in page
    assert "Record      runs/digits-…" in page
    assert planned.job.argv == (sys.executable, "-P", "-m", "footplate.worker", "train", "{run_dir}")
    assert planned.job.cwd == Path("/home/me/dir")
    assert planned.job.output_dir == Path("/home/me/dir/runs")
    assert planned.job.kind == "train"


def test_several_processes_are_started_by_torchrun_each_as_one_alone_would_be() -> None:
    planned = plan(load(DIGITS + "distributed: {enabled: true, world_size: 4}\n"), FACTS)
    alone = (sys.executable, "-P", "-m", "footplate.worker", "train", "{run_dir}")
    launcher = (sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4")
    assert planned.job.argv == (*launcher, "--max-restarts", "0", "--no-python", *alone)
    assert "(64 × 1 × 4) → 5 steps per epoch" in " ".join(str(planned).split())
    assert "Model" in str(planned)
    by_gpus = load(DIGITS + "distributed: {enabled: true, strategy: fsdp+tensor}\nresources: {num_gpus: 8}\n")
    assert "--nproc-per-node 8" in " ".join(plan(by_gpus, FACTS).job.argv)
    assert "(64 × 1 × 4)" in str(plan(by_gpus, FACTS))  # two of them take the same samples


def test_a_process_whose_number_is_said_is_started_alone() -> None:
    text = DIGITS + "distributed: {enabled: true, world_size: 4, rank: 1}\n"
    assert plan(load(text), FACTS).job.argv == plan(load(), FACTS).job.argv


@pytest.mark.parametrize(
    ("entry", "argv"),
    [
        ("{script: t.py, args: [--lr, 0.1]}", (sys.executable, "t.py", "--lr", "0.1")),
        ("{module: pkg.train}", (sys.executable, "-m", "pkg.train")),
        ("{command: [bash, go.sh]}", ("bash", "go.sh")),
    ],
)
def test_runs_code_of_the_users_own(entry: str, argv: tuple[str, ...]) -> None:
    planned = plan(load(f"entrypoint: {entry}"), replace(FACTS, data=None, num_parameters=None))
    assert planned.job.argv == argv
    assert planned.job.kind == "exec"
    assert planned.horizon is None
    assert planned.memory is None
    assert "Data" not in str(planned)
    assert "your own code is not measured before it runs" in str(planned)


def test_fits_80_columns_with_long_names_and_reasons() -> None:
    text = DIGITS + "model: {dropout: 0.1, num_layers: 3}\nfault_tolerance: {resume_from_checkpoint: true}\nnotes: x\n"
    planned = plan(load(text), replace(FACTS, not_checked=("a reason of many words " * 10,)))
    assert max(len(line) for line in str(planned).splitlines()) <= 80


def test_errors_stop_it_and_name_the_way_out() -> None:
    planned = plan(load(), replace(FACTS, problems=(Fault("data.train_data", "row 3 holds NaN"),)))
    (error,) = planned.errors
    with pytest.raises(PlanError, match="1 error; nothing was started") as caught:
        planned.check()
    assert "row 3 holds NaN" in caught.value.message
    assert f"  {error.code}: " in caught.value.message
    assert f"    → {error.fix}" in caught.value.message
    assert "--allow CODE" in caught.value.hint


def test_an_allowed_error_passes_and_is_recorded() -> None:
    facts = replace(FACTS, problems=(Fault("data.train_data", "row 3 holds NaN"),))
    (error,) = plan(load(), facts).errors
    planned = plan(load(), facts, allow=(error.code, "never-heard-of"))
    planned.check()
    assert planned.errors == ()
    assert planned.job.plan["allowed"] == [error.code]
    assert f"error (allowed) · {error.code}" in str(planned)


def test_a_training_without_torch_is_an_error_that_names_the_command() -> None:
    planned = plan(load(), replace(FACTS, versions={"python": "3.11.7"}))
    (error,) = planned.errors
    assert "pip install 'footplate[train]'" in error.fix
    own_code = plan(load("entrypoint: {script: t.py}"), replace(FACTS, versions={"python": "3.11.7"}))
    assert not [error for error in own_code.errors if "footplate[train]" in error.fix]


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    planned = plan(load(DIGITS + "device: cuda\n"), FACTS)
    assert any("GPU" in error.message or "cuda" in error.message for error in planned.errors)


def test_tells_the_time_and_energy_that_were_measured() -> None:
    probe = Measurement(
        num_steps=50, step_s=0.01, step_s_range=(0.009, 0.011), samples_per_s=6400, energy_note="no counter here"
    )
    planned = plan(load(), replace(FACTS, step_s=0.01), measurement=probe)
    flat = " ".join(str(planned).split())
    assert planned.estimated_s == pytest.approx(5.4)
    assert "540 steps × 10 ms = 5.4 s, evaluations not counted" in flat
    assert "measured here over 50 steps: 6,400 samples/s" in flat
    assert "energy not known: no counter here" in flat
    told = plan(
        load(), replace(FACTS, step_s=0.01), measurement=replace(probe, energy_j_per_step=2.0, energy_note="GPU")
    )
    assert "the machine is busy" not in flat
    busy = plan(load(), replace(FACTS, step_s=0.01), measurement=replace(probe, step_s_range=(0.009, 0.05)))
    assert "8 of 10 steps took 9 ms to 50 ms: the machine is busy" in " ".join(str(busy).split())
    assert "energy: 2 J a step × 540 = 0.3 Wh (GPU)" in " ".join(str(told).split())


def test_says_what_is_not_known_instead_of_guessing() -> None:
    planned = plan(load(), Facts(not_checked=("data and model: looking at them took longer than 60 s",)))
    page = str(planned)
    assert planned.horizon is None
    assert planned.memory is None
    assert "not known" in page
    assert "took longer than 60 s" in page


def test_counts_the_parameters_of_a_built_in_by_formula_when_nobody_has() -> None:
    planned = plan(load(), replace(FACTS, num_parameters=None))
    assert planned.facts.num_parameters == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10


def test_ends_at_the_first_limit() -> None:
    flat = " ".join(str(plan(load(DIGITS, overrides=["training.max_steps=27"]), FACTS)).split())
    assert "ends at max_steps: 27 steps = 1.50 epochs" in flat


def test_is_plain_data_that_prints_the_same_page() -> None:
    planned = plan(load(), FACTS)
    value = json.loads(json.dumps(planned.to_json()))
    assert render_plan(value) == str(planned)
    assert {"name", "command", "data", "horizon", "memory", "verdict", "findings", "allowed", "not_checked"} <= set(
        value
    )


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (DIGITS, "", "digits"),
        (DIGITS + "resources: {job_name: job}", "", "job"),
        (DIGITS + "resources: {job_name: job}", "typed", "typed"),
        ("data: {train_data: 'sklearn:digits'}", "", "wing"),
    ],
)
def test_takes_the_first_name_there_is(text: str, name: str, expected: str) -> None:
    assert plan(load_profile_text(text, name="a/wing.yaml"), FACTS, name=name).name == expected


def test_findings_stand_gravest_first_with_line_and_fix() -> None:
    findings = [
        {"severity": "advice", "code": "b", "line": 0, "path": "", "message": "slow", "fix": ""},
        {"severity": "error", "code": "a", "line": 7, "path": "x.y", "message": "wrong", "fix": "set x.y: 1"},
    ]
    lines = [line for line in render_findings(findings) if line]
    assert lines == [
        "  error · a · line 7 · x.y",
        "    wrong",
        "    → set x.y: 1",
        "  advice · b",
        "    slow",
    ]


def test_findings_that_say_the_same_are_shown_once() -> None:
    common = {"severity": "warning", "code": "inactive", "message": "not built yet", "fix": "take it out"}
    findings = [{**common, "path": f"a.k{number}", "line": number} for number in (3, 4, 9)]
    lines = [line for line in render_findings(findings) if line]
    assert lines == [
        "  warning · inactive · lines 3, 4, 9 · a.k3, a.k4, a.k9",
        "    not built yet",
        "    → take it out",
    ]


def test_code_of_ones_own_learns_how_many_cores_it_may_use() -> None:
    text = "entrypoint: {script: t.py, env: {A: b}}\nresources: {num_cpus: 2}"
    assert plan(load(text), FACTS).job.env == {"OMP_NUM_THREADS": "2", "A": "b"}
    own = text.replace("A: b", "OMP_NUM_THREADS: '1'")
    assert plan(load(own), FACTS).job.env == {"OMP_NUM_THREADS": "1"}
    assert plan(load("resources: {num_cpus: 2}"), FACTS).job.env == {}


def test_one_of_anything_is_singular() -> None:
    data = replace(DATA, num_train=1, class_counts=(50, 50))
    text = str(plan(load("data: {train_data: 'sklearn:digits'}\ntraining: {max_epochs: 1}"), replace(FACTS, data=data)))
    assert "1 sample / (32 × 1 × 1) → 1 step per epoch × 1 epoch = 1 step" in " ".join(text.split())
    assert "(50 samples each)" in text

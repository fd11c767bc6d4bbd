"""What the comments and numbers of templates say is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.data.infer import describe_table
from footplate.data.load import load_data
from footplate.profile.explain import all_keys
from footplate.profile.facts import Facts
from footplate.profile.lint import lint
from footplate.profile.load import load_profile_text
from footplate.profile.templates import TEMPLATES, render_template

TRAINED = tuple(name for name in TEMPLATES if name != "script")
_IS_LATER = "not active yet"


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_template_calls_not_active_is_not(name: str) -> None:
    """A comment that outlives its reason keeps people from what they need."""
    inactive = {part for info in all_keys() if info.status == "inactive" for part in info.path.split(".")}
    marked = [line.strip(" #").partition(":")[0] for line in render_template(name).splitlines() if _IS_LATER in line]
    assert not set(marked) - inactive - {"clusters and queues"}


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_a_template_takes_no_more_than_the_data_have(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("a small train runs on rails over hills\n" * 1200, encoding="utf-8")
    table = describe_table("text.txt")
    profile = load_profile_text(render_template(name, table=table, data_path="text.txt"))
    facts = load_data(profile).facts
    assert {finding.code for finding in lint(profile, Facts(data=facts)).findings} & {"batch-exceeds-data"} == set()

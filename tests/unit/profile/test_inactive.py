"""Keys that do nothing yet are named; protections that are off are errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.profile.inactive import find_inactive
from footplate.profile.load import load_profile, load_profile_text

PROFILES = Path(__file__).parent / "profiles"


def find(text: str) -> list[tuple[str, str, int]]:
    return [(str(one.severity), one.path, one.line) for one in find_inactive(load_profile_text(text))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("power_management:\n  power_mode: 30W", [("warning", "power_management.power_mode", 2)]),
        ("data:\n  num_workers: 4", []),
        ("model: {architecture: lstm}", []),
        ("model: {architecture: 'hf:gpt2'}", []),
        ("model: {architecture: 'my.net:Net'}", []),
        ("device: xpu", [("error", "device", 1)]),
        ("compliance: {remove_pii: true}", []),
        ("compliance: {remove_pii: false, easa_ai_compliant: true}", []),
        ("federated: {privacy: {dp: true}}", [("error", "federated.privacy", 1)]),
        (
            "federated: {enabled: true, privacy: {dp: true}}",
            [("warning", "federated.enabled", 1), ("error", "federated.privacy", 1)],
        ),
        ("logging: {wandb: {enabled: true, project: x}}", []),
        ("monitoring: {alerts: {enabled: false, email: a@example.org}}", []),
        (
            "monitoring: {alerts: {enabled: true, email: a@example.org}}",
            [],
        ),
        ("transfer_learning: {strategy: frozen}", []),
        ("validation: {metrics: [loss, perplexity]}", []),
        ("post_training: {report: {format: html}}", []),
    ],
)
def test_only_what_was_asked_for_and_is_not_built_is_named(text: str, found: list[tuple[str, str, int]]) -> None:
    assert find(text) == found


def test_every_protection_of_a_teams_profile_is_an_error() -> None:
    findings = find_inactive(load_profile(PROFILES / "team_embedded.yaml"))
    errors = [one.path for one in findings if one.severity == "error"]
    assert errors == []
    assert [one.line for one in findings] == sorted(one.line for one in findings)
    assert all(one.code == "inactive" and one.message and one.fix for one in findings)

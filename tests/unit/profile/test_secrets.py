"""Secrets: references are resolved, values that are written out are recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.errors import InputError
from footplate.profile.load import load_profile_text
from footplate.profile.secrets import looks_like_credential, resolve_secrets


def test_references_are_resolved_inside_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_TOKEN", "abc")
    (tmp_path / "key").write_text("k3y\n", encoding="utf-8")
    values = {"A": "Bearer ${env:FP_TOKEN}", "B": "${file:key}", "C": "${HOME}"}
    assert resolve_secrets(values, base_dir=tmp_path) == {"A": "Bearer abc", "B": "k3y", "C": "${HOME}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${env:FP_NOT_THERE}", "entrypoint.env.X: the environment variable FP_NOT_THERE is not set"),
        ("${file:gone}", "entrypoint.env.X: the file gone is not there"),
        ("${secret:db}", "entrypoint.env.X: ${secret:db} needs the server's vault, which is not built yet"),
    ],
)
def test_what_cannot_be_resolved_names_its_key(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_secrets({"X": text}, key="entrypoint.env")
    assert str(caught.value) == message
    assert caught.value.hint


def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 70_000)
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    for name in ("big", "raw"):
        with pytest.raises(InputError, match=name):
            resolve_secrets({"X": f"${{file:{name}}}"}, base_dir=tmp_path)


def test_a_profile_never_shows_what_a_reference_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_TOKEN", "s3cret-value")
    profile = load_profile_text("entrypoint: {env: {TOKEN: '${env:FP_TOKEN}'}}")
    assert profile.entrypoint.env["TOKEN"] == "${env:FP_TOKEN}"
    assert "s3cret-value" not in repr(profile) + profile.to_yaml()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://hooks.slack.com/services/T00000000/B00000000/XXXX", "a Slack webhook"),
        ("https://discord.com/api/webhooks/123456/abc-DEF", "a Discord webhook"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "an AWS access key"),
        ("ghp_" + "a1" * 18, "a GitHub token"),
        ("hf_" + "aB" * 17, "a Hugging Face token"),
        ("sk-" + "a1" * 16, "an API key"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.abc", "a JSON web token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        ("postgresql://me:pass@db/x", "a password in an address"),
        ("postgresql://me:${env:PW}@db/x", ""),
        ("${env:SLACK_WEBHOOK}", ""),
        ("http://mlflow.example.org:5000", ""),
        ("2.1.0", ""),
    ],
)
def test_a_credential_is_recognised_by_its_form(text: str, kind: str) -> None:
    assert looks_like_credential(text) == kind


def test_under_the_name_of_a_secret_a_random_word_is_one() -> None:
    word = "9f8a7b6c5d4e3f2a1b0c9d8e"
    assert looks_like_credential(word, name="entrypoint.env.WANDB_API_KEY") == "a secret"
    assert looks_like_credential(word, name="metadata.version") == ""
    assert looks_like_credential("aaaaaaaaaaaaaaaaaaaaaaaa", name="token") == ""


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("DB_PASSWORD", "hunter2", "a password"),
        ("DB_PASSWORD", "${env:DB_PASSWORD}", ""),
        ("DB_PASSWORD", "$DB_PASSWORD", ""),
        ("webhook", "https://alerts.example.org/hook", "a webhook's address"),
        ("slack_webhook", "${env:SLACK_WEBHOOK}", ""),
        ("token_file", "/home/me/.cache/huggingface/token-2024", ""),
        ("SECRET_PATH", "/run/secrets/my_db_password_2024", ""),
        ("TOKENIZER_PATH", "meta-llama/Llama-3.1-8B-Instruct", ""),
        ("tokenizer", "bert-base-uncased-v2-1234", ""),
        ("TOKENIZERS_PARALLELISM", "false", ""),
    ],
)
def test_the_name_of_a_key_says_what_its_text_is(name: str, text: str, kind: str) -> None:
    assert looks_like_credential(text, name=name) == kind

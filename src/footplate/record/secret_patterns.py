"""What looks like a secret: file names, contents, environment variables."""

from __future__ import annotations

import re
from fnmatch import fnmatch

__all__ = ["find_secret_content", "find_secret_name", "mask"]

_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "*.jks", "*.keystore", "*.ppk", "*.gpg",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".htpasswd",
    ".git-credentials", "credentials.json", "credentials", "client_secret*.json", "service-account*.json",
    "service_account*.json", "kubeconfig", "secrets.yaml", "secrets.yml", "secrets.json", "secrets.toml",
)  # fmt: skip
_EXAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist", "id_*.pub")

# What must be in a content before the slower search for the form is worth it, and that form.
_CONTENTS = (
    (b"PRIVATE KEY", re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\\]"), "a private key"),
    (b"AKIA", re.compile(rb"\bAKIA(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}\b"), "an AWS access key"),
    (b"ASIA", re.compile(rb"\bASIA(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}\b"), "an AWS access key"),
    (b"gh", re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}\b"), "a GitHub token"),
    (b"github_pat_", re.compile(rb"\bgithub_pat_[A-Za-z0-9_]{50,}\b"), "a GitHub token"),
    (b"glpat-", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}"), "a GitLab token"),
    (b"xox", re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z-]{20,}"), "a Slack token"),
    (b"hooks.slack.com", re.compile(rb"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}"), "a Slack webhook"),
    (b"hf_", re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"), "a Hugging Face token"),
)
_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|PRIVATE|(?:API|ACCESS|_)_?KEY", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_MASK = "***"


def find_secret_name(name: str) -> str:
    """Return the pattern of secret files that a file's name matches; empty when it matches none."""
    lower = name.lower()
    if any(fnmatch(lower, pattern) for pattern in _EXAMPLES):
        return ""
    return next((pattern for pattern in _NAMES if fnmatch(lower, pattern)), "")


def find_secret_content(content: bytes) -> str:
    """Return what kind of secret a content holds, such as ``a private key``; empty when none is seen."""
    return next((kind for mark, form, kind in _CONTENTS if mark in content and form.search(content)), "")


def mask(name: str, value: str) -> str:
    """Return a variable's value, or stars in the place of what looks secret by the variable's name or its content."""
    if _VARIABLE.search(name) or find_secret_content(value.encode(errors="surrogateescape") + b"\n"):
        return _MASK
    return _URL_PASSWORD.sub(rf"\g<1>{_MASK}@", value)

"""Keys and password of a local installation, made once and readable by its user alone.

One rule: nothing secret is printed or logged here; `mlops up` shows the password once it is asked for.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from mlops.config import MLOpsConfig

USER = "admin"


def keys(config: MLOpsConfig) -> dict[str, str]:
    """Airflow's keys, made on first use together with the password."""
    path = config.state_dir / "run" / "secrets" / "keys.json"
    if not path.exists():
        made = {
            "fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret_key": secrets.token_urlsafe(48),
        }
        _write_private(path, made)
    if not passwords_file(config).exists():
        _write_private(passwords_file(config), {USER: secrets.token_urlsafe(12)})
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def passwords_file(config: MLOpsConfig) -> Path:
    """Where the password of `USER` is kept."""
    return config.state_dir / "run" / "secrets" / "passwords.json"


def password(config: MLOpsConfig) -> str:
    """The password of `USER`."""
    found: str = json.loads(passwords_file(config).read_text(encoding="utf-8"))[USER]
    return found


def _write_private(path: Path, values: Mapping[str, str]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(dict(values), file)

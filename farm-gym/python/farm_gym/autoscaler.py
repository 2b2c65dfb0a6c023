"""A client of the autoscaler: reads what it sees of a farm, and orders a parallelism."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8080/function/farm-autoscaler"
"""The autoscaler of a farm under `farm up`."""

PASSWORD_FILE_VARIABLE = "FARM_GATEWAY_PASSWORD_FILE"  # noqa: S105
ANSWER_SECONDS = 30.0
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class LiveFarmError(RuntimeError):
    """A live farm cannot be watched or scaled; says why and what to do."""


class Autoscaler:
    """The autoscaler of one farm."""

    def __init__(
        self, url: str, farm: str, user: str = "admin", password_file: str | Path | None = None
    ) -> None:
        """Take the password from `password_file`, or from where `password` looks."""
        self.url = url.rstrip("/")
        self.farm = farm
        self._path = f"/farms/{urllib.parse.quote(farm, safe='')}"
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"url {url!r}: write it like {DEFAULT_URL}")
        # A proxy is for the world outside.
        local = [urllib.request.ProxyHandler({})] if parts.hostname in LOCAL_HOSTS else []
        self._opener = urllib.request.build_opener(*local)
        secret = password(self.url, password_file)
        self._authorization = None
        if secret is not None:
            token = base64.b64encode(f"{user}:{secret}".encode()).decode()
            self._authorization = f"Basic {token}"

    def look(self) -> dict[str, Any]:
        """Return the farm as it lies out now."""
        return self._ask(self._path)

    def observation_after(self, sequence: int, within_seconds: float) -> dict[str, Any]:
        """Wait for an observation of another number."""
        deadline = time.monotonic() + within_seconds
        while True:
            shown = self._ask(f"{self._path}?after={sequence}")
            if shown["sequence"] != sequence and shown["observation"] is not None:
                return shown
            if time.monotonic() > deadline:
                cause = shown.get("held") or "the autoscaler does not say why"
                raise LiveFarmError(
                    f"farm {self.farm} was not observed for {within_seconds:.0f} s: {cause}"
                )

    def order(self, parallelism: int) -> int:
        """Order a parallelism; return the number of the last observation before it."""
        body = json.dumps({"parallelism": parallelism}).encode()
        sequence: int = self._ask(f"{self._path}/order", body)["sequence"]
        return sequence

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, data=body)  # noqa: S310
        request.add_header("Content-Type", "application/json")
        if body is not None and self._authorization is not None:
            # A redirect may lead to another host, which is not to learn the password.
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                content: dict[str, Any] = json.load(answer)
                return content
        except urllib.error.HTTPError as error:
            raise LiveFarmError(self._refusal(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            raise LiveFarmError(
                f"the autoscaler at {self.url} does not answer: {cause}. Is the farm up?"
            ) from error

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        with error:
            text = error.read(2000).decode(errors="replace").strip()
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            text = text or error.reason
        if error.code == 401:  # noqa: PLR2004
            text += (
                f"; name the file with the password: password_file=..., or {PASSWORD_FILE_VARIABLE}"
            )
        return f"the autoscaler at {self.url} answered {error.code}: {text}"


def password(url: str, file: str | Path | None) -> str | None:
    """Read the gateway's password.

    From `file`, else from the file that the environment names, else from the one that `farm up`
    left in this folder or above it, if it is that gateway's.
    """
    named = file or os.environ.get(PASSWORD_FILE_VARIABLE)
    found = Path(named) if named else _password_of_farm_up(url)
    if found is None:
        return None
    try:
        return found.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LiveFarmError(f"the gateway's password cannot be read: {error}") from error


def _password_of_farm_up(url: str) -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        state = folder / ".farm"
        try:
            gateway = json.loads((state / "up.json").read_text(encoding="utf-8"))["gateway_url"]
        except (OSError, ValueError, KeyError):
            continue
        # The password of one gateway is never shown to another.
        mine = f"{url}/".startswith(gateway.rstrip("/") + "/")
        file = state / "gateway-password"
        return file if mine and file.is_file() else None
    return None

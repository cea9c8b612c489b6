"""The library httpx."""

import ssl
from collections.abc import Mapping

import httpx

from campaigns.conformance.programs.http_by_hand import Sent, run_with

_SECONDS = 60


class Httpx:
    """Implements `Library`."""

    def __init__(self, ca: str) -> None:
        """Begin a session, which trusts what is in a file, where one is named."""
        trusted = ssl.create_default_context(cafile=ca) if ca else True
        self._client = httpx.Client(timeout=_SECONDS, verify=trusted)

    def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Sent:
        """See `Library`."""
        said = self._client.request(method, url, content=content, headers=dict(headers))
        return Sent(said.status_code, {name.lower(): value for name, value in said.headers.items()}, said.content)

    def close(self) -> None:
        """See `Library`."""
        self._client.close()


if __name__ == "__main__":
    run_with(Httpx)

"""The library requests."""

from collections.abc import Mapping

import requests

from campaigns.conformance.programs.http_by_hand import Sent, run_with

_SECONDS = 60


class Requests:
    """Implements `Library`."""

    def __init__(self, ca: str) -> None:
        """Begin a session, which trusts what is in a file, where one is named."""
        self._session = requests.Session()
        self._session.trust_env = False  # of the environment's certificates it would take those, not the file's
        self._session.verify = ca or True

    def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Sent:
        """See `Library`."""
        said = self._session.request(method, url, data=content, headers=dict(headers), timeout=_SECONDS)
        return Sent(said.status_code, {name.lower(): value for name, value in said.headers.items()}, said.content)

    def close(self) -> None:
        """See `Library`."""
        self._session.close()


if __name__ == "__main__":
    run_with(Requests)

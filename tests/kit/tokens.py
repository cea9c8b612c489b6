"""A file of tokens, as `rnnserve token` writes it, and tokens of each kind in it."""

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from rnnserve.server.access.access_file import add_token

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Tokens(NamedTuple):
    """A file, and tokens by what is special about them.

    Attributes:
        path: The file.
        infer: For inference on all models.
        admin: For all.
        metrics: For metrics.
        elsewhere: For inference on a model that is not here.
        expired: One that has ended.
        unknown: One that is not in the file.
    """

    path: Path
    infer: str
    admin: str
    metrics: str
    elsewhere: str
    expired: str
    unknown: str = "rnn_" + "A" * 43


def tokens_in(folder: Path) -> Tokens:
    """Write a file of tokens into a folder."""
    path = folder / "tokens.toml"
    return Tokens(
        path,
        add_token(path, "infer", "infer"),
        add_token(path, "admin", "admin"),
        add_token(path, "metrics", "metrics"),
        add_token(path, "elsewhere", "infer", ["another_model"]),
        add_token(path, "expired", "admin", None, LONG_AGO),
    )


def bearer(token: str) -> list[tuple[str, str]]:
    """The metadata with a token. None for an empty one."""
    return [("authorization", f"Bearer {token}")] if token else []

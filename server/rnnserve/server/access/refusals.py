"""Refusals of the gate: in the same words, whatever is wrong with a token, and whether or not there is such a model."""

import math
from typing import Self

from rnnserve.protos.access_table import Need
from rnnserve.server.errors import ServeError

__all__ = ["PermissionDenied", "TokenLimitReached", "TooManyAttempts", "Unauthenticated", "UnknownCertificate"]


class Unauthenticated(ServeError):
    """There is no token, or it is not known, not of this form, revoked, or expired: which of these is not told.

    Attributes:
        is_wrong: Whether something was brought that is not valid: such attempts are counted by address (`failures`).
    """

    status = "UNAUTHENTICATED"
    words = "a valid token is needed: send it as authorization: Bearer TOKEN"

    def __init__(self, *, is_wrong: bool = False) -> None:
        """Say what is needed.

        Args:
            is_wrong: Whether something was brought that is not valid.
        """
        super().__init__(self.words)
        self.is_wrong = is_wrong


class UnknownCertificate(Unauthenticated):
    """The client has shown no certificate that the file of client roles has a row for, or whose row has ended."""

    words = "a client certificate is needed that this server has a role for"


class PermissionDenied(ServeError):
    """The token's role, or its models, do not include what is asked for."""

    status = "PERMISSION_DENIED"

    @classmethod
    def of_role(cls, need: Need) -> Self:
        """Say which roles are needed: that stands in the documentation, and tells nothing of models."""
        roles = " or ".join(need.roles)
        return cls(f"another role is needed for that: {roles}" if roles else "no role may do that")

    @classmethod
    def of_model(cls) -> Self:
        """Name no model: whether there is one is not told."""
        return cls("not that model: the token or certificate is for another model")


class TokenLimitReached(ServeError):
    """The calls of the token take as much as they may."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, limit: str, retry_after: float) -> None:
        """Say which limit, and when another request may come in.

        Args:
            limit: Key of the limit in the file of tokens, with its value.
            retry_after: Value of the attribute of the same name.
        """
        super().__init__(f"the requests of this token are as many as may be ({limit}); slow down")
        self.retry_after = retry_after


class TooManyAttempts(ServeError):
    """Too many calls from the client's address have brought a token that is not valid; those with a valid one go on."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, retry_after: float) -> None:
        """Say how long they are refused so."""
        super().__init__(
            f"too many calls from this address bring no valid token: wait {math.ceil(retry_after)} s, or send a valid "
            "one"
        )
        self.retry_after = retry_after

"""Refusals of the gate: in the same words, whatever is wrong with a token, and whether or not there is such a model."""

from rnnserve.server.errors import ServeError

__all__ = ["PermissionDenied", "TokenLimitReached", "Unauthenticated"]


class Unauthenticated(ServeError):
    """There is no token, or it is not known, not of this form, revoked, or expired: which of these is not told."""

    status = "UNAUTHENTICATED"

    def __init__(self) -> None:
        """Say how a token is sent."""
        super().__init__("a valid token is needed: send it as authorization: Bearer TOKEN")


class PermissionDenied(ServeError):
    """The token's role, or its models, do not include what is asked for."""

    status = "PERMISSION_DENIED"

    def __init__(self) -> None:
        """Name neither role nor model: whether there is such a model is not told."""
        super().__init__("this token is not for that: another role is needed, or another model")


class TokenLimitReached(ServeError):
    """The calls of the token take as much as they may."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, limit: str) -> None:
        """Say which limit.

        Args:
            limit: Key of the limit in the file of tokens, with its value.
        """
        super().__init__(f"the requests of this token are as many as may be ({limit}); slow down")

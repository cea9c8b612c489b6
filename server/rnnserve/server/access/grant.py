"""What a caller may do, by the row of the file that is its own."""

from collections.abc import Callable

from rnnserve.protos.access_table import Need
from rnnserve.server.access.access_file import AccessRow
from rnnserve.server.access.refusals import PermissionDenied, Unauthenticated
from rnnserve.server.access.usage import Usage

__all__ = ["Grant"]


class Grant:
    """What a token, or a certificate, admits to, now: it is asked again, since the file may say something else by then.

    Any thread may ask it.

    Attributes:
        token: What the file says of it; None where that has it no more.
        is_for_all: Whether the file has it, for all models: then no request's model needs a look.
        usage: What its requests take.
        refusal: The error of who is not known.
    """

    __slots__ = ("_clock", "_lasting", "is_for_all", "refusal", "token", "usage")

    def __init__(
        self, token: AccessRow, clock: Callable[[], float], usage: Usage, refusal: type[Unauthenticated]
    ) -> None:
        self.token: AccessRow | None
        self.set(token)
        self.usage = usage
        self._clock = clock
        self.refusal = refusal

    def set(self, token: AccessRow | None) -> None:
        """Say from now on what the file says of it; None where that has it no more."""
        self.token = token
        self.is_for_all = token is not None and token.models is None
        # Valid without a look at a clock.
        self._lasting = token if token is not None and token.not_after is None else None

    @property
    def holder(self) -> str:
        """Name of its row; empty where the file has it no more."""
        return "" if self.token is None else self.token.name

    @property
    def is_valid(self) -> bool:
        """Whether the file has it, and it has not expired."""
        return self._valid() is not None

    def valid_token(self) -> AccessRow:
        """Give what the file says of it.

        Raises:
            Unauthenticated: If it is no more, or has expired.
        """
        token = self._valid()
        if token is None:
            raise self.refusal(is_wrong=True)
        return token

    def check(self, need: Need) -> None:
        """Check that it has a role that is needed.

        Raises:
            PermissionDenied: If it does not.
            Unauthenticated: If it is no more, or has expired.
        """
        # `has_role`, without a call for each request.
        if (self._lasting or self.valid_token()).role not in need.roles:
            raise PermissionDenied.of_role(need)

    def check_model(self, name: str) -> None:
        """Check that it is for a model, whether or not there is one of that name.

        Raises:
            PermissionDenied: If it is not.
            Unauthenticated: If it is no more, or has expired.
        """
        if not self.valid_token().is_for(name):
            raise PermissionDenied.of_model()

    def admits_at_once(self, need: Need) -> bool:
        """Tell whether it admits to what is needed until the file changes, and has no limits."""
        return self._lasting is not None and self._lasting.has_role(need) and not self.usage.is_limited

    def admits(self, need: Need) -> bool:
        """Tell whether it is valid, and has a role that is needed."""
        token = self._valid()
        return token is not None and token.has_role(need)

    def is_for(self, name: str) -> bool:
        """Tell whether it is valid, and for a model."""
        token = self._valid()
        return token is not None and token.is_for(name)

    def _valid(self) -> AccessRow | None:
        token = self.token
        if token is None or (token.not_after is not None and token.not_after <= self._clock()):
            return None
        return token

"""What can go wrong for reasons that whoever runs the benchmark can mend: each is printed as one line."""

__all__ = ["BenchError", "ClientFailed", "Missing", "Saturated", "ServerFailed", "UnknownCommit", "WrongAnswer"]


class BenchError(Exception):
    """The root of all errors of the benchmark; those below are its only kinds."""


class Missing(BenchError):
    """A peer or client cannot be had here; the message says what is missing and how to get it."""


class UnknownCommit(BenchError):
    """The commit to compare with is not in this repository."""


class ServerFailed(BenchError):
    """A server did not start, or ended by itself."""


class WrongAnswer(BenchError):
    """A server does not answer what eager PyTorch answers, so there is nothing to time."""


class ClientFailed(BenchError):
    """A load generator failed, or some of the requests that it sent did."""


class Saturated(BenchError):
    """A server fell behind so far that the load generator has no figures: that is a result, and no mistake."""

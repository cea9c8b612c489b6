"""Errors that the user of the benchmark can correct; each is printed as one line.

BenchmarkError              the root
├── MissingDependency       a peer, a load generator, a tool or a device cannot be had
├── UnknownCommit           the commit to compare with is not in this repository
├── ServerFailed            a server did not start, or ended by itself
├── WrongAnswer             a server's answer differs from eager PyTorch's
├── LoadGeneratorFailed     a load generator failed, or some of its requests did
├── ModelLoopFailed         the loop that runs a model without a server failed, or gave a wrong answer
└── Saturated               a server could not follow the request rate: a result, not a fault
"""


class BenchmarkError(Exception):
    """The root of all errors of the benchmark."""


class MissingDependency(BenchmarkError):
    """A peer, load generator, tool or device is missing; the message says which, and what to do."""


class UnknownCommit(BenchmarkError):
    """The commit to compare with is not in this repository."""


class ServerFailed(BenchmarkError):
    """A server did not start, or ended by itself."""


class WrongAnswer(BenchmarkError):
    """A server's answer differs from that of eager PyTorch, so its speed means nothing."""


class LoadGeneratorFailed(BenchmarkError):
    """A load generator failed, or some of the requests that it sent did."""


class ModelLoopFailed(BenchmarkError):
    """The loop that runs a model without a server failed, or its answer differs from the expected one."""


class Saturated(BenchmarkError):
    """A server answered so much slower than requests came that the load generator has no figures: a result."""

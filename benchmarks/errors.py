"""Errors that the user of the benchmark can correct. The program prints each as one line.

BenchmarkError              the root
├── MissingDependency       a peer, a load generator, a tool or a device is missing
├── UnknownCommit           the commit to compare with is not in this repository
├── ServerFailed            a server did not start, or ended unexpectedly
├── WrongAnswer             a server's response differs from eager PyTorch
├── LoadGeneratorFailed     a load generator failed, or some of its requests did
├── ModelLoopFailed         the loop that runs a model without a server failed, or its outputs were wrong
└── Saturated               a server could not follow the request rate: a result, not a fault
"""


class BenchmarkError(Exception):
    """The root of all errors of the benchmark."""


class MissingDependency(BenchmarkError):
    """A peer, load generator, tool or device is missing. The message names it and the remedy."""


class UnknownCommit(BenchmarkError):
    """The commit to compare with is not in this repository."""


class ServerFailed(BenchmarkError):
    """A server did not start, or ended unexpectedly."""


class WrongAnswer(BenchmarkError):
    """A server's response differs from eager PyTorch, so its speed means nothing."""


class LoadGeneratorFailed(BenchmarkError):
    """A load generator failed, or some of the requests that it sent did."""


class ModelLoopFailed(BenchmarkError):
    """The loop that runs a model without a server failed, or its outputs differ from the expected ones."""


class Saturated(BenchmarkError):
    """A server responded so much slower than requests came that the load generator has no figures: a result."""

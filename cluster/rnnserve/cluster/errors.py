"""The errors of what places servers on a cluster; the message of each is one line for whoever gave the command.

ClusterError        the cluster cannot do what is asked for, or there is none
└── RollFailed      a rolling update has ended early; the message says what serves
"""

__all__ = ["ClusterError", "RollFailed"]


class ClusterError(Exception):
    """The root of all errors here."""


class RollFailed(ClusterError):
    """A rolling update has ended early."""

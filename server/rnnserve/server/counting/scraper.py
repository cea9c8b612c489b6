"""A process that answers scrapes of one server, from the table that the server adds to: `python -m` this module.

So what a scrape costs, some milliseconds with a hundred models, is no time of the server's own interpreter.
"""

import argparse
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from rnnserve.common.child_process import die_with_parent
from rnnserve.common.front_counts import FrontCounts
from rnnserve.server.access.gate import open_gate
from rnnserve.server.counting.endpoint import MetricsEndpoint
from rnnserve.server.counting.exposition import Exposition
from rnnserve.server.counting.table import CountTable
from rnnserve.server.counting.totals import Totals
from rnnserve.server.settings.access import AccessSettings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer until the server ends, or ends this process."""
    parser = argparse.ArgumentParser()
    for name in ("--table-fd", "--lifeline-fd"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", required=True)
    parser.add_argument("--front-fd", type=int, action="append", default=[])
    parser.add_argument("--server-version", required=True)
    parser.add_argument("--no-triton-metrics", action="store_true")
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--client-roles", type=Path)
    parser.add_argument("--max-wrong-tokens", type=int, default=1)
    args = parser.parse_args(arguments)
    die_with_parent(args.lifeline_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, which ends this process
    totals = Totals()
    totals.add(CountTable(args.table_fd))
    totals.fronts += [FrontCounts(fd) for fd in args.front_fd]
    exposition = Exposition(args.server_version, has_triton_names=not args.no_triton_metrics)
    listeners = [socket.socket(fileno=fd) for fd in args.listen_fd]
    gate = open_gate(
        AccessSettings(tokens=args.tokens, client_roles=args.client_roles, max_wrong_tokens=args.max_wrong_tokens)
    )
    MetricsEndpoint(
        listeners, lambda: exposition.text(totals.sums(), totals.restarts, totals.of_fronts()), gate
    ).serve()


if __name__ == "__main__":
    main()

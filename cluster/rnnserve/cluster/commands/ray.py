"""`rnnserve ray`: servers on the nodes of a Ray cluster."""

import argparse
import dataclasses
import math
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.cluster.servers import ClusterError, FleetStatus, ServerSpec
from rnnserve.common.extras import missing_package

if TYPE_CHECKING:
    from rnnserve.cluster.on_ray.ray_fleet import RayFleet

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClusterError,)

_EPILOG = """
First run `ray start` on every machine. Each machine needs rnnserve with the extra `ray`, and the
repository at the same path:

  export RAY_AUTH_MODE=token RAY_gcs_rpc_server_reconnect_timeout_s=604800
  ray start --head                                           on the first
  ray start --address=HOST:PORT                              on the others
  rnnserve ray up /srv/repository --replicas 3
  rnnserve infer MODEL --url HOST:8001,HOST:8001,HOST:8001   uses any ready server; list all nodes

Each subcommand has its own help: `rnnserve ray up --help`.
"""
_OURS = ("--host", "--grpc-port")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser(
        "up",
        help="start one server per node, and wait until all are ready",
        description="Start one server per node, and wait until all are ready. They run until `down`. If a node is "
        "lost, its server is started on another node.",
    )
    resource = _number(r"\d+(\.\d+)?", 0, math.inf, "a number, such as 1 or 0.5")
    up.add_argument("repository", metavar="REPOSITORY", help="folder with the models, at this path on every node")
    up.add_argument(
        "--replicas",
        type=_number(r"\d+", 1, math.inf, "a number of 1 or more"),
        required=True,
        metavar="N",
        help="number of servers, one per node",
    )
    up.add_argument(
        "--grpc-port",
        type=_number(r"\d+", 1, 65535, "a port from 1 to 65535, the same on every node"),
        default=8001,
        metavar="PORT",
        help="port of every server (default 8001)",
    )
    up.add_argument("--cpus", type=resource, default=1.0, metavar="N", help="CPUs reserved for each server (default 1)")
    up.add_argument("--gpus", type=resource, default=0.0, metavar="N", help="GPUs reserved for each server (default 0)")
    up.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="longest wait for the servers (default 300)"
    )
    status = actions.add_parser(
        "status", help="show the servers, their addresses, and whether they are ready", description="Show the servers."
    )
    roll = actions.add_parser(
        "roll",
        help="update one server after another, without failing a request",
        description="Update one server after another to the current repository and the installed rnnserve, or to "
        "another repository. Each new server is first tested on its node. Then the old server drains and ends, and "
        "the new one takes its port. If a new server does not become ready, the old servers keep serving.",
    )
    roll.add_argument(
        "repository", metavar="REPOSITORY", nargs="?", help="another folder with the models (default: the same)"
    )
    down = actions.add_parser("down", help="drain and stop all servers", description="Drain and stop all servers.")
    for action in (up, roll):
        action.add_argument(
            "--serve-options",
            type=_serve_options,
            metavar="OPTIONS",
            help='options of `rnnserve serve`, in quotes: --serve-options="--threads 2 --drain 2"',
        )
    for action in (up, status, roll, down):
        action.add_argument(
            "--name",
            default="rnnserve",
            help="name of these servers, for several groups in a cluster (default rnnserve)",
        )
        action.add_argument(
            "--address",
            default="auto",
            metavar="HOST:PORT",
            help="address of the cluster (default: the cluster of this machine)",
        )


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    with _connected(args) as fleet:
        if args.action == "up":
            _up(fleet, args)
        elif args.action == "roll":
            status = fleet.roll(
                lambda spec: dataclasses.replace(
                    spec,
                    repository=args.repository or spec.repository,
                    options=spec.options if args.serve_options is None else args.serve_options,
                ),
                lambda line: print(line, flush=True),
            )
            revision = status.spec.revision if status.spec else 0
            print(f"all {len(status.reports)} servers are at revision {revision}")
        elif args.action == "down":
            fleet.down()
            print(f"the servers named {args.name!r} have ended")
        else:
            print(_table(fleet.status()))
    return 0


@contextmanager
def _connected(args: argparse.Namespace) -> "Iterator[RayFleet]":
    try:
        from rnnserve.cluster.on_ray.ray_fleet import RayFleet
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "ray":
            raise
        raise ClusterError(missing_package("ray", "ray")) from missing
    with RayFleet.connected(args.name, args.address) as fleet:
        yield fleet


def _up(fleet: "RayFleet", args: argparse.Namespace) -> None:
    if not fleet.has_token:
        # Only a warning: the open ports are the cluster's, and this command does not add any.
        print(
            "rnnserve ray: this cluster asks for no token: whoever reaches its ports can run programs on its nodes. "
            "Start every node with RAY_AUTH_MODE=token",
            file=sys.stderr,
        )
    spec = ServerSpec(args.repository, args.serve_options or (), args.grpc_port)
    bundle = {name: count for name, count in {"CPU": args.cpus, "GPU": args.gpus}.items() if count}
    if not bundle:
        raise ClusterError("a server needs resources of its node; set --cpus or --gpus to more than 0")
    print(_table(fleet.up(spec, args.replicas, bundle, args.timeout)))


def _table(status: FleetStatus) -> str:
    rows = []
    for place, report in sorted(status.reports.items()):
        revision, repository = (str(report.spec.revision), report.spec.repository) if report.spec else ("-", "-")
        rows.append([str(place), report.address or "-", report.state, revision, repository, report.said])
    head = ["server", "address", "state", "revision", "repository", ""]
    lines = [
        f"{len(status.endpoints)} of {len(status.reports)} servers named {status.name!r} serve",
        format_aligned_table(head, rows, text_columns=(1, 2, 4, 5)),
    ]
    if status.endpoints and status.spec:
        has_tls = any(option.partition("=")[0] == "--tls-certificate" for option in status.spec.options)
        lines.append(f"for clients: --url {'grpcs://' if has_tls else ''}{','.join(status.endpoints)}")
    return "\n".join(lines)


def _number(pattern: str, least: float, most: float, expected: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(pattern, text) or not least <= float(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return int(text) if text.isdecimal() else float(text)

    return parse


def _serve_options(text: str) -> tuple[str, ...]:
    try:
        options = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    for option in options:
        if option.partition("=")[0] in _OURS:
            raise argparse.ArgumentTypeError(
                f"{option}: servers listen on the address of their node, at the port of `rnnserve ray up --grpc-port`"
            )
    return options

"""`rnnserve serve`: serve a repository over gRPC."""

import argparse
import dataclasses
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from rnnserve.server.commands.log_limits import LogLimits
from rnnserve.server.commands.options import add_options, argument_type, read_options, write_options
from rnnserve.server.errors import StartError
from rnnserve.server.repository.trials import Trials
from rnnserve.server.settings import Settings
from rnnserve.server.transport.allocation import give_back_large_blocks
from rnnserve.server.transport.polling import choose_polling
from rnnserve.server.transport.ports import reserve_port
from rnnserve.server.transport.supervisor import Supervisor, worker_count

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (StartError,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: every option of `Settings`, and what concerns the process only."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    add_options(parser)
    parser.add_argument(
        "--workers",
        type=argument_type(worker_count),
        default=1,
        metavar="N",
        help="processes that share the port; auto is one a core. One that dies is replaced",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much to log on standard error",
    )

    # What a supervisor tells its workers.
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    process = "" if args.ready_fd is None else f" [{os.getpid()}]"
    logging.basicConfig(
        level=args.log_level.upper(), format=f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimits())
    settings = read_options(args)
    if args.workers > 1:
        _supervise(settings, args.workers, args.log_level)
    else:
        _serve(settings, args.ready_fd, args.lifeline_fd)
    return 0


def _serve(settings: Settings, ready_fd: int | None, lifeline_fd: int | None) -> None:
    """Be the server, or one worker of it."""
    choose_polling()
    give_back_large_blocks()
    # The process that tries models imports onnxruntime while this one imports grpc, each for 0.3 s.
    trials = Trials(allow_unproven=settings.allow_unproven, max_bytes=settings.max_load_bytes)
    try:
        from rnnserve.server.app import Server  # imports grpc, which reads the choice then
    except ModuleNotFoundError as missing:
        raise StartError(f"needs the package {missing.name}: pip install 'rnnserve[server]'") from missing

    told_to_stop = threading.Event()
    _on_signals(told_to_stop.set)
    if lifeline_fd is not None:
        threading.Thread(target=_follow, args=(lifeline_fd, told_to_stop), daemon=True).start()
    server = Server(dataclasses.replace(settings, share_port=ready_fd is not None), trials)
    try:
        server.start(told_to_stop)
        if told_to_stop.is_set():
            return
        if ready_fd is None:
            _print_ready(settings.host, server.port)
        else:
            os.write(ready_fd, b"1")
        told_to_stop.wait()
    finally:
        server.stop()


def _supervise(settings: Settings, workers: int, log_level: str) -> None:
    """Keep workers, each of which runs this command with two more arguments."""
    with reserve_port(settings.host, settings.grpc_port) as port:
        command = [sys.executable, "-m", "rnnserve.cli", "serve", f"--log-level={log_level}"]
        options = write_options(dataclasses.replace(settings, grpc_port=port))
        supervisor = Supervisor(lambda more: [*command, *more, *options], workers)
        _on_signals(supervisor.stop)
        supervisor.run(lambda: _print_ready(settings.host, port), grace=settings.grace)


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _follow(lifeline_fd: int, told_to_stop: threading.Event) -> None:
    """Stop when the supervisor's end of the pipe closes: the supervisor has ended, for whatever reason."""
    os.read(lifeline_fd, 1)
    told_to_stop.set()


def _print_ready(host: str, port: int) -> None:
    print(f"gRPC on {host}:{port}", flush=True)

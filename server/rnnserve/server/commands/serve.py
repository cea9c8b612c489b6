"""`rnnserve serve`: serve a repository over gRPC."""

import argparse
import dataclasses
import gc
import importlib.metadata
import logging
import os
import secrets
import signal
import sys
from pathlib import Path

from rnnserve.common.allocation import give_back_large_blocks, use_few_arenas
from rnnserve.common.front_counts import FrontCounts
from rnnserve.common.log_format import LOG_FORMATS, log_formatter
from rnnserve.common.log_limits import LogLimits
from rnnserve.common.parent_death import die_with_parent
from rnnserve.common.unblocked_output import unblock_output
from rnnserve.server.commands.ending import Ending, end_at_once
from rnnserve.server.commands.http_front import add_http_arguments, http_front, page_address
from rnnserve.server.commands.metrics import Metrics, add_metrics_arguments, metrics_served
from rnnserve.server.commands.options import add_options, argument_type, changed_options, read_options, write_options
from rnnserve.server.commands.refusal_log import refusals_logged
from rnnserve.server.commands.request_telling import check_tracing, requests_told
from rnnserve.server.commands.stacks import show_stacks_at_signals
from rnnserve.server.counting.table import CountTable, use_table, used_table
from rnnserve.server.errors import StartError
from rnnserve.server.grpcio_private.polling import choose_polling
from rnnserve.server.option import read_count, read_port
from rnnserve.server.process.start_check import check_room, start_error
from rnnserve.server.repository.trials import Trials
from rnnserve.server.settings import Settings
from rnnserve.server.sockets.ports import reserve_port
from rnnserve.server.workers.peers import Peers
from rnnserve.server.workers.signals import follow_signals, receive_signals, watch_terminal
from rnnserve.server.workers.supervisor import Supervisor, worker_count
from rnnserve.server.workers.supervisor_link import Supervised

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (StartError,)

_log = logging.getLogger(__name__)

_COLLECT_OBJECTS = 10_000
"""New objects, for which Python looks for garbage among them: requests leave none."""

_SUPERVISED_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
)

_MESSAGE_HEAD = 1 << 20
"""Bytes of a message between workers beside the states of sequences, at most."""

_PEER_SECONDS = 2.0
"""Seconds that a worker may take to answer another one."""

_SIGNALS = """
signals:
  SIGTERM, SIGINT   end: after --drain seconds no new requests, those in progress have --grace seconds. A second one,
                    half a second later or more, ends at once, with exit status 128 and its number; so does any while
                    models are loaded the first time, with status 0
  SIGHUP            with --workers: load what the repository holds now in new workers; when all are ready, they take
                    over and the old ones leave, without failing a request. Without: load it beside what serves
  SIGUSR1, SIGQUIT  write what each thread does to standard error; SIGQUIT ends it then
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: every option of `Settings`, and what concerns the process only."""
    parser.formatter_class = _Formatter
    parser.epilog = _SIGNALS
    add_options(parser)
    parser.add_argument(
        "--workers",
        type=argument_type(worker_count),
        default=1,
        metavar="N",
        help="processes that share the port; auto is one a core. One that dies or hangs is replaced",
    )
    add_http_arguments(parser, argument_type(read_port), argument_type(read_count))
    add_metrics_arguments(parser, argument_type(read_port))
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much to log on standard error",
    )
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, default=LOG_FORMATS[0], help="lines of text, or a JSON object a line"
    )

    # What a supervisor tells its workers.
    parser.add_argument("--peers", help=argparse.SUPPRESS)
    parser.add_argument("--private-sockets", type=Path, help=argparse.SUPPRESS)
    for name in ("--report-fd", "--lifeline-fd", "--pins-fd", "--counts-fd"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    _prepare_process(args.lifeline_fd)
    process = "" if args.report_fd is None else f" [{os.getpid()}]"
    logging.basicConfig(
        level=args.log_level.upper(), format=f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimits())
        if type(handler) is logging.StreamHandler:  # the one that has just been made
            handler.setFormatter(log_formatter(args.log_format, has_process=bool(process)))
    settings = read_options(args)
    try:
        if args.report_fd is not None:
            supervised = Supervised(args.report_fd, args.lifeline_fd, args.pins_fd, args.peers)
            settings = dataclasses.replace(settings, share_port=True, private_sockets=args.private_sockets)
            _count_in(args.counts_fd)
            with requests_told(settings):
                has_threads = _serve(settings, supervised)
        else:
            check_tracing(settings)  # before anything is started
            fronts = [FrontCounts() for _ in range(args.http_workers)]
            with (
                http_front(args, settings, fronts) as settings,
                metrics_served(args, settings, fronts) as metrics,
                refusals_logged(metrics.totals, settings.log_requests),
            ):
                options = " ".join(changed_options(args, add_arguments))
                if args.workers > 1:
                    return _supervise(settings, args.workers, args.log_level, args.log_format, metrics, options)
                with requests_told(settings):
                    has_threads = _serve(settings, None, metrics, options)
        if args.report_fd is None:
            _log.info("the server has ended")
        if has_threads:
            end_at_once(0)  # Python would wait for them
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        reason = start_error(error)
        if reason is None:
            raise
        raise reason from error
    return 0


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help of arguments; the epilog's lines as they are."""


def _prepare_process(lifeline_fd: int | None) -> None:
    """Do what is for a process of its own only: a worker ends with its supervisor, and none waits for who reads it."""
    give_back_large_blocks()
    use_few_arenas()  # before any thread is started: each thread's arena would take address space
    if lifeline_fd is not None:
        die_with_parent(lifeline_fd)
    unblock_output()


def _count_in(counts_fd: int | None) -> None:
    """Have a worker count in the memory that its supervisor reads; one of another release has none that fits."""
    if counts_fd is not None:
        try:
            use_table(CountTable(counts_fd))
        except ValueError as error:
            _log.warning("the metrics do not have what this worker counts: %s", error)


def _serve(
    settings: Settings, supervised: Supervised | None, metrics: Metrics | None = None, options: str = ""
) -> bool:
    """Be the server, or one worker of it; return whether threads are left."""
    if settings.transport != "public":
        choose_polling()
    check_room()
    # Whoever started this with SIGHUP ignored (nohup) wants it to outlive the terminal.
    hang_up = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    ending = Ending(is_worker=supervised is not None, terminal_has_gone=watch_terminal())
    show_stacks_at_signals()
    with follow_signals(ending.take, signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, *hang_up):
        if supervised is not None:
            supervised.follow(ending.abandon)
        # The process that tries models imports onnxruntime while this one imports grpc, each for 0.3 s.
        trials = Trials()
        try:
            from rnnserve.server.app import Server  # imports grpc, which reads the choice then
        except ModuleNotFoundError as missing:
            raise StartError(f"needs the package {missing.name}: pip install 'rnnserve[server]'") from missing

        if supervised is None:
            server, peers = Server(settings, trials=trials), None
        else:
            peers = _peers(settings, supervised.peers_token)
            others = supervised.counts.of_others
            server = Server(settings, supervised.pins, trials, supervised.agreement, others, peers)
            supervised.count_with(server.own_counts)
            supervised.agreement.follow(server.live)
        ending.reload = server.reload
        if metrics is not None:
            metrics.totals.add(used_table())
            metrics.count_gauges = server.count_gauges
        left: list[str] = []
        try:
            if supervised is None:
                server.start()
                ending.is_loading = False  # before anybody is told that it serves: whoever is may send a signal
                _log_start(settings, options)
                _print_ready(settings.host, server.port, settings.http_port, metrics)
            else:
                server.load()
                supervised.say_loaded(server.pins())
                ending.is_loading = False
                server.listen()
                supervised.say_ready()
                supervised.beat(server.pulse().complaint, _log.error, server.count_gauges)
            _keep_from_garbage_collection()
            ending.told.wait()
            if settings.share_port and not ending.told_to_stop.is_set():
                server.leave(ending.told_to_stop)
            elif ending.drains:
                server.drain()
        finally:
            left = server.stop()
            if settings.share_port and not ending.told_to_stop.is_set():
                server.give_sequences()
        return bool(left) or peers is not None


def _peers(settings: Settings, token: str) -> Peers:
    """Listen to the other workers. A message has the states of one sequence: those of a connection have half of all."""
    return Peers(token, most=settings.max_sequence_bytes // 2 + _MESSAGE_HEAD, seconds=_PEER_SECONDS)


def _keep_from_garbage_collection() -> None:
    """Let Python look no more for garbage among what there is: imported modules and models, which stay.

    A look at all of it takes 16 ms, for which everyone waits; without it, 3 microseconds. Calls with thousands of
    header fields cause many of them: the texts of 100,000 fields take 27 ms, and 17 where it looks more rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_OBJECTS, 20, 20)


def _supervise(
    settings: Settings,
    workers: int,
    log_level: str,
    log_format: str = LOG_FORMATS[0],
    metrics: Metrics | None = None,
    options: str = "",
) -> int:
    """Keep workers, each of which runs this command with some more arguments; return the exit status."""
    terminal_has_gone = watch_terminal()  # before SIGHUP has another handler
    with (
        receive_signals(*_SUPERVISED_SIGNALS) as signals,
        reserve_port(settings.host, settings.grpc_port) as port,
    ):
        show_stacks_at_signals()  # beside the handlers that there are now
        command = [sys.executable, "-m", "rnnserve.cli", "serve", f"--log-level={log_level}"]
        if log_format != LOG_FORMATS[0]:
            command.append(f"--log-format={log_format}")
        command.append(f"--peers={secrets.token_hex(8)}")
        if settings.private_sockets is not None:
            command.append(f"--private-sockets={settings.private_sockets}")
        told = write_options(dataclasses.replace(settings, grpc_port=port))
        supervisor = Supervisor(
            lambda more: [*command, *more, *told],
            workers,
            signals,
            grace=settings.drain + settings.grace,
            poll=settings.poll if settings.model_control == "poll" else None,
            load_timeout=2 * settings.load_timeout,
            terminal_has_gone=terminal_has_gone,
            leave=1.1 * dataclasses.replace(settings, share_port=True).connection_age,
            totals=None if metrics is None else metrics.totals,
        )

        def tell() -> None:
            _log_start(settings, options)
            _print_ready(settings.host, port, settings.http_port, metrics)

        status = supervisor.run(tell)
        _log.info("the server has ended")
        return status


def _log_start(settings: Settings, options: str) -> None:
    """Log what serves from now on, and the options that differ from their defaults."""
    version = importlib.metadata.version("rnnserve")
    _log.info("rnnserve %s serves %s, process %d: %s", version, settings.repository, os.getpid(), options or "defaults")
    if settings.http_port is not None:
        _log.info("a page of what serves: %s", page_address(settings))


def _print_ready(host: str, port: int, http_port: int | None = None, metrics: Metrics | None = None) -> None:
    print(f"gRPC on {host}:{port}", flush=True)
    if http_port is not None:
        print(f"HTTP on {host}:{http_port}", flush=True)
    if metrics is not None and metrics.port is not None:
        print(f"Metrics on {host}:{metrics.port}", flush=True)

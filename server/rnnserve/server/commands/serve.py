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
from rnnserve.common.extras import missing_package
from rnnserve.common.front_counts import FrontCounts
from rnnserve.common.kept_identity import KeptIdentity, use_kept_identity
from rnnserve.common.log_format import LOG_FORMATS, log_formatter
from rnnserve.common.log_limits import LogLimits
from rnnserve.common.parent_death import die_with_parent
from rnnserve.common.unblocked_output import unblock_output
from rnnserve.server.commands.ending import Ending, end_at_once
from rnnserve.server.commands.exposure import exposure
from rnnserve.server.commands.http_front import http_front, page_address
from rnnserve.server.commands.metrics import Metrics, metrics_served
from rnnserve.server.commands.options import (
    CONFIG_VARIABLE,
    MissingOption,
    add_options,
    given_options,
    read_configuration,
    write_options,
)
from rnnserve.server.commands.refusal_log import refusals_logged
from rnnserve.server.commands.stacks import show_stacks_at_signals
from rnnserve.server.counting.table import CountTable, use_table
from rnnserve.server.errors import StartError
from rnnserve.server.fast_path.grpcio_core import choose_polling
from rnnserve.server.observing.observer import check_tracing, requests_told
from rnnserve.server.process.start_check import check_room, start_error
from rnnserve.server.process.tls_files import tls_kept
from rnnserve.server.repository.trials import Trials
from rnnserve.server.settings import CommandSettings, Settings
from rnnserve.server.sockets.ports import reserve_port
from rnnserve.server.workers.peers import Peers
from rnnserve.server.workers.signals import follow_signals, receive_signals, watch_terminal
from rnnserve.server.workers.supervisor import Supervisor
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

_EPILOG = """
options from elsewhere:
  An option that is not given is taken from the environment, --max-queue from RNNSERVE_MAX_QUEUE; or else from the file
  of --config (or RNNSERVE_CONFIG). Those without a value are written RNNSERVE_NO_HTTP=true, and no_http = true

signals:
  SIGTERM, SIGINT   end: after --drain seconds no new requests, those in progress have --grace seconds. A second one,
                    half a second later or more, ends at once, with exit status 128 and its number; so does any while
                    models are loaded the first time, with status 0
  SIGHUP            with --workers: load what the repository holds now in new workers; when all are ready, they take
                    over and the old ones leave, without failing a request. Without: load it beside what serves
  SIGUSR1, SIGQUIT  write what each thread does to standard error; SIGQUIT ends it then
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: every option of `Settings` and of `CommandSettings`, and where else these may be."""
    parser.formatter_class = _Formatter
    parser.epilog = _EPILOG
    add_options(parser)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="file in TOML with options, such as max_queue = 100, for what the command line does not give (default: "
        f"that of {CONFIG_VARIABLE})",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print every option and where it is from, as such a file, and end",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        default=argparse.SUPPRESS,
        help="try ports, files and models as a start does, print a line for each finding, and end",
    )
    parser.set_defaults(refuse=parser.error)

    # What a supervisor tells its workers.
    parser.add_argument("--peers", help=argparse.SUPPRESS)
    parser.add_argument("--private-sockets", type=Path, help=argparse.SUPPRESS)
    for name in ("--report-fd", "--lifeline-fd", "--pins-fd", "--counts-fd", "--tls-fd"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    is_worker = args.report_fd is not None
    try:
        configuration = read_configuration(given_options(args), args.config, {} if is_worker else os.environ)
    except MissingOption as missing:
        args.refuse(str(missing))
    settings, command = configuration.settings, configuration.command
    if hasattr(args, "print_config"):
        print(configuration.text(), end="")
        return 0
    if hasattr(args, "check"):
        from rnnserve.server.commands.check import check

        return check(settings, command)
    _prepare_process(args.lifeline_fd)
    _set_up_log(command, is_worker=is_worker)
    try:
        if is_worker:
            supervised = Supervised(args.report_fd, args.lifeline_fd, args.pins_fd, args.peers)
            settings = dataclasses.replace(
                settings, share_port=True, sharers=command.workers, private_sockets=args.private_sockets
            )
            _count_in(args.counts_fd)
            if args.tls_fd is not None:
                use_kept_identity(KeptIdentity(args.tls_fd))
            with requests_told(settings):
                has_threads = _serve(settings, supervised)
        else:
            check_tracing(settings)  # before anything is started
            fronts = [FrontCounts() for _ in range(command.http_workers)]
            with (
                http_front(command, settings, fronts) as settings,
                metrics_served(command, settings, fronts) as metrics,
                refusals_logged(metrics.totals, settings.log_requests),
            ):
                options = " ".join(configuration.changed())
                if command.workers > 1:
                    return _supervise(settings, command, metrics, options)
                with requests_told(settings):
                    has_threads = _serve(settings, None, metrics, options)
            _log.info("the server has ended")
        if has_threads:
            end_at_once(0)  # Python would wait for them
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        reason = start_error(error)
        if reason is None:
            raise
        raise reason from error
    return 0


def _set_up_log(command: CommandSettings, *, is_worker: bool) -> None:
    """Log to standard error; each line of a worker names its process."""
    process = f" [{os.getpid()}]" if is_worker else ""
    logging.basicConfig(
        level=command.log_level.upper(), format=f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimits())
        if type(handler) is logging.StreamHandler:  # the one that has just been made
            handler.setFormatter(log_formatter(command.log_format, has_process=is_worker))


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help of arguments that have one; the epilog's lines as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


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
    if not settings.plain:
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
            raise StartError(missing_package(missing.name, "server")) from missing

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
            metrics.count_gauges = server.count_gauges
        left: list[str] = []
        try:
            if supervised is None:
                server.start()
                ending.is_loading = False  # before anybody is told that it serves: whoever is may send a signal
                _log_start(settings, options, metrics)
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
            if ending.drains:
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


def _supervise(settings: Settings, options: CommandSettings, metrics: Metrics | None = None, changed: str = "") -> int:
    """Keep workers, each of which runs this command with some more arguments; return the exit status."""
    from rnnserve.server.repository.signed_versions import open_signature_gate

    open_signature_gate(settings)  # so that one process reports a wrong key, and not each worker
    terminal_has_gone = watch_terminal()  # before SIGHUP has another handler
    with (
        receive_signals(*_SUPERVISED_SIGNALS) as signals,
        reserve_port(settings.host, settings.grpc_port) as port,
        tls_kept(settings),
    ):
        show_stacks_at_signals()  # beside the handlers that there are now
        command = [sys.executable, "-m", "rnnserve.cli", "serve", f"--log-level={options.log_level}"]
        if options.log_format != LOG_FORMATS[0]:
            command.append(f"--log-format={options.log_format}")
        command += [f"--workers={options.workers}", f"--peers={secrets.token_hex(8)}"]
        if settings.private_sockets is not None:
            command.append(f"--private-sockets={settings.private_sockets}")
        told = write_options(dataclasses.replace(settings, grpc_port=port))
        supervisor = Supervisor(
            lambda more: [*command, *more, *told],
            options.workers,
            signals,
            grace=settings.drain + settings.grace,
            poll=settings.poll if settings.model_control == "poll" else None,
            load_timeout=2 * settings.load_timeout,
            terminal_has_gone=terminal_has_gone,
            leave=1.1 * dataclasses.replace(settings, share_port=True).connection_age,
            totals=None if metrics is None else metrics.totals,
        )

        def tell() -> None:
            _log_start(settings, changed, metrics)
            _print_ready(settings.host, port, settings.http_port, metrics)

        status = supervisor.run(tell)
        _log.info("the server has ended")
        return status


def _log_start(settings: Settings, options: str, metrics: Metrics | None) -> None:
    """Log what serves from now on, and the options that differ from their defaults."""
    version = importlib.metadata.version("rnnserve")
    _log.info("rnnserve %s serves %s, process %d: %s", version, settings.repository, os.getpid(), options or "defaults")
    if warning := exposure(settings, None if metrics is None else metrics.port):
        _log.warning("%s", warning)
    if settings.http_port is not None:
        _log.info("a page of what serves: %s", page_address(settings))


def _print_ready(host: str, port: int, http_port: int | None = None, metrics: Metrics | None = None) -> None:
    print(f"gRPC on {host}:{port}", flush=True)
    if http_port is not None:
        print(f"HTTP on {host}:{http_port}", flush=True)
    if metrics is not None and metrics.port is not None:
        print(f"Metrics on {host}:{metrics.port}", flush=True)

"""`rnnserve serve`: serve a repository over gRPC and HTTP, in this process or in workers."""

import argparse
import contextlib
import dataclasses
import gc
import importlib.metadata
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.common.child_process import LIFELINE, die_with_parent
from rnnserve.common.extras import missing_package
from rnnserve.common.hosts import is_loopback
from rnnserve.common.log_lines import LOG_FORMATS, LogLimits, log_formatter
from rnnserve.common.process_memory import limit_free_memory
from rnnserve.common.telemetry import TracesUnavailable, check_traces, start_traces
from rnnserve.common.unblocked_output import finish_output, unblock_output
from rnnserve.server.commands.http_gateway import HttpGateway, http_gateway
from rnnserve.server.commands.options import (
    CONFIG_VARIABLE,
    MissingOption,
    add_options,
    given_options,
    read_configuration,
    write_options,
)
from rnnserve.server.counting.table import CountTable, use_table
from rnnserve.server.errors import StartError
from rnnserve.server.observing.observer import requests_observed
from rnnserve.server.settings import CommandSettings, Settings
from rnnserve.server.signals import SAME_SECONDS, follow_signals, receive_signals, show_stacks_at_signal
from rnnserve.server.system import check_room, reserve_port, start_error
from rnnserve.server.workers.heartbeat import Heartbeat, SupervisorLink
from rnnserve.server.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from rnnserve.server.app import Server
    from rnnserve.server.commands.metrics import Metrics

__all__ = ["MISTAKES", "Ending", "add_arguments", "exposure", "run"]

MISTAKES = (StartError, TracesUnavailable)

_log = logging.getLogger(__name__)

_EPILOG = """
options from the environment or a file:
  An option that is not on the command line is read from its environment variable (RNNSERVE_MAX_QUEUE for --max-queue),
  or else from the file of --config or RNNSERVE_CONFIG. Options without a value are written RNNSERVE_NO_HTTP=true or
  no_http = true

signals:
  SIGTERM, SIGINT   shut down: refuse new requests after --drain seconds, and finish requests within --grace seconds. A
                    second signal, at least half a second later, ends the server at once, with exit status 128 plus the
                    signal's number. A signal during the first loading of models ends it at once, with status 0
  SIGHUP            with --workers: replace the workers one by one with new ones, which load the repository's current
                    content. A new worker that cannot serve the old worker's models does not replace it. Without
                    --workers: load the current content while the old versions keep serving
  SIGUSR1           write the stack of each thread to standard error
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: every option of `Settings` and `CommandSettings`, and their other sources."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add_options(parser)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with options that are not on the command line, such as max_queue = 100 (default: the file in "
        f"{CONFIG_VARIABLE})",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print every option and its origin, in the format of --config, and exit",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        default=argparse.SUPPRESS,
        help="check ports, files and models as at start, print the findings, and exit",
    )
    parser.set_defaults(refuse=parser.error)

    # Arguments that a supervisor passes to its workers.
    for name in ("--private-sockets", "--desired-models"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    for name in ("--report-fd", "--counts-fd"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument(LIFELINE, action="store_true", help=argparse.SUPPRESS)


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
    _prepare_process(ends_with_parent=args.lifeline)
    _set_up_log(command, is_worker=is_worker)
    try:
        if is_worker:
            link = SupervisorLink(args.report_fd)
            settings = dataclasses.replace(
                settings, share_port=True, sharers=command.workers, private_sockets=args.private_sockets
            )
            _count_in(args.counts_fd)
            with _requests_observed(settings):
                has_threads = _serve_worker(settings, link, args.desired_models)
        else:
            from rnnserve.server.commands.metrics import metrics_served  # imports http.server, which workers don't need

            check_traces()  # before anything is started
            with (
                http_gateway(command, settings) as (settings, gateway),
                metrics_served(command, settings, [] if gateway is None else gateway.counts) as metrics,
            ):
                options = " ".join(configuration.changed())
                if command.workers > 1:
                    return _supervise(settings, command, metrics, gateway, options)
                with _requests_observed(settings):
                    has_threads = _serve(settings, metrics, gateway, options)
            _log.info("the server has ended")
        if has_threads:
            finish_output()
            os._exit(0)  # Python would wait for them
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        reason = start_error(error)
        if reason is None:
            raise
        raise reason from error
    return 0


def _set_up_log(command: CommandSettings, *, is_worker: bool) -> None:
    """Log to standard error. Each line of a worker names its process."""
    handler = logging.StreamHandler()
    handler.addFilter(LogLimits())
    handler.setFormatter(log_formatter(command.log_format, has_process=is_worker))
    logging.basicConfig(level=command.log_level.upper(), handlers=[handler])


def _prepare_process(*, ends_with_parent: bool) -> None:
    """Prepare a dedicated process: a worker ends with its supervisor, and output never blocks."""
    limit_free_memory()  # before any thread is started: each thread's arena would take address space
    if ends_with_parent:
        die_with_parent()
    unblock_output()


def _count_in(counts_fd: int | None) -> None:
    """Let a worker count in its supervisor's memory, unless another release laid out that memory."""
    if counts_fd is not None:
        try:
            use_table(CountTable(counts_fd))
        except ValueError:
            _log.warning(
                "/metrics lacks the counts of this worker, because its supervisor has another release; restart the "
                "server"
            )


class Ending:
    """The shutdown state of this server or worker."""

    def __init__(self, *, is_worker: bool = False, clean_up: Callable[[], None] = lambda: None) -> None:
        """Start without a shutdown. `clean_up` is called before this process ends at once.

        Workers ignore a second signal, because a signal to all processes of a service would end them at once.
        """
        self.drains = True  # False if its supervisor has ended, because a new one may start
        self.told = threading.Event()  # set when the shutdown begins
        self.is_loading = True  # True until it serves
        self.reload: Callable[[], None] | None = None  # None for workers, which their supervisor replaces
        self._is_worker = is_worker
        self._clean_up = clean_up
        self._asked_at = 0.0

    def take(self, number: signal.Signals) -> None:
        """Handle a signal on a separate thread, because the main thread loads models or waits."""
        if number == signal.SIGHUP:
            if self.reload is not None and not self.told.is_set():
                self.reload()
        elif not self.told.is_set():
            self._asked_at = time.monotonic()
            if not self._is_worker:
                _log.info("received %s: this server is shutting down", number.name)
            self.stop()
        elif not self._is_worker and time.monotonic() - self._asked_at > SAME_SECONDS:
            _log.warning("received a second signal: ending at once")
            self._end_at_once(128 + number)

    def abandon(self) -> None:
        """Stop without draining."""
        self.drains = False
        self.stop()

    def stop(self) -> None:
        """Stop. While models are loading, stop at once."""
        self.told.set()
        if self.is_loading:
            self._end_at_once(0)

    def _end_at_once(self, status: int) -> None:
        """End this process without waiting for its threads. Flush the log if it has a reader."""
        self._clean_up()
        finish_output()
        os._exit(status)


def _requests_observed(settings: Settings) -> contextlib.AbstractContextManager[None]:
    return requests_observed(settings.log_requests, start_traces())


def _serve(settings: Settings, metrics: "Metrics", gateway: HttpGateway | None, options: str) -> bool:
    """Run as the server, and return whether threads are left."""
    with _ending(gateway) as ending:
        server = _new_server(settings)
        ending.reload = server.reload
        metrics.count_gauges = server.count_gauges
        try:
            server.start()
            ending.is_loading = False  # before the start is announced, because a signal may follow
            _tell_start(settings, server.port, options, metrics)
            _keep_from_garbage_collection()
            ending.told.wait()
            if ending.drains:
                server.drain()
            if gateway is not None:
                gateway.end()
                gateway.wait()
        finally:
            left = server.stop()
        return bool(left)


def _serve_worker(settings: Settings, link: SupervisorLink, desired_models: Path | None) -> bool:
    """Run as a worker, and return whether threads are left."""
    with _ending(is_worker=True) as ending:
        server, is_listening = _new_server(settings, desired_models), threading.Event()

        def heartbeat() -> Heartbeat:
            server.count_gauges()
            return Heartbeat(server.models(), is_listening.is_set(), server.stuck)

        link.follow(server.say_not_ready, ending.abandon)
        try:
            server.load()
            link.beat(heartbeat)
            link.wait_to_listen()
            ending.is_loading = False
            server.listen()
            is_listening.set()
            link.write(heartbeat())
            _keep_from_garbage_collection()
            ending.told.wait()
            if ending.drains:
                server.drain()
        finally:
            left = server.stop()
        return bool(left)


@contextlib.contextmanager
def _ending(gateway: HttpGateway | None = None, *, is_worker: bool = False) -> Iterator[Ending]:
    """Prepare a serving process, and handle its signals inside the block."""
    check_room()
    # SIGHUP is ignored under nohup, so that the server outlives the terminal.
    hang_up = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    ending = Ending(
        is_worker=is_worker,
        clean_up=lambda: None if gateway is None else shutil.rmtree(gateway.folder, ignore_errors=True),
    )
    show_stacks_at_signal()
    with follow_signals(ending.take, signal.SIGTERM, signal.SIGINT, *hang_up):
        yield ending


def _new_server(settings: Settings, desired_models: Path | None = None) -> "Server":
    from rnnserve.server.repository.load_checks import LoadChecks  # imports numpy

    # The process of load checks imports onnxruntime while this one imports grpc, each for 0.3 s.
    checks = LoadChecks()
    try:
        if not settings.plain:
            from rnnserve.server.fast_path.grpcio_core import choose_polling

            choose_polling()
        from rnnserve.server.app import Server  # imports grpc, which then reads the polling choice
    except ModuleNotFoundError as missing:
        raise StartError(missing_package(missing.name, "server")) from missing
    return Server(settings, checks, desired_models)


def _keep_from_garbage_collection() -> None:
    """Exclude modules and models from garbage collection, which takes 16 ms with them, or else 3 µs.

    Calls with thousands of header fields cause many collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # requests leave no garbage


def _supervise(
    settings: Settings, options: CommandSettings, metrics: "Metrics", gateway: HttpGateway | None, changed: str
) -> int:
    """Supervise workers, which run this command with more arguments, and return the exit status."""
    from rnnserve.server.repository.signed_versions import open_signature_gate

    open_signature_gate(settings)  # so that only one process reports a wrong key
    with (
        receive_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals,
        reserve_port(settings.host, settings.grpc_port) as port,
        tempfile.TemporaryDirectory(prefix="rnnserve-workers-") as folder,
    ):
        show_stacks_at_signal()
        command = [sys.executable, "-m", "rnnserve.cli", "serve", f"--log-level={options.log_level}"]
        if options.log_format != LOG_FORMATS[0]:
            command.append(f"--log-format={options.log_format}")
        command += [f"--workers={options.workers}", f"--desired-models={folder}/models.json"]
        if settings.private_sockets is not None:
            command.append(f"--private-sockets={settings.private_sockets}")
        told = write_options(dataclasses.replace(settings, grpc_port=port))

        def end_gateway() -> bool:
            if gateway is None:
                return True
            gateway.end()
            return gateway.wait(0.0)

        supervisor = Supervisor(
            lambda more: [*command, *more, *told],
            options.workers,
            signals,
            drain=settings.drain,
            grace=settings.grace,
            end_gateway=end_gateway,
            totals=metrics.totals,
        )

        status = supervisor.run(lambda: _tell_start(settings, port, changed, metrics))
        _log.info("the server has ended")
        return status


def _tell_start(settings: Settings, port: int, options: str, metrics: "Metrics") -> None:
    """Log the start and the changed options, and print each address."""
    version = importlib.metadata.version("rnnserve")
    _log.info("rnnserve %s serves %s, process %d: %s", version, settings.repository, os.getpid(), options or "defaults")
    if warning := exposure(settings, metrics.port):
        _log.warning("%s", warning)
    if settings.http_port is not None:
        scheme = "http" if settings.tls_certificate is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        _log.info("page of the served models: %s://%s:%d/", scheme, host, settings.http_port)
    for protocol, number in (("gRPC", port), ("HTTP", settings.http_port), ("Metrics", metrics.port)):
        if number is not None:
            print(f"{protocol} on {settings.host}:{number}", flush=True)


def exposure(settings: Settings, metrics_port: int | None = None) -> str:
    """Return a warning about an exposed server without TLS or access control. The metrics port has no TLS."""
    if is_loopback(settings.host):
        return ""
    lacks, ways = [], []
    if settings.tls_certificate is None:
        lacks.append("without TLS")
        ways.append("use --tls-certificate and --tls-key")
    elif metrics_port is not None:
        lacks.append("without TLS on --metrics-port")
        ways.append("scrape /metrics on the port of HTTP instead")
    if settings.access_file is None and settings.tls_client_ca is None:
        lacks.append("without authentication")
        ways.append("use --tokens, or --tls-client-ca and --client-roles")
    if not lacks:
        return ""
    return (
        f"Other machines can reach this server on {settings.host} {' and '.join(lacks)}: {'; '.join(ways)}; or use "
        "--host 127.0.0.1 (docs/operate/secure.md)"
    )

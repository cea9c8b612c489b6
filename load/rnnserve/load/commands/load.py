"""`rnnserve load`: measure a server's latency at given rates, or find the highest rate that meets an objective."""

import argparse
import contextlib
import datetime as dt
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnserve.client import ClientError, InvalidRequest, ModelMetadata, UnreadableInput
from rnnserve.client.commands.connection_options import connection_arguments
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.sessions import require_sessions
from rnnserve.common.extras import missing_package
from rnnserve.load.commands.options import (
    add_arguments,
    complete_arguments,
    describe_workload,
    document_workload,
    is_search,
    load_levels,
)
from rnnserve.load.confidence import require_scipy
from rnnserve.load.generator_processes import GeneratorProcesses, LoadTarget
from rnnserve.load.inputs import SampleCase, read_samples
from rnnserve.load.load_test import LoadTest
from rnnserve.load.local_server import serve_repository
from rnnserve.load.machine import describe_machine
from rnnserve.load.progress import LoadProgress
from rnnserve.load.results import format_results
from rnnserve.load.results_document import RunDescription, build_results_document
from rnnserve.load.server_inspector import ServerInspector
from rnnserve.load.workload import WorkloadSpec, build_pool

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_Report = Callable[[LoadTest, RunDescription], str]


def run(args: argparse.Namespace) -> int:
    """Run the load test and write its results."""
    # Check these first, so that a missing package or an unwritable path is not noticed only after minutes of load.
    if args.json not in (None, "-"):
        _check_writable(Path(args.json), "--json")
    if args.html is not None:
        _check_writable(args.html, "--html")
    render_report = None if args.html is None else _import_report()
    complete_arguments(args)
    weights = dict(args.models)
    if args.slo is not None or args.runs > 1:
        require_scipy("--runs" if args.slo is None else "--slo")
    with contextlib.ExitStack() as stack:
        url = args.url
        if args.serve is not None:
            url = stack.enter_context(serve_repository(args.serve, args.serve_flags))
            if any((args.tls_ca, args.tls_certificate, args.tls_key)):
                url = f"grpcs://{url}"
        endpoint = parse_endpoint(url, **connection_arguments(args))
        server = stack.enter_context(ServerInspector(endpoint, args.timeout))
        identity = server.identify()
        models = server.model_metadata(weights or server.ready_models())
        if args.sessions and not weights:
            models = _models_with_sessions(models)
        weights = weights or dict.fromkeys((metadata.name for metadata in models), 1.0)
        spec = WorkloadSpec(
            models,
            weights,
            args.length,
            args.batch,
            check=not args.no_check,
            seed=args.seed,
            pool=args.pool,
            samples=() if args.inputs is None else _read_samples(args.inputs, models),
            sessions=max(args.sessions or [0]),
            steps=args.steps or 0,
        )
        build_pool(spec)  # raises errors in the workload once, before any generator starts
        description = RunDescription(
            started=dt.datetime.now(dt.UTC).astimezone().isoformat(timespec="seconds"),
            command=shlex.join(["rnnserve", *sys.argv[1:]]),
            address=server.address,
            server=identity,
            models=models,
            machine=describe_machine(),
            workload=describe_workload(args, weights),
            options=document_workload(args, weights),
        )
        levels = load_levels(args)
        progress = LoadProgress(sys.stderr, None if is_search(args) else len(levels) * args.runs)
        generators = GeneratorProcesses(LoadTarget(endpoint, args.connections), spec, args.processes)
        stack.enter_context(generators)
        test = LoadTest(generators, server, tuple(weights), progress, args.slo, args.runs)
        try:
            if is_search(args):
                test.search(levels[0], args.slo)
            else:
                test.sweep(levels)
        except KeyboardInterrupt:
            progress.write_line("interrupted; these are the results so far")
            _write_results(args, test, description, render_report)
            raise
    _write_results(args, test, description, render_report)
    return 0 if test.passed else 1


def _models_with_sessions(models: Sequence[ModelMetadata]) -> tuple[ModelMetadata, ...]:
    """Return the ready models that support sessions."""
    found: list[ModelMetadata] = []
    for metadata in models:
        with contextlib.suppress(InvalidRequest):
            require_sessions(metadata)
            found.append(metadata)
    if not found:
        raise InvalidRequest(f"none of the ready models has sessions: {', '.join(m.name for m in models)}")
    return tuple(found)


def _read_samples(path: Path, models: tuple[ModelMetadata, ...]) -> tuple[SampleCase, ...]:
    if len(models) != 1:
        raise InvalidRequest(f"--inputs needs one model; pass one of {', '.join(m.name for m in models)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"cannot read {path} ({error.strerror})") from error
    return read_samples(data, str(path), models[0])


def _import_report() -> _Report:
    """Import the report's code, which needs matplotlib and Jinja2. Called only for --html."""
    try:
        from rnnserve.load.report import render_report
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rnnserve"):
            raise
        raise InvalidRequest(f"--html {missing_package(error.name, 'report')}") from error
    return render_report


def _write_results(
    args: argparse.Namespace, test: LoadTest, description: RunDescription, render_report: _Report | None
) -> None:
    if not test.results:
        return
    print(format_results(test), file=sys.stderr if args.json == "-" else sys.stdout)
    if args.json is not None:
        text = json.dumps(build_results_document(test, description), indent=1, ensure_ascii=False)
        if args.json == "-":
            print(text)
        else:
            _write(Path(args.json), text + "\n")
    if render_report is not None:
        _write(args.html, render_report(test, description))


def _check_writable(path: Path, option: str) -> None:
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidRequest(f"{option}: cannot write {path}; pass a file in a folder that exists and is writable")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot write {path} ({error.strerror})") from error

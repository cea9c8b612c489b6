"""`rnnserve load`: measure a server's latency at given rates, or find the highest rate that meets an objective."""

import argparse
import contextlib
import datetime as dt
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnserve.client import ClientError, InvalidRequest, ModelMetadata, UnreadableInput
from rnnserve.client.commands.connection_options import connection_arguments
from rnnserve.client.commands.result_files import check_writable, write_whole
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.session_operations import require_sessions
from rnnserve.common.extras import missing_package
from rnnserve.load.commands.options import add_arguments
from rnnserve.load.commands.workload import (
    complete_arguments,
    describe_workload,
    document_workload,
    given_options,
    is_search,
    load_levels,
    read_document,
    repeat_workload,
)
from rnnserve.load.comparison import compare_documents, format_comparison
from rnnserve.load.confidence import CONFIDENCE, require_scipy
from rnnserve.load.draws import parse_weights
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
    """Run the load test and write its results, or compare two tests."""
    if args.compare is not None:
        return _compare(args)
    # Check these first, so that a missing package or an unwritable path is not noticed only after minutes of load.
    if args.json not in (None, "-"):
        check_writable(Path(args.json), "--json")
    if args.html is not None:
        check_writable(args.html, "--html")
    render_report = None if args.html is None else _import_report()
    if args.repeat is not None:
        repeat_workload(args, args.repeat)
    weights = parse_weights(args.models)
    complete_arguments(args)
    if args.slo is not None or args.runs > 1:
        require_scipy("--runs" if args.slo is None else "--slo")
    with contextlib.ExitStack() as stack:
        url, local = args.url, None
        if args.serve is not None:
            local = stack.enter_context(serve_repository(args.serve, args.serve_flags))
            has_tls = any((args.tls_ca, args.tls_certificate, args.tls_key))
            url = f"grpcs://{local.address}" if has_tls else local.address
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
            steps=args.steps,
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
            repeatable=document_workload(args, weights),
        )
        levels = load_levels(args)
        progress = LoadProgress(sys.stderr, None if is_search(args) else len(levels) * args.runs)
        generators = GeneratorProcesses(LoadTarget(endpoint, args.connections), spec, args.processes)
        stack.enter_context(generators)
        test = LoadTest(generators, server, tuple(weights), progress, args.slo, args.runs)
        if local is not None:
            test.usage = local.usage
        try:
            if is_search(args):
                test.search(levels[0], args.slo)
            else:
                test.sweep(levels)
        except KeyboardInterrupt:
            progress.write_line("interrupted: the results so far follow")
            _write_results(args, test, description, render_report)
            raise
    _write_results(args, test, description, render_report)
    return 0 if test.passed else 1


def _compare(args: argparse.Namespace) -> int:
    refused = [option for option in given_options(args) if option != "--confidence"]
    refused += [f"--{name}" for name in ("repeat", "serve", "json", "html") if getattr(args, name) is not None]
    if refused:
        raise InvalidRequest(f"--compare reads two files and sends nothing: leave out {', '.join(refused)}")
    require_scipy("--compare")
    before, after = args.compare
    confidence = CONFIDENCE if args.confidence is None else args.confidence
    names = str(before), str(after)
    differences, notes = compare_documents(read_document(before), read_document(after), confidence, names)
    print(format_comparison(differences, notes, confidence))
    return 0


def _models_with_sessions(models: Sequence[ModelMetadata]) -> tuple[ModelMetadata, ...]:
    """Return the ready models that support sessions."""
    found: list[ModelMetadata] = []
    for metadata in models:
        with contextlib.suppress(InvalidRequest):
            require_sessions(metadata)
            found.append(metadata)
    if not found:
        raise InvalidRequest(f"none of the models that are ready has sessions: {', '.join(m.name for m in models)}")
    return tuple(found)


def _read_samples(path: Path, models: tuple[ModelMetadata, ...]) -> tuple[SampleCase, ...]:
    if len(models) != 1:
        raise InvalidRequest(f"--inputs: the rows are for one model; name one of {', '.join(m.name for m in models)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read ({error.strerror})") from error
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
            write_whole(Path(args.json), text + "\n")
    if render_report is not None:
        write_whole(args.html, render_report(test, description))

"""`rnnserve load`: measures a server's latency at given rates, and finds the highest rate that meets an objective."""

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
from rnnserve.load.commands.load_arguments import add_arguments
from rnnserve.load.commands.load_workload import (
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
from rnnserve.load.generator_growth import GrowingGenerators, most_generators
from rnnserve.load.generator_processes import GeneratorProcesses
from rnnserve.load.generator_worker import LoadTarget
from rnnserve.load.latency_objective import CONFIDENCE
from rnnserve.load.load_test import LoadTest
from rnnserve.load.local_server import serve_repository
from rnnserve.load.machine import describe_machine
from rnnserve.load.progress import LoadProgress
from rnnserve.load.results_document import build_results_document
from rnnserve.load.results_table import format_results
from rnnserve.load.run_description import RunDescription
from rnnserve.load.sample_inputs import SampleCase, read_samples
from rnnserve.load.server_inspector import ServerInspector
from rnnserve.load.session_pool import build_pool
from rnnserve.load.size_distribution import parse_weights
from rnnserve.load.workload import WorkloadSpec

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)


def run(args: argparse.Namespace) -> int:
    """Run the load test and write its results, or compare two tests."""
    if args.compare is not None:
        return _compare(args)
    # First of all: neither a missing package nor a path that cannot be written must be found after minutes of load.
    _check_result_files(args)
    render_report = None if args.html is None else _import_report()
    if args.repeat is not None:
        repeat_workload(args, args.repeat)
    weights = parse_weights(args.models)
    complete_arguments(args)
    with contextlib.ExitStack() as stack:
        arguments = connection_arguments(args)
        url, local = args.url, None
        if args.serve is not None:
            local = stack.enter_context(serve_repository(args.serve, args.serve_flags))
            has_tls = any((args.tls_ca, args.tls_certificate, args.tls_key))
            url = f"grpcs://{local.address}" if has_tls else local.address
        endpoint = parse_endpoint(url, **arguments)
        server = stack.enter_context(ServerInspector(endpoint, args.timeout))
        identity = server.identify()
        models = server.model_metadata(weights or server.ready_models())
        if args.sessions and not weights:
            models = _models_with_sessions(models)
        weights = weights or dict.fromkeys((metadata.name for metadata in models), 1.0)
        samples = () if args.inputs is None else _read_samples(args.inputs, models)
        spec = WorkloadSpec(
            models,
            weights,
            args.length,
            args.batch,
            not args.no_check,
            args.seed,
            args.pool,
            samples=samples,
            sessions=max(args.sessions or [0]),
            steps=args.steps,
        )
        build_pool(spec)  # raises errors of the workload here, once, before any generator starts
        started = dt.datetime.now(dt.UTC).astimezone().isoformat(timespec="seconds")
        levels = load_levels(args)
        progress = LoadProgress(sys.stderr, None if is_search(args) else len(levels) * args.runs)
        generators = _start_generators(args, LoadTarget(endpoint, args.connections), spec, progress)
        stack.enter_context(generators)

        def describe() -> RunDescription:
            return RunDescription(
                started=started,
                command=shlex.join(["rnnserve", *sys.argv[1:]]),
                address=server.address,
                server=identity,
                models=models,
                machine=describe_machine(),
                workload=describe_workload(args, weights, generators.count),
                repeatable=document_workload(args, weights, generators.count),
            )

        usage = None if local is None else local.usage
        test = LoadTest(generators, server, tuple(weights), progress, args.slo, args.runs, usage)
        try:
            if is_search(args):
                test.search(levels[0], args.slo)
            else:
                test.sweep(levels)
        except KeyboardInterrupt:
            progress.write_line("interrupted: the results so far follow")
            _write_results(args, test, describe(), render_report)
            raise
    _write_results(args, test, describe(), render_report)
    return 0 if test.passed else 1


def _check_result_files(args: argparse.Namespace) -> None:
    if args.json not in (None, "-"):
        check_writable(Path(args.json), "--json")
    if args.html is not None:
        check_writable(args.html, "--html")


def _compare(args: argparse.Namespace) -> int:
    refused = [option for option in given_options(args) if option != "--confidence"]
    refused += [f"--{name}" for name in ("repeat", "serve", "json", "html") if getattr(args, name) is not None]
    if refused:
        raise InvalidRequest(f"--compare reads two files and sends nothing: leave out {', '.join(refused)}")
    before, after = args.compare
    documents = read_document(before), read_document(after)
    confidence = CONFIDENCE if args.confidence is None else args.confidence
    print(format_comparison(compare_documents(*documents, confidence, (str(before), str(after)))))
    return 0


def _start_generators(
    args: argparse.Namespace, target: LoadTarget, spec: WorkloadSpec, progress: LoadProgress
) -> GeneratorProcesses | GrowingGenerators:
    if args.processes != "auto":
        return GeneratorProcesses(target, spec, args.processes)
    return GrowingGenerators(
        lambda count, first: GeneratorProcesses(target, spec, count, first),
        max(args.rate or [0.0]),
        most_generators(),
        progress.write_line,
    )


def _models_with_sessions(models: Sequence[ModelMetadata]) -> tuple[ModelMetadata, ...]:
    """Return the models that have sessions, of all that are ready."""
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


def _import_report() -> Callable[[LoadTest, RunDescription], str]:
    """Import the report's code, which needs matplotlib and Jinja2; only --html pays for it.

    Raises:
        InvalidRequest: A package of the extra `report` is missing.
    """
    try:
        from rnnserve.load.report import render_report
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rnnserve"):
            raise
        raise InvalidRequest(f"--html {missing_package(error.name, 'report')}") from error
    return render_report


def _write_results(
    args: argparse.Namespace,
    test: LoadTest,
    description: RunDescription,
    render_report: Callable[[LoadTest, RunDescription], str] | None,
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

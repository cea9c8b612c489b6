"""`rnnserve load`: measures a server's latency at given rates, and finds the highest rate that meets an objective."""

import argparse
import contextlib
import datetime as dt
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.errors import ClientError, InvalidRequest, UnreadableInput
from rnnserve.client.load.argument_types import (
    argument_type,
    parse_count,
    parse_counts,
    parse_nonnegative_seconds,
    parse_rates,
    parse_seconds,
    parse_sweep,
)
from rnnserve.client.load.arrivals import ARRIVALS
from rnnserve.client.load.generator_processes import GeneratorProcesses
from rnnserve.client.load.generator_worker import LoadTarget
from rnnserve.client.load.latency_objective import parse_objective
from rnnserve.client.load.load_level import LoadLevel
from rnnserve.client.load.load_test import LoadTest
from rnnserve.client.load.local_server import serve_repository
from rnnserve.client.load.machine import describe_machine
from rnnserve.client.load.progress import LoadProgress
from rnnserve.client.load.results_document import build_results_document
from rnnserve.client.load.results_table import format_results
from rnnserve.client.load.run_description import RunDescription
from rnnserve.client.load.sample_inputs import SampleCase, read_samples
from rnnserve.client.load.server_inspector import ServerInspector
from rnnserve.client.load.size_distribution import parse_size_distribution, parse_weights
from rnnserve.client.load.workload import WorkloadSpec, build_request_pool
from rnnserve.client.metadata import ModelMetadata

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_DEFAULT_RATE = 100.0

_EXPLANATION = """\
Requests are sent at a rate, whether or not the server keeps up, as independent users would send them (an open loop).
Latency is measured from the moment at which a request was due, so a server that stalls is charged for every request
that it delays. --closed N keeps N requests in flight instead, which shows the server's capacity, not the latency that
users see.

Lengths and batch sizes are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).

What is sent and checked:
  Classifiers of directions get walks whose direction is known, and every label is checked.
  Other models get inputs drawn from their description: integers within their bounds, floats within theirs or normal,
  rows of --length steps, or of one length in a request where rows cannot be padded. The first answer to each request
  is kept as the golden one, and every later answer to the same request must be equal to it: bit for bit where the
  server says that the model is batch_invariant, else floats within 0.001 (0.001 of the largest value if that is above
  1). So wrong answers show that depend on traffic, not those that are always the same.
  --inputs FILE.npz sends your own rows to one model. Each array has all axes of an input, with the batch, and the
  input's name; CASE/NAME makes several cases. A request takes --batch rows of a case that follow one another, or all of
  them for a model that is served alone. Arrays with the names of outputs (or output:NAME) are the golden answers, to
  which every answer must be near, within 0.001 as above. The golden.npz of a published version is such a file.

examples:
  rnnserve load                                      every model at 127.0.0.1:8001, 100 requests/s for 10 s
  rnnserve load direction_simple --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --sweep 500:4000:500 --slo p99=5ms   which of these rates meet the objective?
  rnnserve load --slo p50=1ms,p99=5ms                the highest rate that meets it
  rnnserve load --serve repository --closed 64       starts and stops the server, too
  rnnserve load sentiment --inputs samples.npz --batch 1:8

exit status: 0 if every request was answered and every answer that was checked was right; with --slo, if some rate meets
it and every such answer was right. Otherwise 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    _add_server_arguments(parser)
    _add_load_arguments(parser)
    _add_workload_arguments(parser)
    _add_output_arguments(parser)


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="MODEL[=WEIGHT]",
        nargs="*",
        help="models to send requests to, with relative weights (default: all)",
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    server.add_argument(
        "--serve", type=Path, metavar="REPOSITORY", help="run `rnnserve serve REPOSITORY` for the duration of the test"
    )
    parser.add_argument(
        "--serve-flags", default="", metavar="FLAGS", help="more options for the server that --serve starts"
    )
    add_tls_options(parser)


def _add_load_arguments(parser: argparse.ArgumentParser) -> None:
    count, seconds = argument_type(parse_count), argument_type(parse_seconds)
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument(
        "--rate",
        type=argument_type(parse_rates),
        metavar="R[,R...]",
        help=f"requests per second (default {_DEFAULT_RATE:g})",
    )
    levels.add_argument(
        "--sweep", type=argument_type(parse_sweep), metavar="FROM:TO:STEP", help="a range of rates, both ends included"
    )
    levels.add_argument(
        "--closed", type=argument_type(parse_counts), metavar="N[,N...]", help="keep N requests in flight instead"
    )
    parser.add_argument(
        "--slo",
        type=argument_type(parse_objective),
        metavar="pQ=TIME[,...]",
        help="limits of latencies, p99=5ms; without rates, search for the highest rate that meets them",
    )
    parser.add_argument(
        "--arrivals",
        choices=ARRIVALS,
        default=ARRIVALS[0],
        help="spacing of an open loop's requests (default %(default)s)",
    )
    parser.add_argument(
        "--duration", type=seconds, default=10.0, metavar="S", help="measured seconds per load (default 10)"
    )
    parser.add_argument(
        "--warmup",
        type=argument_type(parse_nonnegative_seconds),
        default=1.0,
        metavar="S",
        help="seconds of load before the measurement (default 1)",
    )
    parser.add_argument(
        "--max-requests",
        type=count,
        default=1_000_000,
        metavar="N",
        help="largest number of measured requests per load (default 1,000,000)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S", help="seconds that a request may take (default 5)"
    )
    parser.add_argument(
        "--processes", type=count, default=1, metavar="N", help="number of generators, one process each (default 1)"
    )
    parser.add_argument(
        "--connections", type=count, default=4, metavar="N", help="connections of each generator (default 4)"
    )


def _add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    sizes = argument_type(parse_size_distribution)
    parser.add_argument("--length", type=sizes, default="4", metavar="SIZES", help="steps per sequence (default 4)")
    parser.add_argument("--batch", type=sizes, default="1", metavar="SIZES", help="rows per request (default 1)")
    parser.add_argument("--seed", type=int, default=13, metavar="N", help="seed of all random numbers (default 13)")
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="send rows from a file, to one model")
    parser.add_argument("--no-check", action="store_true", help="do not check labels and answers")


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all results as JSON; - for standard output, and then the table goes to standard error",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts (needs the extra `report`)")


def run(args: argparse.Namespace) -> int:
    """Run the load test, and write its results."""
    # First of all: a missing package must not be found after minutes of load.
    render_report = None if args.html is None else _import_report()
    weights = parse_weights(args.models)
    with contextlib.ExitStack() as stack:
        files = {"tls_ca": args.tls_ca, "tls_certificate": args.tls_certificate, "tls_key": args.tls_key}
        url = args.url
        if args.serve is not None:
            address = stack.enter_context(serve_repository(args.serve, args.serve_flags))
            url = f"grpcs://{address}" if any(files.values()) else address
        endpoint = parse_endpoint(url, **files)
        server = stack.enter_context(ServerInspector(endpoint, args.timeout))
        identity = server.identify()
        weights = weights or dict.fromkeys(server.ready_models(), 1.0)
        models = server.model_metadata(weights)
        samples = () if args.inputs is None else _read_samples(args.inputs, models)
        spec = WorkloadSpec(models, weights, args.length, args.batch, not args.no_check, args.seed, samples=samples)
        build_request_pool(spec)  # raises errors of the workload here, once, before any generator starts
        description = RunDescription(
            started=dt.datetime.now(dt.UTC).astimezone().isoformat(timespec="seconds"),
            command=shlex.join(["rnnserve", *sys.argv[1:]]),
            address=server.address,
            server=identity,
            models=models,
            machine=describe_machine(),
            workload=_describe_workload(args, weights),
        )
        target = LoadTarget(endpoint, args.connections)
        generators = stack.enter_context(GeneratorProcesses(target, spec, args.processes))
        levels = _load_levels(args)
        searching = bool(args.slo) and levels == []
        progress = LoadProgress(sys.stderr, None if searching else len(levels) or 1)
        test = LoadTest(generators, server, tuple(weights), progress, args.slo)
        try:
            if searching:
                test.search(_load_level(args, rate=_DEFAULT_RATE))
            else:
                test.sweep(levels or [_load_level(args, rate=_DEFAULT_RATE)])
        except KeyboardInterrupt:
            progress.write_line("interrupted: the results so far follow")
            _write_results(args, test, description, render_report)
            raise
    _write_results(args, test, description, render_report)
    return 0 if test.passed else 1


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
        from rnnserve.client.load.report import render_report
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rnnserve"):
            raise
        raise InvalidRequest(f"--html needs the package {error.name}: pip install 'rnnserve[report]'") from error
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
            _write_file(Path(args.json), text + "\n")
    if render_report is not None:
        _write_file(args.html, render_report(test, description))


def _write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written ({error.strerror})") from error


def _load_levels(args: argparse.Namespace) -> list[LoadLevel]:
    open_loops = [_load_level(args, rate=rate) for rate in args.rate or args.sweep or ()]
    return open_loops + [_load_level(args, closed=in_flight) for in_flight in args.closed or ()]


def _load_level(args: argparse.Namespace, rate: float = 0.0, closed: int = 0) -> LoadLevel:
    return LoadLevel(rate, closed, args.arrivals, args.warmup, args.duration, args.max_requests, args.timeout)


def _describe_workload(args: argparse.Namespace, weights: dict[str, float]) -> dict[str, str]:
    return {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text if args.inputs is None else f"those in {args.inputs.name}",
        "batch sizes": args.batch.text,
        "arrivals": "closed loop" if args.closed else args.arrivals,
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        "generators": f"{args.processes}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }

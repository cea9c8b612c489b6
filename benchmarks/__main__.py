"""`python -m benchmarks`: measure servers side by side; write tables, JSON and a plot.

Without `--against` this server is measured beside others, and with `--peer` beside an earlier commit's, too; with
`--against`, beside the server of another commit only.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import comparison, results
from benchmarks.earlier_commit import EarlierCommit, prepare_earlier_commit
from benchmarks.errors import BenchmarkError
from benchmarks.http_measurement import measure_beside_json, measure_http_scenario
from benchmarks.measurement import measure_scenario, measure_soak, measure_start
from benchmarks.metrics import Metrics
from benchmarks.options import names_among
from benchmarks.preparation import (
    find_load_generators,
    install_http_peers,
    install_triton,
    make_models,
    make_models_of_tree,
)
from benchmarks.report import render_report
from benchmarks.run_description import describe_run, is_machine_busy
from benchmarks.scenarios import SCENARIOS, SOAK
from benchmarks.server_names import ALL_SERVERS, FAST_PATH
from benchmarks.server_processes import interrupt_on_signal
from benchmarks.source_trees import unpack_commit, working_tree
from benchmarks.token_cost import measure_token_cost

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
_NAMES = (*(scenario.name for scenario in SCENARIOS), "start", "soak", "http_large")
_ROUNDS = 5
_BESIDE_SECONDS, _QUICK_SECONDS = 5.0, 2.0
"""Of gRPC beside large JSON: some posts are to be read and answered in each turn."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 if everything was measured, whatever the results are."""
    args = _parse_arguments(argv)
    signal.signal(signal.SIGTERM, interrupt_on_signal)
    try:
        return _compare_with_commit(args) if args.against else _compare_with_peers(args)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _compare_with_peers(args: argparse.Namespace) -> int:
    chosen = args.only or [name for name in _NAMES if name != "soak" or args.soak]
    find_load_generators(chosen)
    install_triton(chosen, args.without)
    missing = install_http_peers(chosen, args.without)
    args.without += missing
    make_models(args.work)
    earlier = prepare_earlier_commit(_ROOT, args.peer, args.work) if args.peer else None
    _warn_if_busy()
    description = describe_run()
    found, failures = {}, []
    for name in chosen:
        try:
            found[name] = _measure(name, args, description["versions"], earlier)
        except BenchmarkError as error:
            failures.append(f"{name}: {error}")
            print(f"benchmarks: {failures[-1]}", file=sys.stderr)
    text = render_report(found, description) + "".join(f"NOT MEASURED {failure}\n" for failure in failures)
    if earlier is not None:
        description["versions"][earlier.server] = earlier.tree.description
        text += "".join(f"NOT MEASURED {line}\n" for line in _left_out(earlier, chosen))
    text += "".join(f"NOT MEASURED {server}: {reason}\n" for server, reason in missing.items())
    print(text, end="")
    results.write_report(args.output, found, description, text, quick=args.quick)
    return 1 if failures else 0


def _left_out(earlier: EarlierCommit, chosen: Sequence[str]) -> list[str]:
    """Say of each chosen scenario with the fast path in which the earlier commit was not measured, why."""
    found = [scenario for scenario in SCENARIOS if scenario.name in chosen and FAST_PATH in scenario.servers]
    reasons = [(scenario.name, earlier.missing(scenario)) for scenario in found]
    return [f"{name}: {earlier.server}: {reason}" for name, reason in reasons if reason is not None]


def _measure(
    name: str, args: argparse.Namespace, versions: dict[str, str], earlier: EarlierCommit | None
) -> dict[str, list[Metrics]]:
    if name == "start":
        return measure_start(args.rounds, args.work)
    if name == "soak":
        return measure_soak(SOAK, args.work)
    if name == "http_large":
        return measure_beside_json(args.rounds, _QUICK_SECONDS if args.quick else _BESIDE_SECONDS, args.work)
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    seconds = scenario.load.quick if args.quick else scenario.load.seconds
    names = [server for server in scenario.servers if server not in args.without]
    rounds = args.rounds if args.quick else args.rounds * scenario.turns
    if scenario.name == "tokens":
        return measure_token_cost(scenario, rounds, seconds, args.work)
    if scenario.load.generator in ("json", "binary"):
        return measure_http_scenario(scenario, names, rounds, seconds, args.work)
    if earlier is None:
        return measure_scenario(scenario, names, rounds, seconds, args.work, versions)
    names = earlier.names_in(scenario, names)
    return measure_scenario(scenario, names, rounds, seconds, args.work, versions, earlier.start_server)


def _compare_with_commit(args: argparse.Namespace) -> int:
    chosen = [name for name in comparison.COMPARED if name in (args.only or comparison.ALWAYS)]
    other = unpack_commit(_ROOT, args.against, args.work / "commits")
    trees = [working_tree(_ROOT), other]
    find_load_generators(chosen)
    make_models(args.work)
    others = make_models_of_tree(other, args.work)
    _warn_if_busy()
    description = describe_run()
    found = {
        name: comparison.compare_trees(name, trees, others, args.rounds, args.work, description["versions"])
        for name in chosen
    }
    text = comparison.render_comparison(found, trees, description)
    print(text, end="")
    results.write_comparison(args.output, found, trees, description, text)
    return 0


def _warn_if_busy() -> None:
    if is_machine_busy():
        print("benchmarks: other processes use this machine, so the figures may mislead", file=sys.stderr)


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this server side by side with others in one run."
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare this working tree's server with the server of a commit of this repository, and with no other; "
        f"scenarios: {', '.join(comparison.ALWAYS)}, or what --only names of {', '.join(comparison.COMPARED)}",
    )
    parser.add_argument(
        "--peer",
        metavar="COMMIT",
        help="measure, beside the others, this server as an earlier commit has it, in an environment of its own: with "
        "the packages of its time, and with models that its own code made",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"number of rounds (default: {_ROUNDS}; with --against: {comparison.ROUNDS}; quick: 1)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round: shows that the benchmark runs, not which server is faster",
    )
    parser.add_argument(
        "--only",
        action="extend",
        type=names_among(_NAMES),
        metavar="NAME[,NAME]",
        help=f"measure only these of {', '.join(_NAMES)}; may be repeated",
    )
    parser.add_argument("--soak", action="store_true", help=f"also measure memory over {SOAK.requests:,} requests")
    parser.add_argument(
        "--without", action="append", default=[], choices=ALL_SERVERS, metavar="SERVER", help="leave a server out"
    )
    parser.add_argument(
        "--output", type=Path, default=_ROOT / "benchmarks" / "results", help="folder for JSON, text and plot"
    )
    parser.add_argument("--work", type=Path, default=_ROOT / ".bench", help="folder for models, logs and commits")
    args = parser.parse_args(argv)
    if args.rounds is None:
        args.rounds = comparison.ROUNDS if args.against else _ROUNDS
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if args.quick:
        args.rounds = 1
    if args.against and (args.soak or args.without or args.peer):
        parser.error("--against compares two servers: --soak, --without and --peer do not apply")
    if args.against and set(args.only or ()) - set(comparison.COMPARED):
        parser.error(f"--against compares {', '.join(comparison.COMPARED)} only")
    args.work = args.work.resolve()
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

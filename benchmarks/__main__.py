"""`python -m benchmarks`: measure servers side by side, and write tables and JSON.

Without `--against`, the program compares this server with other servers. With `--against`, it compares this server only
with the server of another commit.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import comparison
from benchmarks.environments import PERF_ANALYZER, find_h2load
from benchmarks.errors import BenchmarkError, MissingDependency
from benchmarks.measurement import measure_scenario
from benchmarks.metrics import Metrics
from benchmarks.options import add_shared_options, add_turn_options, exit_with, run_module
from benchmarks.report import ROOT, describe_run, render_report, write_report, write_results
from benchmarks.scenarios import SCENARIOS, SOAK_REQUESTS, Scenario
from benchmarks.server_names import ALL_SERVERS
from benchmarks.servers import ENVIRONMENTS
from benchmarks.source_trees import unpack_commit, working_tree

_NAMES = tuple(scenario.name for scenario in SCENARIOS)
_ROUNDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark. The exit status is 0 if everything was measured, even if the results are bad."""
    args = _parse_arguments(argv)
    return _compare_with_commit(args) if args.against else _compare_with_peers(args)


def _compare_with_peers(args: argparse.Namespace) -> int:
    chosen = [s for s in SCENARIOS if s.name in (args.only or _NAMES) and (args.soak or args.only or s.name != "soak")]
    _find_load_generators(chosen)
    missing = _install_peers(chosen, args.without)
    run_module("benchmarks.make_models", args.work / "models")
    description = describe_run()
    found, failures = {}, []
    for scenario in chosen:
        names = [server for server in scenario.servers if server not in (*args.without, *missing)]
        try:
            found[scenario.name] = _measure(scenario, names, args)
        except BenchmarkError as error:
            failures.append(f"{scenario.name}: {error}")
            print(f"benchmarks: {failures[-1]}", file=sys.stderr)
    failures += [f"{server}: {reason}" for server, reason in missing.items()]
    text = render_report(found, description) + "".join(f"NOT MEASURED {failure}\n" for failure in failures)
    print(text, end="")
    write_report(args.output, found, description, text, quick=args.quick)
    return 1 if len(found) < len(chosen) else 0


def _measure(scenario: Scenario, names: Sequence[str], args: argparse.Namespace) -> dict[str, list[Metrics]]:
    seconds = scenario.load.quick if args.quick else scenario.load.seconds
    rounds = 1 if args.quick or scenario.name == "soak" else (args.rounds or _ROUNDS) * scenario.turns
    return measure_scenario(scenario, names, rounds, seconds, args.work)


def _compare_with_commit(args: argparse.Namespace) -> int:
    names = args.only or comparison.ALWAYS
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    this, other = working_tree(ROOT), unpack_commit(ROOT, args.against, args.work / "commits")
    _find_load_generators(chosen)
    trees = {this: args.work / "models", other: args.work / f"models-{other.name}"}
    # A server reads artifacts that its own tree exported. The weights are equal because they follow from a seed.
    run_module("benchmarks.make_models", trees[this])
    run_module("benchmarks.make_models", trees[other], other.root, other.environment)
    description = describe_run()
    rounds = 1 if args.quick else args.rounds or comparison.ROUNDS
    found = {scenario.name: comparison.compare_trees(scenario, trees, rounds, args.work) for scenario in chosen}
    text = comparison.render_comparison(found, [this, other], description)
    print(text, end="")
    results = {"trees": {comparison.server_name(tree): tree.description for tree in trees}, "scenarios": found}
    write_results(args.output, "compare", results, description, text)
    return 0


def _find_load_generators(chosen: Sequence[Scenario]) -> None:
    """Check that h2load is installed, and install perf_analyzer if a scenario needs it."""
    find_h2load()
    if any(scenario.load.generator == "perf_analyzer" for scenario in chosen):
        PERF_ANALYZER.ensure()


def _install_peers(chosen: Sequence[Scenario], without: Sequence[str]) -> dict[str, str]:
    """Install the peers of the scenarios, and return the reason for each missing peer by its name."""
    missing: dict[str, str] = {}
    names = {server for scenario in chosen for server in scenario.servers}
    for server in sorted(names & ENVIRONMENTS.keys() - set(without)):
        try:
            ENVIRONMENTS[server].ensure()
        except MissingDependency as error:
            missing[server] = str(error)
    return missing


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this server side by side with others in one run."
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare this working tree's server with the server of a commit of this repository, and with no other "
        f"server; scenarios: {', '.join(comparison.ALWAYS)}, or those of {', '.join(comparison.COMPARED)} in --only",
    )
    add_turn_options(parser, f"{_ROUNDS}; with --against: {comparison.ROUNDS}")
    parser.add_argument(
        "--soak", action="store_true", help=f"also measure the memory used over {SOAK_REQUESTS:,} requests"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=ALL_SERVERS, metavar="SERVER", help="leave out this server"
    )
    add_shared_options(parser, _NAMES)
    args = parser.parse_args(argv)
    if args.against and (args.soak or args.without):
        parser.error("--against compares two servers: --soak and --without do not apply")
    if args.against and set(args.only or ()) - set(comparison.COMPARED):
        parser.error(f"--against compares {', '.join(comparison.COMPARED)} only")
    args.work = args.work.resolve()
    return args


if __name__ == "__main__":
    exit_with("benchmarks", main)

"""`python -m benchmarks`: measure side by side, and write a table, JSON and a plot.

Without `--against` this server is measured beside others; with it, beside the server of another commit.
"""

import argparse
import datetime as dt
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import comparison, machine, measure, report
from benchmarks.environments import BENCH, PERF, h2load
from benchmarks.errors import BenchError, Missing
from benchmarks.figures import Figures
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.processes import ended
from benchmarks.scenarios import ALL_SERVERS, SCENARIOS, SOAK, TRITON, TRITON_RAGGED
from benchmarks.source_trees import unpack_commit, working_tree

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
_NAMES = (*(scenario.name for scenario in SCENARIOS), "start", "soak")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status says whether it ran, not whether the figures please."""
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, ended)
    try:
        return _compare_with_commit(args) if args.against else _compare_with_peers(args)
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _compare_with_commit(args: argparse.Namespace) -> int:
    chosen = args.only or list(comparison.COMPARED)
    other = unpack_commit(_ROOT, args.against, args.work / "commits")
    trees = [working_tree(_ROOT), other]
    _find_clients(chosen)
    _make_models(args.work)
    about = _describe()
    found = {
        name: comparison.compare(name, trees, args.rounds, args.work, about["versions"])
        for name in comparison.COMPARED
        if name in chosen
    }
    text = comparison.render_comparison(found, trees, about)
    print(text, end="")
    results = {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **about,
        "trees": {comparison.server_name(tree): tree.description for tree in trees},
        "scenarios": found,
    }
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "compare.json").write_text(json.dumps(results, indent=2) + "\n")
    (args.output / "compare.txt").write_text(text)
    print(f"wrote compare.json, compare.txt to {args.output}", file=sys.stderr)
    return 0


def _compare_with_peers(args: argparse.Namespace) -> int:
    chosen = args.only or [name for name in _NAMES if name != "soak" or args.soak]
    _prepare(chosen, args)
    about = _describe()
    found, failures = {}, []
    for name in chosen:
        try:
            found[name] = _measure(name, args, about["versions"])
        except BenchError as error:
            failures.append(f"{name}: {error}")
            print(f"benchmarks: {failures[-1]}", file=sys.stderr)
    text = report.render(found, about)
    if failures:
        text += "".join(f"NOT MEASURED {failure}\n" for failure in failures)
    print(text, end="")
    _write(args.output, found, about, text, args)
    return 1 if failures else 0


def _describe() -> dict[str, dict[str, str]]:
    if machine.is_busy():
        print("benchmarks: this machine is busy with something else, so expect figures that mislead", file=sys.stderr)
    return {"hardware": machine.hardware(), "versions": machine.versions()}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this server side by side with others, in one run."
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare this working tree's server with that of a commit of this repository, and with no other; "
        f"scenarios: {', '.join(comparison.COMPARED)}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"how often each server is timed (default: 5; with --against: {comparison.ROUNDS}; quick: 1)",
    )
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, not who is fast")
    parser.add_argument(
        "--only",
        action="extend",
        type=_scenario_names,
        metavar="NAME[,NAME]",
        help=f"measure these only, of {', '.join(_NAMES)}; may be given several times",
    )
    parser.add_argument("--soak", action="store_true", help=f"also watch memory over {SOAK.requests:,} requests")
    parser.add_argument(
        "--without", action="append", default=[], choices=ALL_SERVERS, metavar="SERVER", help="leave a server out"
    )
    parser.add_argument(
        "--output", type=Path, default=_ROOT / "benchmarks" / "results", help="folder for bench.json, .txt and .svg"
    )
    parser.add_argument("--work", type=Path, default=_ROOT / ".bench", help="folder for models and logs")
    args = parser.parse_args(argv)
    if args.rounds is None:
        args.rounds = comparison.ROUNDS if args.against else 5
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if args.quick:
        args.rounds = 1
    if args.against and (args.soak or args.without):
        parser.error("--against compares two servers: --soak and --without do not apply")
    if args.against and set(args.only or ()) - set(comparison.COMPARED):
        parser.error(f"--against compares {', '.join(comparison.COMPARED)} only")
    args.work = args.work.resolve()
    return args


def _scenario_names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in _NAMES:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(_NAMES)}")
    return names


def _find_clients(chosen: Sequence[str]) -> None:
    h2load()
    if any(scenario.load.client == "perf_analyzer" for scenario in SCENARIOS if scenario.name in chosen):
        PERF.ensure()


def _prepare(chosen: Sequence[str], args: argparse.Namespace) -> None:
    """Have everything at hand before anything is timed."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in chosen]
    asked_of = {server for scenario in scenarios for server in scenario.servers} - set(args.without)
    _find_clients(chosen)
    peers = sorted(asked_of & {TRITON, TRITON_RAGGED})
    if scenarios:
        try:
            BENCH.ensure()
        except Missing as error:
            if peers:
                leave_out = " ".join(f"--without {peer!r}" for peer in peers)
                raise Missing(f"{error}; or leave it out: {leave_out}") from error
            print(f"benchmarks: no plot: {error}", file=sys.stderr)
    _make_models(args.work)


def _make_models(work: Path) -> None:
    print("making the models", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.models", str(work / "models")]
    done = subprocess.run(command, cwd=_ROOT, check=False)  # noqa: S603 - our own interpreter
    if done.returncode != 0:
        raise BenchError("the models could not be made; what is above says why")


def _measure(name: str, args: argparse.Namespace, versions: dict[str, str]) -> dict[str, list[Figures]]:
    if name == "start":
        return measure.start(args.rounds, args.work)
    if name == "soak":
        return measure.soak(SOAK, args.work)
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    seconds = scenario.load.quick if args.quick else scenario.load.seconds
    asked_of = [server for server in scenario.servers if server not in args.without]
    rounds = args.rounds if args.quick else args.rounds * scenario.turns
    return measure.measure(scenario, asked_of, rounds, seconds, args.work, versions)


def _write(
    folder: Path,
    found: dict[str, dict[str, list[Figures]]],
    about: dict[str, Any],
    text: str,
    args: argparse.Namespace,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    results = {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "quick": args.quick,
        "note": NOT_MEASURED,
        **about,
        "scenarios": {
            name: {
                "title": by_name[name].title if name in by_name else name,
                "metrics": by_name[name].metrics if name in by_name else (),
                "compared": name in by_name,
                "rounds": rounds,
            }
            for name, rounds in found.items()
        },
        "targets": [
            {
                "scenario": verdict.target.scenario,
                "metric": verdict.target.metric,
                "server": verdict.target.server,
                "to reach": str(verdict.target),
                "found": verdict.figure,
                "reached": verdict.is_met,
            }
            for verdict in report.judge(found)
        ],
    }
    (folder / "bench.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / "bench.txt").write_text(text)
    written = ["bench.json", "bench.txt"]
    if BENCH.python.is_file() and any(name in by_name for name in found):
        plot = [str(BENCH.python), str(_ROOT / "benchmarks" / "plot.py")]
        done = subprocess.run([*plot, str(folder / "bench.json"), str(folder / "bench.svg")], check=False)  # noqa: S603 - our own program
        if done.returncode == 0:
            written.append("bench.svg")
    print(f"wrote {', '.join(written)} to {folder}", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""`python -m benchmarks.simulation`: simulate fleets of servers by measured costs; measure these with --calibrate."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.options import names_among
from benchmarks.run_description import is_machine_busy
from benchmarks.simulation.calibration import calibrate
from benchmarks.simulation.checks import Check, check
from benchmarks.simulation.cost_model import CostModel, read_cost_model, write_cost_model
from benchmarks.simulation.servers_on_a_core import Seconds
from benchmarks.simulation.studies import STUDIES, Setting, Table
from rnnserve.client.aligned_table import format_aligned_table

__all__ = ["main"]

_COSTS = Path(__file__).parents[2] / ".bench" / "simulation" / "costs.json"
_LONGEST = 64

_EXPLANATION = """\
What is simulated: Poisson arrivals; each request goes to a server by the way of balancing that is named, waits there in
the server's own queue, and shares a run by the server's own plan; a run takes what the fitted costs say. Every request
and every run is an event, so a million requests a second are simulated for a fraction of a second: the tables say for
how long. What is not: networks that are full, clients that are slow, garbage that other programs make.

--calibrate measures the costs on this machine, in about six minutes that have to be quiet: the servers on one core, the
load generator on another. Then it measures loads that nothing was fitted to, on one, two and three servers, and says
how far the simulated p99 is off.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or simulate; gives the exit status."""
    args = _parse_arguments(argv)
    try:
        if args.calibrate is not None:
            _calibrate(args)
        else:
            _study(args, read_cost_model(args.costs))
    except BenchmarkError as error:
        print(f"simulation: {error}", file=sys.stderr)
        return 1
    return 0


def _calibrate(args: argparse.Namespace) -> None:
    if is_machine_busy():
        print("simulation: other processes use this machine, so the figures may mislead", file=sys.stderr)
    seconds = Seconds(0.3, 1, 1.0, 2) if args.quick else Seconds()
    with tempfile.TemporaryDirectory() as folder:
        costs = calibrate(args.calibrate, args.model, Path(folder), seconds)
    write_cost_model(costs, args.costs)
    print("\n".join(_cost_lines(costs)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = list(check(args.calibrate, costs, Path(folder), seconds))
    checks = args.costs.with_name("checks.json")
    checks.write_text(json.dumps([{**asdict(one), "error": one.error} for one in found], indent=1) + "\n")
    print(f"\n{_show(_table_of(found))}\n\nwrote {args.costs} and {checks}")


def _cost_lines(costs: CostModel) -> list[str]:
    away = costs.away[len(costs.away) // 2]
    return [
        f"{costs.facts['model']} on {costs.facts.get('processor', 'this machine')}:",
        f"a run takes {_us(costs.run)} + {_us(costs.step)} a step + {_us(costs.point)} a row and step + "
        f"{_us(costs.padding)} a padded one",
        f"a request takes {_us(costs.request)} + {_us(costs.copy)} a row and step of the core beside its run, and "
        f"{_us(away)} elsewhere (median)",
        f"these are within {costs.worst_error:.0%} of each of {len(costs.measured)} sizes that were measured",
        f"where servers share a core, a request takes {costs.shared:.2f} times as much of it, and a server runs for "
        f"{1e3 * costs.slice:g} ms before another one has its turn",
    ]


def _table_of(found: Sequence[Check]) -> Table:
    rows = [
        [
            f"{one.servers}", f"{one.size[0]} x {one.size[1]}:{one.size[2]}", f"{one.load:.0%}", f"{one.rate:,.0f}",
            "{:.2f} {:.2f}".format(*one.paces), f"{one.tried}", f"{one.requests:,}", *map(_plain_ms, one.measured),
            " to ".join(map(_plain_ms, one.spread)), *map(_plain_ms, one.simulated), f"{one.error:+.0%}",
        ]
        for one in found
    ]  # fmt: skip
    head = [
        "servers", "rows x steps", "load", "requests/s", "paces", "tries", "measured", "p50 ms", "p99 ms", "of runs",
        "simulated: p50", "p99", "error",
    ]  # fmt: skip
    return Table("real servers that share a core, and simulated ones: loads that nothing was fitted to", head, rows)


def _study(args: argparse.Namespace, costs: CostModel) -> None:
    size = (args.rows or costs.rows, *args.length)
    setting = Setting(costs, size, args.most_requests, args.proxies, args.proxy_rate)
    print("\n".join(_cost_lines(costs)))
    print(
        f"a request has {size[0]} rows of {size[1]} to {size[2]} steps; one server would do {setting.of_one:,.0f}/s, "
        "each in a run of its own"
    )
    for name, study in STUDIES.items():
        if not args.only or name in args.only:
            print(f"\n{_show(study(setting))}", flush=True)


def _show(table: Table) -> str:
    return f"{table.title}\n{format_aligned_table(table.head, table.rows)}"


def _plain_ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.3g} µs"


def _lengths(text: str) -> tuple[int, int]:
    shortest, _, longest = text.partition(":")
    if not (shortest.isdigit() and (longest or shortest).isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected steps: 16, or 1:64")
    lengths = int(shortest), int(longest or shortest)
    if not 0 < lengths[0] <= lengths[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: expected steps from 1, the smaller number first")
    return lengths


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="Simulate servers under load, by what requests were measured to cost: how the p99 grows with the "
        "load, with the way of balancing, with failures and rollouts, and what is full first.",
        epilog=_EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="REPOSITORY",
        help="measure the costs with servers of this folder, and compare",
    )
    parser.add_argument(
        "--model", default="direction_bidirectional", help="model of --calibrate (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="of --calibrate: shows that it runs, not what anything costs"
    )
    parser.add_argument(
        "--costs", type=Path, default=_COSTS, metavar="FILE", help="measured costs (default: %(default)s)"
    )
    parser.add_argument(
        "--only", action="extend", type=names_among(tuple(STUDIES)), metavar="NAME[,NAME]",
        help=f"only these of {', '.join(STUDIES)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--rows", type=_positive, metavar="N", help="rows of a request (default: as measured)")
    parser.add_argument(
        "--length", type=_lengths, default=(1, _LONGEST), metavar="N[:N]", help="steps of a row (default: 1:64)"
    )
    parser.add_argument(
        "--most-requests", type=_positive, default=200_000, metavar="N",
        help="requests of each simulated load, at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--proxies", type=int, default=0, metavar="N", help="proxies before the servers (default: none)"
    )
    parser.add_argument(
        "--proxy-rate", type=float, default=0.0, metavar="R",
        help="requests/s that one proxy carries: what `rnnserve load` has measured through it",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.proxies and args.proxy_rate <= 0:
        parser.error("--proxies needs --proxy-rate, what one of them carries")
    return args


if __name__ == "__main__":
    sys.exit(main())

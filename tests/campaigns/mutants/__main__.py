"""`make mutants`: run the tests against a sample of mutants, and print the mutants that no test notices."""

import argparse
import collections
import concurrent.futures
import json
import os
import sys
import tempfile
from pathlib import Path

from campaigns.mutants.mutant import Mutant, read_drawn, write_drawn
from campaigns.mutants.running import Reach, judge, now, read_reach, record

ROOT = Path(__file__).parents[3]
AREAS = ["cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web"]


def main() -> int:
    args = _parse_arguments()
    return int(args.run(args))


def _draw(args: argparse.Namespace) -> int:
    from campaigns.mutants.sites import draw  # needs cosmic-ray

    mutants = draw(ROOT, AREAS, args.count, args.seed)
    write_drawn(mutants)
    print(collections.Counter(mutant.file.partition("/")[0] for mutant in mutants))
    return 0


def _judge(args: argparse.Namespace) -> int:
    begun = now()
    mutants = [mutant for mutant in read_drawn() if not args.only or mutant.number in args.only]
    work = args.work or Path(tempfile.mkdtemp(prefix="mutants-"))
    if args.reuse:
        reach = read_reach(work)
    else:
        print("running the tests once, to see which of them reach which mutant", flush=True)
        reach = record(args.root, [*args.pytest.split(), *args.tests], work)
    print(f"{len(reach.tests)} tests, {now() - begun:.0f} s; failing without a mutant: {reach.failing}", flush=True)
    rows = _judge_all(args, mutants, reach, work)
    if args.out:
        header = {"tests": args.tests, "at most seconds": args.seconds, "tests in all": len(reach.tests)}
        lines = ",\n".join(json.dumps(row) for row in rows)
        args.out.write_text(f'{{"suite": {json.dumps(header)},\n"mutants": [\n{lines}\n]}}\n')
    counts = collections.Counter(row["verdict"] for row in rows)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return 0


def _judge_all(args: argparse.Namespace, mutants: list[Mutant], reach: Reach, work: Path) -> list[dict[str, object]]:
    begun = now()
    rows: list[dict[str, object]] = []

    def one(mutant: Mutant) -> dict[str, object]:
        started = now()
        code = (args.root / mutant.file).read_text() if (args.root / mutant.file).exists() else ""
        tests = [name for name in reach.plan(mutant, args.seconds) if not args.within or name.startswith(args.within)]
        if mutant.equivalent:
            verdict, by = "equivalent", mutant.equivalent
        elif mutant.line_in(code) is None:
            verdict, by = "gone", ""
        else:
            verdict, by = judge(args.root, mutant, tests, args.seconds * 2, work / f"{mutant.number}.log")
        seconds = round(now() - started, 1)
        return {
            "number": mutant.number,
            "verdict": verdict,
            "by": by,
            "tests": len(tests),
            "seconds": seconds,
            "file": mutant.file,
        }

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(one, mutants):
            rows.append(row)
            print(f"{len(rows):3}/{len(mutants)} {now() - begun:5.0f} s  {row}", flush=True)
    for mutant, row in zip(mutants, rows, strict=True):
        if row["verdict"] in ("survived", "unreached", "slow"):
            print(f"\n{row['verdict']}: {mutant}")
    return rows


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    drawing = commands.add_parser("draw", help="draw a new sample into drawn.json; needs cosmic-ray")
    drawing.add_argument("--count", type=int, default=150, help="mutants to draw (default %(default)s)")
    drawing.add_argument("--seed", type=int, default=37, help="of the sample (default %(default)s)")
    drawing.set_defaults(run=_draw)
    judging = commands.add_parser("judge", help="run the tests that reach each mutant")
    judging.add_argument("--root", type=Path, default=ROOT, help="tree to judge (default: this one)")
    judging.add_argument("--work", type=Path, help="folder for logs and what was recorded (default: a temporary one)")
    judging.add_argument("--reuse", action="store_true", help="use what an earlier run recorded in --work")
    judging.add_argument(
        "--within", default="", metavar="PATH", help="of the recorded tests, run only those below PATH"
    )
    judging.add_argument("--only", type=int, nargs="*", help="numbers of the mutants to judge (default: all)")
    judging.add_argument(
        "--seconds", type=float, default=120, help="longest time of a mutant's tests (default %(default)s)"
    )
    judging.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time (default %(default)s)"
    )
    judging.add_argument(
        "--pytest", default="-n 2 --dist loadfile", help="pytest's options for recording (default %(default)s)"
    )
    judging.add_argument("--out", type=Path, help="file for the verdicts, as JSON")
    judging.add_argument("tests", nargs="*", default=["tests"], help="tests to run (default: all)")
    judging.set_defaults(run=_judge)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

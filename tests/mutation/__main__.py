"""`make mutants`: change the source in one place at a time and print the changes that no test notices."""

import argparse
import concurrent.futures
import difflib
import os
import queue
import sys
import tempfile
import time
from pathlib import Path

from mutation.equivalents import read_equivalents
from mutation.mutants import Mutant, draw, find_mutants
from mutation.running import TreeCopy

ROOT = Path(__file__).parents[2]
FOLDERS = ["server", "export"]
TESTS = ["tests/server", "tests/export", "tests/end_to_end", "tests/cli"]


def main() -> int:
    args = _parse_arguments()
    begun = time.monotonic()
    equivalents = read_equivalents()
    mutants = [mutant for mutant in find_mutants(ROOT, FOLDERS) if mutant.file.startswith(args.only)]
    sample = draw(mutants, args.count, args.seed, ROOT)
    print(f"{len(mutants)} mutants; {len(sample)} places drawn with seed {args.seed}", flush=True)
    if args.list:
        for mutant in sample:
            print(_diff(mutant))
        return 0

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        work = Path(folder).resolve()
        copies = [TreeCopy(ROOT, work / f"tree-{number}", work / "checkpoints") for number in range(args.jobs)]
        print("running all tests once, to see which lines each of them runs", flush=True)
        selection = copies[0].trace(args.tests, work, timeout=args.minutes * 60)
        print(f"{len(selection.seconds)} tests, {time.monotonic() - begun:.0f} s", flush=True)
        for name in selection.failing:
            print(f"left out, since it fails without a mutant: {name}", flush=True)

        # Before any of the copies is changed.
        plans = {mutant: selection.tests_of(mutant.file, mutant.line) for mutant in sample}
        free: queue.SimpleQueue[TreeCopy] = queue.SimpleQueue()
        for copy in copies:
            free.put(copy)
        deadline = begun + args.minutes * 60

        def judge(number: int, mutant: Mutant) -> str:
            code = (ROOT / mutant.file).read_text()
            reason = equivalents.get(mutant.key(code))
            if reason is not None:
                return "equivalent"
            tests = plans[mutant]
            if not tests:
                return "survived"
            copy = free.get()
            try:
                # Three times as long as without the mutant, and time for fixtures.
                limit = 180 + 3 * sum(selection.seconds[name] for name in tests)
                left = deadline - time.monotonic()
                verdict = copy.judge(mutant, tests, work / f"{number}.log", min(limit, max(left, 1)))
            finally:
                free.put(copy)
            if verdict == "timed out":
                return "killed" if limit < left else "not run"
            return verdict

        verdicts: dict[Mutant, str] = {}
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            running = {pool.submit(judge, number, mutant): mutant for number, mutant in enumerate(sample)}
            for done in concurrent.futures.as_completed(running):
                mutant = running[done]
                verdicts[mutant] = done.result()
                seconds = time.monotonic() - begun
                place = f"{mutant.file}:{mutant.line}"
                print(f"{len(verdicts):3}/{len(sample)} {seconds:5.0f} s  {verdicts[mutant]:10} {place}", flush=True)

    for mutant in sample:
        if verdicts[mutant] in ("survived", "not run"):
            print(f"\n{verdicts[mutant]}: {mutant.operator}\n{_diff(mutant)}")
    counts = {word: list(verdicts.values()).count(word) for word in ("killed", "equivalent", "survived", "not run")}
    print("\n" + ", ".join(f"{count} {word}" for word, count in counts.items()))
    good = counts["killed"] + counts["equivalent"]
    needed = args.floor * len(sample) / 100
    print(f"{good} of {len(sample)} killed or equivalent; {needed:.0f} are needed")
    return 0 if good >= needed else 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="mutants to draw (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time")
    parser.add_argument("--minutes", type=float, default=45, help="longest time for all (default %(default)s)")
    parser.add_argument("--floor", type=float, default=95, help="of 100, killed or equivalent (default %(default)s)")
    parser.add_argument("--only", default="", metavar="PATH", help="mutants of files whose path starts so")
    parser.add_argument("--list", action="store_true", help="print the sample and run nothing")
    parser.add_argument("tests", nargs="*", default=TESTS, help="tests to run (default: %(default)s)")
    return parser.parse_args()


def _diff(mutant: Mutant) -> str:
    code = (ROOT / mutant.file).read_text()
    lines = (code.splitlines(keepends=True), mutant.mutate(code).splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, f"{mutant.file}", f"{mutant.file}", n=1)).rstrip()


if __name__ == "__main__":
    sys.exit(main())

"""Try the rules of the graph analysis: `PYTHONPATH=tests python -m campaigns.rule_validator --seconds 60`."""

import argparse
import collections
import concurrent.futures
import itertools
import multiprocessing
import sys
import time
from concurrent.futures.process import BrokenProcessPool

from campaigns.rule_validator.cases import WITH_BODIES, operators
from campaigns.rule_validator.trial import Report, try_operator
from rnnserve.export.analysis.table import RULES

_KNOWN = {*RULES, *WITH_BODIES}
_SEEDS = 20  # seconds per operator and turn


def _tried(operator: str, domain: str, seeds: range) -> Report:
    """Try an operator in a separate process, because a kernel may end it."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        try:
            return pool.submit(try_operator, operator, domain, seeds).result()
        except BrokenProcessPool:
            return Report(counts=collections.Counter({"ended the process": 1}))


def main() -> None:
    """Print a line for each operator. The status is 1 if a rule is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("operators", nargs="*", help="names of operators; default: all")
    parser.add_argument("--seconds", type=float, default=300, help="when to begin no further round")
    parser.add_argument("--weak", action="store_true", help="print what held in each run, but isn't claimed")
    options = parser.parse_args()
    those = [(domain, name) for domain, name in operators() if not options.operators or name in options.operators]
    found = {each: Report() for each in those}
    ends = time.monotonic() + options.seconds
    for first in itertools.count(0, _SEEDS):
        for domain, name in those:
            if time.monotonic() > ends:
                break
            report = _tried(name, domain, range(first, first + _SEEDS))
            found[domain, name].add(report)
            for line in [*map("WRONG {}".format, report.wrong), *map("weak {}".format, report.weak * options.weak)]:
                print(f"{name}: {line}", flush=True)
        if time.monotonic() > ends:
            break
    for (_, name), report in found.items():
        print(
            name,
            "" if name in _KNOWN else "has no rule",
            dict(report.counts),
            f"{len(report.wrong)} wrong",
            f"{len(report.weak)} weak",
        )
    wrong = [name for (_, name), report in found.items() if report.wrong]
    print(f"wrong rules: {', '.join(wrong) or 'none'}")
    print(f"without a rule: {', '.join(sorted({name for _, name in those} - _KNOWN))}")
    never = [name for (_, name), report in found.items() if name in _KNOWN and not report.ran]
    print(f"with a rule, but never run: {', '.join(never) or 'none'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

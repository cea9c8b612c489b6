"""The command for longer runs: `make fuzz`, or with `tests` on the path of modules

::

    python -m campaigns.fuzzing differential --requests 1000000
    python -m campaigns.fuzzing read prefixes golden --inputs 1000000
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import tqdm

from campaigns.fuzzing.campaign import Finding, FuzzTarget, campaign
from campaigns.fuzzing.differential import Tally, compare
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models, serve_reading_whole
from campaigns.fuzzing.targets import NAMES, prepare_targets
from campaigns.fuzzing.traffic import Traffic, valid_requests
from rnnserve.server import Settings, choose_polling
from rnnserve.server.testing import serve

_MOST_FINDINGS = 10


def main() -> int:
    """Run the command. The status is 1 if there are findings."""
    parser = argparse.ArgumentParser(
        prog="python -m campaigns.fuzzing", description="Send or read what no one would write."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    differential = commands.add_parser("differential", help="the same requests to both transports")
    differential.add_argument("--requests", type=int, default=1_000_000)
    reading = commands.add_parser("read", help="inputs to what reads bytes of others")
    reading.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(NAMES)}; all where none is named")
    reading.add_argument("--inputs", type=int, default=100_000, help="for each target")
    for command in (differential, reading):
        command.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.command == "differential":
            return _differential(Path(folder), args.requests, args.seed)
        targets = prepare_targets(Path(folder))
        unknown = set(args.targets) - set(targets)
        if unknown:
            parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        found = [_read(targets[name], args.inputs, args.seed) for name in args.targets or NAMES]
        return int(any(found))


def _differential(folder: Path, requests: int, seed: int) -> int:
    choose_polling()
    publish_models(folder)
    tally = Tally()
    traffic = Traffic(valid_requests(CLASSIFIERS, seed), seed)
    with contextlib.ExitStack() as stack:
        kinds: list[dict[str, Any]] = [{}, {"plain": True}, {"transport": "native"}]
        settings = [Settings(provider="cpu", **kind) for kind in kinds]
        asked = [serve_reading_whole(folder), *(serve(folder, each) for each in settings)]
        servers = [stack.enter_context(each) for each in asked]
        progress = stack.enter_context(tqdm.tqdm(total=requests, unit="req"))
        for tally in compare([server.address for server in servers], traffic.bursts(), most=_MOST_FINDINGS):
            progress.update(tally.statuses.total() - progress.n)
            if progress.n >= requests:
                break
    print(f"{tally.statuses.total():,} requests: {dict(tally.statuses)}")
    for difference in tally.differences:
        print(difference)
    return int(bool(tally.differences))


def _read(target: FuzzTarget, inputs: int, seed: int) -> int:
    """Fuzz one target, and return the number of findings."""
    findings: dict[str, Finding] = {}
    many = tqdm.tqdm(itertools.islice(campaign(target, seed), inputs), desc=target.name, total=inputs)
    for _, finding in many:
        if finding is not None:
            findings.setdefault(finding.said.splitlines()[-1], finding)
            if len(findings) == _MOST_FINDINGS:
                break
    for finding in findings.values():
        print(f"{target.name}: {finding}")
    return len(findings)


if __name__ == "__main__":
    sys.exit(main())

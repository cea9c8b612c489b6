"""`make mutants`: run the tests against a sample of mutants, and print the mutants that no test notices."""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from campaigns.mutants.mutant import Mutant, read_drawn, write_drawn

ROOT = Path(__file__).parents[3]
AREAS = ["cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web"]

_ARTIFACT_AREAS = ("cli", "common", "export", "models", "protos")
"""A change in these may change the classifiers that the tests keep between runs, which are then made anew."""

_MEMORY_BYTES = 8 << 30
"""A mutant may allocate without end."""


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
    begun = time.monotonic()
    mutants = [mutant for mutant in read_drawn() if not args.only or mutant.number in args.only]
    rows = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for mutant, (verdict, by) in zip(mutants, pool.map(lambda each: _verdict(args, each), mutants), strict=True):
            rows.append({"number": mutant.number, "verdict": verdict, "by": by, "file": mutant.file})
            print(f"{len(rows):3}/{len(mutants)} {time.monotonic() - begun:5.0f} s  {rows[-1]}", flush=True)
    for mutant, row in zip(mutants, rows, strict=True):
        if row["verdict"] in ("survived", "slow"):
            print(f"\n{row['verdict']}: {mutant}")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")
    counts = collections.Counter(row["verdict"] for row in rows)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return 0


def _verdict(args: argparse.Namespace, mutant: Mutant) -> tuple[str, str]:
    """Run the folders of tests until one notices the mutant: those of its own area first.

    Returns:
        "killed" with the test that failed, "survived", "slow" if the tests took too long, mostly because they hang,
        "gone" if the source has changed, or "equivalent" with the reason.
    """
    if mutant.equivalent:
        return "equivalent", mutant.equivalent
    file = args.root / mutant.file
    if not file.exists() or mutant.line_in(file.read_text()) is None:
        return "gone", ""
    area = mutant.file.partition("/")[0]
    folders = args.tests or [f"tests/{area}", f"tests/full/{area}", "tests"]
    verdict, by = "survived", ""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        cache = args.root / ".pytest_cache"
        if area in _ARTIFACT_AREAS:
            trained = cache / "d" / "artifacts" / "checkpoints"
            cache = Path(folder) / "cache"
            if trained.exists() and area in ("export", "protos"):
                shutil.copytree(trained, cache / "d" / "artifacts" / "checkpoints")
        for tests in (each for each in folders if (args.root / each).exists()):
            verdict, by = _run(args, mutant, tests, Path(folder), cache)
            if verdict != "survived":
                break
    return verdict, by


def _run(args: argparse.Namespace, mutant: Mutant, tests: str, folder: Path, cache: Path) -> tuple[str, str]:
    paths = [str(Path(__file__).with_name("hook")), str(args.root / "tests"), str(ROOT / "tests")]
    environment = os.environ | {"MUTANT_NUMBER": str(mutant.number), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", tests]
    command += ["-o", f"cache_dir={cache}", f"--basetemp={folder}/tmp"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=args.root, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
        try:
            status = process.wait(args.seconds)
        except subprocess.TimeoutExpired:
            return "slow", tests
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status == 0:
        return "survived", ""
    lines = log.read_text(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return "killed", failed[0].split(" - ")[0] if failed else f"{tests}: status {status}"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m campaigns.mutants", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    drawing = commands.add_parser("draw", help="draw a new sample into drawn.json; needs cosmic-ray")
    drawing.add_argument("--count", type=int, default=150, help="mutants to draw (default %(default)s)")
    drawing.add_argument("--seed", type=int, default=37, help="of the sample (default %(default)s)")
    drawing.set_defaults(run=_draw)
    judging = commands.add_parser("judge", help="run the tests with each mutant")
    judging.add_argument("--root", type=Path, default=ROOT, help="tree to judge (default: this one)")
    judging.add_argument("--only", type=int, nargs="*", help="numbers of the mutants to judge (default: all)")
    judging.add_argument(
        "--seconds", type=float, default=1200, help="longest time of a folder's tests (default %(default)s)"
    )
    jobs = max(1, (os.cpu_count() or 1))
    judging.add_argument("--jobs", type=int, default=jobs, help="mutants at a time (default %(default)s)")
    judging.add_argument("--out", type=Path, help="file for the verdicts, as JSON")
    judging.add_argument("--tests", nargs="*", help="folders of tests (default: the area's, then the core)")
    judging.set_defaults(run=_judge)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

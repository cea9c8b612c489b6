"""`python -m benchmarks.gpu`: prove and measure on CUDA; write one table, as Markdown and JSON."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import MissingDependency
from benchmarks.gpu.report import count_verdicts, describe_hardware, render_table, write_report
from benchmarks.gpu.requirements import check_requirements
from benchmarks.gpu.rows import FAILED, Row
from benchmarks.gpu.step_process import STEPS, run_step
from benchmarks.options import names_among

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]

_STATUS = """\
steps:
  publish  export models with torch on the CPU, and prove them there
  nodes    list the nodes that fell back to the CPU
  golden   replay golden results on CUDA
  proof    prove every model on CUDA, with the native operators, and measure what the limits have to be
  serving  serve on CUDA, and compare the answers with the golden results
  growth   time and rounding of one layer against the CPU, over batch and hidden sizes

exit status: 0 if everything held, 1 if something did not, 2 if something is missing and nothing was tried. Nothing is
downloaded; docs/operate/gpu.md says what has to be installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; the exit status is 0 if everything held, 1 if something did not, 2 if something is missing."""
    args = _parse_arguments(argv)
    device = "cpu" if args.rehearse else "cuda"
    try:
        check_requirements(needs_cuda=not args.rehearse)
    except MissingDependency as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    args.work.mkdir(parents=True, exist_ok=True)
    steps = [step for step in STEPS if step in args.only or (step == "publish" and args.only != ["growth"])]
    rows: list[Row] = []
    for number, step in enumerate(steps, 1):
        print(f"step {number} of {len(steps)}: {step}", file=sys.stderr, flush=True)
        rows += run_step(step, args.work, device, args.timeout)
    description = describe_hardware()
    print(render_table(rows, description, rehearsed=args.rehearse), end="")
    written = write_report(args.output, rows, description, rehearsed=args.rehearse)
    print(f"wrote {' and '.join(map(str, written))}", file=sys.stderr)
    return 1 if count_verdicts(rows)[FAILED] else 0


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Prove and measure rnnserve on CUDA, and write one table. Needs a GPU, and no network.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        type=names_among(STEPS, "step"),
        default=list(STEPS),
        metavar="STEP[,STEP]",
        help=f"run only these of {', '.join(STEPS)}; publish goes before those that need models",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_ROOT / "benchmarks" / "results",
        metavar="FOLDER",
        help="folder for gpu.md and gpu.json (default: benchmarks/results)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=_ROOT / ".bench" / "gpu",
        metavar="FOLDER",
        help="folder for the published models (default: .bench/gpu)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="how long each step may take (default: 1800)",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="let the CPU stand in for CUDA: shows that the program runs, and says nothing about CUDA; writes "
        "rehearsal.md and rehearsal.json",
    )
    args = parser.parse_args(argv)
    if not args.timeout > 0:
        parser.error("--timeout must be more than 0 seconds")
    args.work, args.output = args.work.resolve(), args.output.resolve()
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

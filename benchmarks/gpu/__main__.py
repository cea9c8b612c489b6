"""`python -m benchmarks.gpu`: verify and measure on CUDA, and write one table as Markdown and JSON."""

import argparse
import contextlib
import datetime as dt
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, to_line
from benchmarks.gpu.step_process import STEPS, run_step
from benchmarks.options import add_shared_options, exit_with

_STATUS = """\
steps:
  publish  export models with torch on the CPU, and verify them there
  nodes    list the nodes that fell back to the CPU
  golden   reproduce golden results on CUDA
  proof    verify every model on CUDA, with the native operators, and show how far rounding moves values
  serving  serve on CUDA, and compare the answers with the golden results
  growth   time and rounding of one layer against the CPU, over batch and hidden sizes

exit status: 0 if every check passed, 1 if a check failed, 2 if something is missing and nothing was tried. Nothing is
downloaded; docs/operate/gpu.md lists what to install."""

_COLUMNS = ("step", "subject", "what", "CPU", "CUDA", "limit", "verdict", "note")
_VERSIONS = ("rnnserve", "onnxruntime-gpu", "onnxruntime", "torch", "onnx", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; the exit status is 0 if all checks passed, 1 if a check failed, 2 if something is missing."""
    args = _parse_arguments(argv)
    device = "cpu" if args.rehearse else "cuda"
    if fault := find_fault(needs_cuda=not args.rehearse):
        print(f"benchmarks.gpu: {fault}", file=sys.stderr)
        return 2
    work = args.work.resolve() / "gpu"
    work.mkdir(parents=True, exist_ok=True)
    chosen = args.only or list(STEPS)
    steps = [step for step in STEPS if step in chosen or (step == "publish" and chosen != ["growth"])]
    rows: list[Row] = []
    for number, step in enumerate(steps, 1):
        print(f"step {number} of {len(steps)}: {step}", file=sys.stderr, flush=True)
        rows += run_step(step, work, device, args.timeout)
    facts = _describe_hardware()
    text = render_table(rows, facts, rehearsed=args.rehearse)
    print(text, end="")
    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / ("rehearsal" if args.rehearse else "gpu")
    document = {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "rehearsed": args.rehearse,
        "description": facts,
        "rows": [json.loads(to_line(row)) for row in rows],
    }
    stem.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")
    stem.with_suffix(".md").write_text(text)
    print(f"wrote {stem}.md and {stem}.json", file=sys.stderr)
    return 1 if any(row.verdict == FAILED for row in rows) else 0


def find_fault(*, needs_cuda: bool) -> str:
    """Return a line that names the missing part, or an empty string if nothing is missing.

    onnxruntime and onnxruntime-gpu are two distributions of one package. If both are installed, the later installation
    has overwritten files of the earlier one (onnxruntime #26996).
    """
    names = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    if {"onnxruntime", "onnxruntime-gpu"} <= names:
        return (
            "onnxruntime and onnxruntime-gpu are both installed, but exclude each other: run `pip uninstall "
            "onnxruntime "
            "onnxruntime-gpu`, then `pip install 'onnxruntime-gpu[cuda,cudnn]'`"
        )
    try:
        import onnxruntime
        import torch

        from rnnserve.server.repository.providers import find_cuda_fault
    except ImportError as error:
        return f"{error} (docs/operate/gpu.md lists what to install)"
    del torch  # the step `publish` needs it
    fault = find_cuda_fault() if needs_cuda else None
    return "" if fault is None else f"onnxruntime {onnxruntime.__version__} cannot use CUDA here: {fault}"


def render_table(rows: Sequence[Row], facts: Mapping[str, str], *, rehearsed: bool) -> str:
    """Write the report as Markdown: the machine, the counts of the verdicts, and one table.

    Args:
        rows: Rows of all steps.
        facts: Facts about machine and versions, by name.
        rehearsed: Whether the CPU stood in for CUDA.
    """
    title = "CUDA, measured"
    if rehearsed:
        title = "A rehearsal on the CPU\n\nThe column CUDA was computed on the CPU: it says nothing about CUDA."
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (HELD, FAILED, MEASURED)}
    lines = [f"# {title}", "", *(f"- {name}: {text}" for name, text in facts.items()), ""]
    lines += [", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + ".", ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for row in rows:
        figures = (_number(value) for value in (row.cpu, row.cuda, row.limit))
        lines.append(_line([row.step, row.subject, row.what, *figures, row.verdict, row.note]))
    return "\n".join(lines) + "\n"


def _describe_hardware() -> dict[str, str]:
    """Return facts about this machine and its versions, by name. Unavailable facts are left out."""
    from rnnserve.load.machine import describe_machine

    facts = describe_machine()
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout  # noqa: S603 - no shell
        facts["GPU, driver, memory"] = "; ".join(found.split("\n")).strip("; ")
    for package in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[package] = importlib.metadata.version(package)
    return facts


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.3g}"


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Verify and measure rnnserve on CUDA, and write one table. Needs a GPU, and no network.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared_options(parser, tuple(STEPS))
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
        help="run on the CPU in place of CUDA, to test this program; writes rehearsal.md and rehearsal.json",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    exit_with("benchmarks.gpu", main)

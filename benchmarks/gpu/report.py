"""The one table, as Markdown and JSON."""

import contextlib
import datetime as dt
import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, to_line

__all__ = ["count_verdicts", "describe_hardware", "render_table", "write_report"]

_COLUMNS = ("step", "subject", "what", "CPU", "CUDA", "limit", "verdict", "note")
_VERSIONS = ("rnnserve", "onnxruntime-gpu", "onnxruntime", "torch", "onnx", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12")


def render_table(rows: Sequence[Row], description: Mapping[str, str], *, rehearsed: bool) -> str:
    """Write the report as Markdown: where it was measured, the verdicts counted, and one table.

    Args:
        rows: Rows of all steps.
        description: Facts about machine and versions, by name.
        rehearsed: Whether the CPU stood in for CUDA.
    """
    lines = ["# CUDA, measured", ""]
    if rehearsed:
        lines = [
            "# A rehearsal on the CPU",
            "",
            "The column CUDA was computed on the CPU: nothing here is about CUDA.",
            "",
        ]
    lines += [f"- {name}: {text}" for name, text in description.items()]
    counts = count_verdicts(rows)
    lines += ["", ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + ".", ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for row in rows:
        figures = (_number(value) for value in (row.cpu, row.cuda, row.limit))
        lines.append(_line([row.step, row.subject, row.what, *figures, row.verdict, row.note]))
    return "\n".join(lines) + "\n"


def count_verdicts(rows: Sequence[Row]) -> dict[str, int]:
    """Count the rows of each verdict."""
    return {verdict: sum(row.verdict == verdict for row in rows) for verdict in (HELD, FAILED, MEASURED)}


def write_report(
    folder: Path, rows: Sequence[Row], description: Mapping[str, str], *, rehearsed: bool
) -> tuple[Path, Path]:
    """Write gpu.json and gpu.md; of a rehearsal rehearsal.json and rehearsal.md.

    Returns:
        Where the two are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = "rehearsal" if rehearsed else "gpu"
    data, table = folder / f"{stem}.json", folder / f"{stem}.md"
    document = {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "rehearsed": rehearsed,
        "description": dict(description),
        "verdicts": count_verdicts(rows),
        "rows": [json.loads(to_line(row)) for row in rows],
    }
    data.write_text(json.dumps(document, indent=2) + "\n")
    table.write_text(render_table(rows, description, rehearsed=rehearsed))
    return data, table


def describe_hardware() -> dict[str, str]:
    """Give facts about this machine and its versions, by name; those that cannot be found out are left out."""
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

"""The workload of `rnnserve load`: its load levels, its description, and its document, which `--repeat` reads."""

import argparse
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnserve.client import InvalidRequest, UnreadableInput
from rnnserve.load.commands.options import DEFAULTS, FORMER, WORKLOAD_OPTIONS, parse_workload
from rnnserve.load.draws import parse_size_distribution
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.units import format_duration

__all__ = [
    "complete_arguments",
    "describe_workload",
    "document_workload",
    "given_options",
    "is_search",
    "load_levels",
    "read_document",
    "repeat_workload",
]

_DEFAULT_RATE = 100.0


def given_options(args: argparse.Namespace) -> list[str]:
    """Return the workload options that the user set, as on the command line. Call it before `complete_arguments`."""
    given = [_option(name) for name in WORKLOAD_OPTIONS if getattr(args, name) is not None]
    return [*(["MODEL"] if args.models else []), *given]


def read_document(path: Path) -> dict[str, Any]:
    """Read a document that --json wrote."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableInput(f"{path}: is not JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("workload"), dict):
        raise UnreadableInput(f"{path}: holds no workload; `rnnserve load --json` writes such files")
    return document


def repeat_workload(args: argparse.Namespace, path: Path) -> None:
    """Set the workload options to those in a file."""
    given = given_options(args)
    if given:
        raise InvalidRequest(f"--repeat takes the whole workload from {path}: leave out {', '.join(given)}")
    workload = read_document(path)["workload"]
    models = workload.get("models")
    if not isinstance(models, dict) or not models:
        raise InvalidRequest(f"{path}: the workload names no models")
    for name, instead in FORMER.items():
        if workload.get(name) is not None:
            raise InvalidRequest(f"{path}: there is no option {_option(name)} any more: {instead}")
    words = [f"{name}={weight}" for name, weight in models.items()]
    for name in WORKLOAD_OPTIONS:
        value = workload.get(name)
        if value is not None and value is not False:
            words.append(_option(name) if value is True else f"{_option(name)}={_as_word(name, value)}")
    found = parse_workload(words, str(path))
    for name in ("models", *WORKLOAD_OPTIONS):
        setattr(args, name, getattr(found, name))
    expected = workload.get("inputs_sha256")
    if args.inputs is not None and _digest(args.inputs) != expected:
        raise InvalidRequest(f"{args.inputs}: is not the file that was sent then; its SHA-256 was {expected}")


def complete_arguments(args: argparse.Namespace) -> None:
    """Fill in missing arguments. Raises InvalidRequest if some arguments conflict."""
    for name in ("think", "steps"):
        if getattr(args, name) is not None and not args.sessions:
            raise InvalidRequest(f"--{name} is for sessions: give their number, --sessions 1")
    if args.sessions and args.inputs is not None:
        raise InvalidRequest("--inputs has whole sequences, but --sessions draws points: give one of them")
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.length = args.length or parse_size_distribution("1" if args.sessions else "4")
    args.batch = args.batch or parse_size_distribution("1")
    if args.slo is not None:
        args.slo = replace(args.slo, confidence=args.confidence)
    if not (args.rate or args.closed or args.sessions or args.slo):
        args.rate = [_DEFAULT_RATE]


def is_search(args: argparse.Namespace) -> bool:
    """Return whether to search for the highest rate that meets the objective."""
    return not (args.rate or args.closed or args.sessions)


def load_levels(args: argparse.Namespace) -> list[LoadLevel]:
    """Return the load levels. For a search, return only the first, with enough requests for a verdict."""
    settings = {name: getattr(args, name) for name in ("arrivals", "warmup", "duration", "max_requests", "timeout")}
    settings["ends_early"] = args.slo is not None and args.runs == 1 and not args.no_early_stop
    if is_search(args):
        # Twice the number of requests that proves a limit if none of them exceeds it.
        shares = [limit.percent / 100 for limit in args.slo.limits if limit.percent < 100]
        needed = max(
            (2 * math.log((1 - args.confidence) / 2) / math.log(share) for share in shares if share), default=0
        )
        return [LoadLevel(rate=max(_DEFAULT_RATE, float(f"{needed / args.duration:.3g}")), **settings)]
    levels = [
        *(LoadLevel(rate=rate, **settings) for rate in args.rate or ()),
        *(LoadLevel(closed=in_flight, **settings) for in_flight in args.closed or ()),
        *(LoadLevel(sessions=sessions, think=args.think, **settings) for sessions in args.sessions or ()),
    ]
    return list(dict.fromkeys(levels))


def describe_workload(args: argparse.Namespace, weights: Mapping[str, float]) -> dict[str, str]:
    """Return the settings of the workload, as text by name."""
    think = format_duration(args.think * 1e9) if args.think else "at once"
    sessions = f"sessions of {args.steps} steps, the next {think} after an answer"
    return {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text if args.inputs is None else f"those in {args.inputs.name}",
        "batch sizes": args.batch.text,
        "arrivals": sessions if args.sessions else "closed loop" if args.closed else args.arrivals,
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        **({} if args.runs == 1 else {"runs": f"{args.runs} of each load"}),
        "generators": f"{args.processes}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }


def document_workload(args: argparse.Namespace, weights: Mapping[str, float]) -> dict[str, Any]:
    """Return the whole workload by option, ready for `json.dumps`. Call it after `complete_arguments`.

    It includes the models that were ready. Unused options are None, such as the session options without sessions.
    """
    workload = {name: getattr(args, name) for name in WORKLOAD_OPTIONS}
    if not args.sessions:
        workload |= {"think": None, "steps": None}
    if args.closed or args.sessions:
        workload["arrivals"] = None
    for name in ("slo", "length", "batch"):
        workload[name] = None if workload[name] is None else workload[name].text
    digest = None if args.inputs is None else _digest(args.inputs)
    inputs = None if args.inputs is None else str(args.inputs)
    return {"models": dict(weights), **workload, "inputs": inputs, "inputs_sha256": digest}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _as_word(name: str, value: object) -> str:
    """Return an option's value in the form of the command line."""
    if name == "think" and isinstance(value, int | float):
        return f"{value:.9f}s" if value else "0"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read ({error.strerror})") from error

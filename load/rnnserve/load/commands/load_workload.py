"""The workload of `rnnserve load`: its load levels, its description, and its document, which can be repeated."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnserve.client import InvalidRequest, UnreadableInput
from rnnserve.load.commands.load_arguments import DEFAULTS, WORKLOAD_OPTIONS, parse_workload
from rnnserve.load.early_stopping import requests_to_decide, risks_at_end
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.scenarios import SCENARIOS
from rnnserve.load.size_distribution import parse_size_distribution
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
    """Return which of the workload's options were given, as on the command line; before `complete_arguments`."""
    given = [_option(name) for name in WORKLOAD_OPTIONS if getattr(args, name) is not None]
    return [*(["MODEL"] if args.models else []), *given]


def read_document(path: Path) -> dict[str, Any]:
    """Read a file that --json wrote.

    Raises:
        UnreadableInput: The file cannot be read, or is not one of those.
    """
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
    """Set the workload's options to those of a file.

    Raises:
        InvalidRequest: Options of the workload were given, too; or the file or its workload is wrong.
    """
    given = given_options(args)
    if given:
        raise InvalidRequest(f"--repeat takes the whole workload from {path}: leave out {', '.join(given)}")
    workload = read_document(path)["workload"]
    models = workload.get("models")
    if not isinstance(models, dict) or not models:
        raise InvalidRequest(f"{path}: the workload names no models")
    words = [f"{name}={weight}" for name, weight in models.items()]
    scenario = SCENARIOS.get(str(workload.get("scenario")))
    for name in WORKLOAD_OPTIONS:
        value = workload.get(name)
        if value is None or value is False or (name == "closed" and scenario is not None):
            continue
        words.append(_option(name) if value is True else f"{_option(name)}={_as_word(name, value)}")
    found = parse_workload(words, str(path))
    for name in ("models", *WORKLOAD_OPTIONS):
        setattr(args, name, getattr(found, name))
    expected = workload.get("inputs_sha256")
    if args.inputs is not None and _digest(args.inputs) != expected:
        raise InvalidRequest(f"{args.inputs}: is not the file that was sent then; its SHA-256 was {expected}")


def complete_arguments(args: argparse.Namespace) -> None:
    """Fill in what is not given.

    Raises:
        InvalidRequest: Arguments do not go together.
    """
    for name in ("think", "steps"):
        if getattr(args, name) is not None and not args.sessions:
            raise InvalidRequest(f"--{name} is for sessions: give their number, --sessions 1")
    if args.sessions and args.inputs is not None:
        raise InvalidRequest("--inputs has whole sequences, and --sessions draws points: give one of them")
    if args.gap_cv is not None and args.arrivals != "gamma":
        raise InvalidRequest("--gap-cv is for gamma arrivals: give --arrivals gamma, too")
    if args.scenario is not None:
        _complete_scenario(args)
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.length = args.length or parse_size_distribution("1" if args.sessions else "4")
    args.batch = args.batch or parse_size_distribution("1")
    if args.slo is not None:
        args.slo = replace(args.slo, confidence=args.confidence)
    if not (args.rate or args.closed or args.sessions or args.slo):
        args.rate = [_DEFAULT_RATE]


def _complete_scenario(args: argparse.Namespace) -> None:
    scenario = SCENARIOS[args.scenario]
    refused = ["closed", "sessions", *(["rate", "arrivals"] if scenario.closed else [])]
    for name in refused:
        if getattr(args, name) is not None:
            raise InvalidRequest(f"--scenario {args.scenario} has its own load: leave out {_option(name)}")
    if args.arrivals not in (None, "poisson"):
        raise InvalidRequest(f"--scenario {args.scenario} has Poisson arrivals: leave out --arrivals")
    if scenario.closed:
        args.closed = [scenario.closed]
    args.batch = args.batch or parse_size_distribution(str(scenario.batch))


def is_search(args: argparse.Namespace) -> bool:
    """Return whether the highest rate that meets the objective is searched for."""
    return not (args.rate or args.closed or args.sessions)


def load_levels(args: argparse.Namespace) -> list[LoadLevel]:
    """Return the levels of completed arguments; of a search, the first one, at which it can be decided."""
    if is_search(args):
        risk = risks_at_end(1 - args.confidence, has_looks=True).held
        needed = max(requests_to_decide(percent, risk) for percent, _ in args.slo.limits)
        return [_load_level(args, rate=max(_DEFAULT_RATE, float(f"{needed / args.duration:.3g}")))]
    open_loops = [_load_level(args, rate=rate) for rate in args.rate or ()]
    closed = [_load_level(args, closed=in_flight) for in_flight in args.closed or ()]
    levels = open_loops + closed + [_load_level(args, sessions=sessions) for sessions in args.sessions or ()]
    if len(set(levels)) < len(levels):
        # Levels that are equal are runs of one load, whose requests are counted together: none may end early.
        return [replace(level, has_looks=False) for level in levels]
    return levels


def _load_level(args: argparse.Namespace, rate: float = 0.0, closed: int = 0, sessions: int = 0) -> LoadLevel:
    return LoadLevel(
        rate=rate,
        closed=closed,
        sessions=sessions,
        think=args.think if sessions else 0.0,
        arrivals=args.arrivals,
        gap_cv=args.gap_cv,
        warmup=args.warmup,
        duration=args.duration,
        max_requests=args.max_requests,
        timeout=args.timeout,
        objective=args.slo,
        has_looks=args.slo is not None and args.runs == 1 and not args.no_early_stop,
        scenario=args.scenario or "",
    )


def describe_workload(args: argparse.Namespace, weights: Mapping[str, float], generators: int) -> dict[str, str]:
    """Return the settings of the workload, as text by name; `generators` is their number."""
    scenario = {} if args.scenario is None else {"scenario": str(args.scenario)}
    runs = {} if args.runs == 1 else {"runs": f"{args.runs} of each load"}
    return scenario | {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text if args.inputs is None else f"those in {args.inputs.name}",
        "batch sizes": args.batch.text,
        "arrivals": _describe_arrivals(args),
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        **runs,
        "generators": f"{generators}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }


def _describe_arrivals(args: argparse.Namespace) -> str:
    if args.sessions:
        think = format_duration(args.think * 1e9) if args.think else "at once"
        return f"sessions of {args.steps} steps, the next {think} after an answer"
    if args.closed:
        return "closed loop"
    return (
        f"gamma, gaps with a coefficient of variation of {args.gap_cv:g}" if args.arrivals == "gamma" else args.arrivals
    )


def document_workload(args: argparse.Namespace, weights: Mapping[str, float], generators: int) -> dict[str, Any]:
    """Return the whole workload of completed arguments, by option, ready for `json.dumps`.

    Also what was found is in it: the models that are ready, and the number of generators. Options that are not used,
    such as those of sessions without sessions, are None.
    """
    workload = {name: getattr(args, name) for name in WORKLOAD_OPTIONS}
    if not args.sessions:
        workload |= {"think": None, "steps": None}
    if args.closed or args.sessions:
        workload["arrivals"] = None
    if args.arrivals != "gamma":
        workload["gap_cv"] = None
    workload["processes"] = generators
    for name in ("slo", "length", "batch"):
        workload[name] = None if workload[name] is None else workload[name].text
    digest = None if args.inputs is None else _digest(args.inputs)
    inputs = None if args.inputs is None else str(args.inputs)
    return {"models": dict(weights), **workload, "inputs": inputs, "inputs_sha256": digest}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _as_word(name: str, value: object) -> str:
    """Return an option's value as on the command line."""
    if name == "think" and isinstance(value, int | float):
        return f"{value:.9f}s" if value else "0"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnreadableInput(f"{path}: cannot be read ({error.strerror})") from error

"""`rnnserve doctor`: look at a configuration of `rnnserve serve`, and at the machine, before anything is started."""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rnnserve.server.commands.command_settings import HTTP_PORT
from rnnserve.server.commands.configuration import CONFIG_VARIABLE, Configuration, MissingOption, read_configuration
from rnnserve.server.commands.http_gateway import HTTP_PACKAGES
from rnnserve.server.commands.options import add_options, given_options
from rnnserve.server.errors import StartError
from rnnserve.server.examining.examination import Processes, findings
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (StartError,)

_EPILOG = """
A line for each finding: ok, warning (a server starts, and something may be missed) or problem (it does not start, or
serves less), what it is about, what was found, and what to do. Options, variables and the file of --config are those of
`rnnserve serve`: give both commands the same. Nothing is served, loaded or written; ports are tried for a moment.

examples:
  rnnserve doctor repository
  rnnserve doctor --config serve.toml --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: those of `rnnserve serve`, and the form of the answer."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add_options(parser)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"file in TOML with options, as of `rnnserve serve` (default: that of {CONFIG_VARIABLE})",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    try:
        configuration = read_configuration(given_options(args), args.config, os.environ)
    except MissingOption as missing:
        args.refuse(str(missing))
    except StartError as error:
        found = [Finding(PROBLEM, "options", str(error))]
    else:
        found = [_options(configuration), *findings(configuration.settings, _processes(configuration))]
    problems, warnings = (sum(finding.level == level for finding in found) for level in (PROBLEM, WARNING))
    if args.json:
        listed = [dataclasses.asdict(finding) for finding in found]
        print(
            json.dumps({"problems": problems, "warnings": warnings, "findings": listed}, indent=2, ensure_ascii=False)
        )
    else:
        print("\n".join(_lines(found, problems, warnings)))
    return 1 if problems else 0


def _options(configuration: Configuration) -> Finding:
    changed = " ".join(configuration.changed())
    return Finding(OK, "options", f"{configuration.settings.repository}: {changed or 'defaults'}")


def _processes(configuration: Configuration) -> Processes:
    command = configuration.command
    return Processes(
        command.workers, command.http_port, HTTP_PORT, command.no_http, HTTP_PACKAGES, command.metrics_port
    )


def _lines(found: Sequence[Finding], problems: int, warnings: int) -> list[str]:
    counted = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((problems, PROBLEM), (warnings, WARNING))
        if count
    ]
    return [*[finding.line() for finding in found], f"{', '.join(counted)}." if counted else "Nothing is to be mended."]

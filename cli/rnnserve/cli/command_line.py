"""Runs a command line: finds the module of the command, imports only that one, and tells what went wrong in one line.

The module of a command has `add_arguments(parser)`, `run(args) -> int` (the exit status) and `MISTAKES`, the exceptions
that report a user's mistake: each is printed as one line. So are failures of the surroundings, such as a full disk
(`failures`), and limits that are too low (`limits`). Any other exception is a defect and shows its traceback.

Written with argparse and not with click or Typer, for the sake of start-up time: `rnnserve infer` is run once per file,
and importing argparse takes 7 ms, click 26 ms.
"""

import signal
import sys
from collections.abc import Sequence

from rnnserve.cli.command_table import COMMANDS, CommandModule, import_command
from rnnserve.cli.exit_statuses import exit_text
from rnnserve.cli.failures import describe_os_error, explain
from rnnserve.cli.global_arguments import read_global_arguments
from rnnserve.cli.limits import missing
from rnnserve.cli.parser import CommandParser
from rnnserve.cli.streams import discard_output, open_streams, output_error, say

__all__ = ["run_command_line"]

_BROKEN_PIPE = 141
"""Exit status of a program that SIGPIPE ends: 128 and its number."""

_INTERRUPTED = 130


def run_command_line(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: The arguments; None for `sys.argv`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    runner = _Runner()
    try:
        status = runner.run(arguments)
    except SystemExit:
        failed = runner.failed_output()
        if failed is None:
            raise
        return failed
    except KeyboardInterrupt:
        if argv is None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one must not interrupt Python's end: a traceback
        return _INTERRUPTED
    except Exception as error:
        failed = runner.failed_output()  # first of all: a command takes any OSError for one of its own files
        if failed is not None:
            return failed
        line = runner.line_for(error)
        if not line:
            raise
        say(line)
        return 1
    failed = runner.failed_output()
    return status if failed is None else failed


class _Runner:
    """Runs one command line.

    Attributes:
        program: What messages begin with: `rnnserve`, and the command once it is chosen.
    """

    def __init__(self) -> None:
        self.program = "rnnserve"
        self._arguments: Sequence[str] = ()
        self._command: CommandModule | None = None

    def run(self, arguments: Sequence[str]) -> int:
        """Parse, import and run.

        Raises:
            SystemExit: Help was asked for, or the command line is wrong.
        """
        self._arguments = arguments
        name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
        if name:
            self.program = f"rnnserve {name}"
        if not open_streams(needs_output=name != "serve"):
            say(f"{self.program}: standard output is closed; give it a place, such as >/dev/null")
            return 1
        if not name:
            read_global_arguments(arguments)
        entry = COMMANDS[name]
        lack = missing(entry.needs) if entry.needs is not None else ""
        if lack:
            say(f"{self.program}: {lack}")
            return 1
        self._command = import_command(name, entry)
        parser = CommandParser(prog=self.program, description=f"{entry.help[0].upper()}{entry.help[1:]}.")
        self._command.add_arguments(parser)
        parser.help_end = lambda: exit_text(name)
        return self._command.run(parser.parse_args(list(arguments[1:])))

    def failed_output(self) -> int | None:
        """Write what is left of the output; return the exit status if that is not possible, else None."""
        error = output_error()
        if error is None:
            return None
        discard_output()
        if isinstance(error, BrokenPipeError):
            # The reader of the output has ended, as in `rnnserve … | head`: there is nothing to tell.
            return _BROKEN_PIPE
        say(f"{self.program}: standard output cannot be written: {error.strerror}")
        return 1

    def line_for(self, error: Exception) -> str:
        """Return the line for an exception that is no defect; empty for one that is."""
        if self._command is not None and isinstance(error, self._command.MISTAKES):
            # The text of an OSError that Python raised begins with a number; a class of ours has a sentence.
            if isinstance(error, OSError) and not type(error).__module__.startswith("rnnserve"):
                said = describe_os_error(error)
            else:
                said = "; ".join([str(error), *getattr(error, "__notes__", ())])
        else:
            said = explain(error) or self._undecodable(error)
        return f"{self.program}: {said}" if said else ""

    def _undecodable(self, error: Exception) -> str:
        """Say which argument is not text, where that is why it could not be sent: Python keeps bytes as surrogates."""
        if not isinstance(error, UnicodeEncodeError) or "surrogates" not in error.reason:
            return ""
        wrong = [word for word in self._arguments if any("\udc80" <= character <= "\udcff" for character in word)]
        return f"the argument {wrong[0]!a} is not text in the encoding of this system (see `locale`)" if wrong else ""

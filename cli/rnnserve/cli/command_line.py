"""Runs a command line: imports only the command's module, and reports an error in one line.

A command's module has `add_arguments(parser)`, `run(args) -> int` (the exit status) and `MISTAKES`, the exceptions for
a user's mistakes. Each mistake is printed as one line. So are failures of the environment, such as a full disk
(`failures`), and process limits below the command's needs (`limits`). Any other exception is a defect and shows its
traceback.

This uses argparse instead of click or Typer because of the start-up time: users run `rnnserve infer` once per file, and
importing argparse takes 7 ms but click 26 ms.
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
"""Exit status of a program ended by SIGPIPE: 128 plus the signal's number."""

_INTERRUPTED = 130


def run_command_line(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: The arguments, or None for `sys.argv`.
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
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C during the exit would print a traceback
        return _INTERRUPTED
    except Exception as error:
        failed = runner.failed_output()  # check this first, because a command blames any OSError on its own files
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
        program: The beginning of messages: `rnnserve`, followed by the command once it is known.
    """

    def __init__(self) -> None:
        self.program = "rnnserve"
        self._arguments: Sequence[str] = ()
        self._command: CommandModule | None = None

    def run(self, arguments: Sequence[str]) -> int:
        """Parse, import and run.

        Raises:
            SystemExit: The command line asks for help or is wrong.
        """
        self._arguments = arguments
        name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
        if name:
            self.program = f"rnnserve {name}"
        if not open_streams(needs_output=name != "serve"):
            say(f"{self.program}: standard output is closed; redirect it, for example to /dev/null")
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
        """Flush the output. Return the exit status if that fails, or else None."""
        error = output_error()
        if error is None:
            return None
        discard_output()
        if isinstance(error, BrokenPipeError):
            # The reader of the output has ended, as in `rnnserve … | head`, which isn't an error.
            return _BROKEN_PIPE
        say(f"{self.program}: standard output cannot be written: {error.strerror}")
        return 1

    def line_for(self, error: Exception) -> str:
        """Return the error line for an exception, or an empty string if the exception is a defect."""
        if self._command is not None and isinstance(error, self._command.MISTAKES):
            # The text of Python's own OSErrors begins with a number. Our subclasses have a sentence.
            if isinstance(error, OSError) and not type(error).__module__.startswith("rnnserve"):
                said = describe_os_error(error)
            else:
                said = "; ".join([str(error), *getattr(error, "__notes__", ())])
        else:
            said = explain(error) or self._undecodable(error)
        return f"{self.program}: {said}" if said else ""

    def _undecodable(self, error: Exception) -> str:
        """Name the undecodable argument if it caused the error. Python represents its bytes as surrogates."""
        if not isinstance(error, UnicodeEncodeError) or "surrogates" not in error.reason:
            return ""
        wrong = [word for word in self._arguments if any("\udc80" <= character <= "\udcff" for character in word)]
        return f"the argument {wrong[0]!a} is not text in the encoding of this system (see `locale`)" if wrong else ""

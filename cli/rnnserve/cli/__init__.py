"""The console script `rnnserve`: finds the module of a command, and imports only that module.

The module of a command has `add_arguments(parser)`, `run(args) -> int` (the exit status) and `MISTAKES`, the exceptions
that report a user's mistake: each is printed as one line. Any other exception is a defect and shows its traceback.

Written with argparse and not with click or Typer, for the sake of start-up time: `rnnserve infer` is run once per file,
and importing argparse takes 7 ms, click 26 ms.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple, Protocol, cast

__all__ = ["main"]


class _CommandModule(Protocol):
    """The module of a command."""

    MISTAKES: tuple[type[Exception], ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments, with a help text for each."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and return its exit status."""


class _CommandEntry(NamedTuple):
    """Where a command is, and the extra with what it needs; empty where the package alone has it."""

    module: str
    extra: str
    help: str


_COMMANDS = {
    "train": _CommandEntry(
        "rnnserve.models.commands.train", "train", "train the direction classifiers and write checkpoints"
    ),
    "export": _CommandEntry("rnnserve.export.commands.export", "export", "export checkpoints, prove and publish them"),
    "verify": _CommandEntry("rnnserve.export.commands.verify", "export", "prove the contents of a repository again"),
    "check": _CommandEntry(
        "rnnserve.export.commands.check", "export", "compare an ONNX file of any exporter with its module"
    ),
    "import": _CommandEntry(
        "rnnserve.export.commands.import_model", "export", "publish an ONNX file of any exporter as adopted"
    ),
    "inspect": _CommandEntry(
        "rnnserve.cli.commands.inspect", "", "show what a repository holds: tensors, roles, batching, proof"
    ),
    "serve": _CommandEntry("rnnserve.server.commands.serve", "server", "serve a repository over gRPC"),
    "infer": _CommandEntry("rnnserve.client.commands.infer", "client", "ask any model on a server; rows from a file"),
    "load": _CommandEntry(
        "rnnserve.client.commands.load", "client", "measure a server's latency, and the highest rate that it sustains"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: The arguments; None for `sys.argv`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="rnnserve",
        description="From any trained recurrent PyTorch module to a proven ONNX artifact and a gRPC service.",
        epilog="`rnnserve COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('rnnserve')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    command: _CommandModule | None = None
    for name, entry in _COMMANDS.items():
        description = f"{entry.help[0].upper()}{entry.help[1:]}."
        subparser = subparsers.add_parser(name, help=entry.help, description=description)
        # Only the chosen command's module is imported: `rnnserve serve` must never load torch.
        if name == chosen:
            command = _import_command(name, entry)
            command.add_arguments(subparser)
    args = parser.parse_args(arguments)
    if command is None:
        parser.error("the command is missing")
    try:
        return command.run(args)
    except BrokenPipeError:  # an OSError, which is among some commands' mistakes
        # The reader of our output has ended, as in `rnnserve … | head`, so an error message would not be read.
        sys.stderr.close()
        return 141
    except command.MISTAKES as mistake:
        print(f"rnnserve {args.command}: {mistake}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _import_command(name: str, entry: _CommandEntry) -> _CommandModule:
    # Read when gRPC is imported. By default it logs each failed TLS handshake too, beside the command's one line.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        return cast(_CommandModule, importlib.import_module(entry.module))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("rnnserve"):
            raise
        package = f"'rnnserve[{entry.extra}]'" if entry.extra else "rnnserve"
        sys.exit(f"rnnserve {name}: needs the package {missing.name}: pip install {package}")

"""The console script `rnnserve`: finds the area that brings a command, and imports nothing of the others.

A command is a module with `add_arguments(parser)`, `run(args) -> int` (the exit status) and `MISTAKES`, the exceptions
that tell users of a mistake of theirs: each is printed as one line. Anything else is a defect and shows its traceback.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

__all__ = ["main"]


class Command(Protocol):
    """What the module of a command holds."""

    MISTAKES: tuple[type[Exception], ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments, with help for each."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status."""


class _Entry(NamedTuple):
    module: str
    extra: str
    help: str


_COMMANDS = {
    "train": _Entry("rnnserve.models.commands.train", "train", "train the direction classifiers into checkpoints"),
    "export": _Entry("rnnserve.export.commands.export", "export", "export checkpoints, prove and publish them"),
    "verify": _Entry("rnnserve.export.commands.verify", "export", "prove again what a repository holds"),
    "serve": _Entry("rnnserve.server.commands.serve", "server", "serve a repository over gRPC"),
    "infer": _Entry("rnnserve.client.commands.infer", "client", "ask a server which way walks go round"),
    "load": _Entry(
        "rnnserve.client.commands.load", "client", "measure how fast a server answers, and up to which rate"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` where `argv` is None) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="rnnserve",
        description="From a trained recurrent classifier to a verified ONNX artifact and a gRPC service.",
        epilog="`rnnserve COMMAND --help` explains a command.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    command: Command | None = None
    for name, entry in _COMMANDS.items():
        # Only the chosen command's module is imported: `rnnserve serve` must never load torch.
        subparser = commands.add_parser(name, help=entry.help, description=f"{entry.help[0].upper()}{entry.help[1:]}.")
        if name == chosen:
            command = _load(name, entry)
            command.add_arguments(subparser)
    args = parser.parse_args(words)
    if command is None:
        parser.error("which command?")
    try:
        return command.run(args)
    except command.MISTAKES as mistake:
        print(f"rnnserve {args.command}: {mistake}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); there is nobody left to tell.
        sys.stderr.close()
        return 141
    except KeyboardInterrupt:
        return 130


def _load(name: str, entry: _Entry) -> Command:
    try:
        return cast(Command, importlib.import_module(entry.module))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("rnnserve"):
            raise
        sys.exit(f"rnnserve {name}: needs the package {missing.name}: pip install 'rnnserve[{entry.extra}]'")

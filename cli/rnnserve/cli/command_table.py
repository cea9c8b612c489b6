"""The commands of `rnnserve`: their modules, their extras, and their needs of memory and threads."""

import argparse
import importlib
import os
import sys
from types import MappingProxyType
from typing import NamedTuple, Protocol, cast

from rnnserve.cli.limits import Needs
from rnnserve.common.extras import missing_package

__all__ = ["COMMANDS", "CommandEntry", "CommandModule", "import_command"]


class CommandModule(Protocol):
    """The module of a command."""

    MISTAKES: tuple[type[Exception], ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments, with a help text for each."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and return its exit status."""


class CommandEntry(NamedTuple):
    """A command.

    Attributes:
        module: Its module.
        extra: The extra with its packages, or empty if it needs none.
        help: Its description.
        needs: Its needs of memory and threads. None if the command checks them itself.
    """

    module: str
    extra: str
    help: str
    needs: Needs | None


# numpy alone takes 150 MiB of address space, gRPC and its threads 80 more, torch and onnxruntime 800.
_NUMPY = Needs(memory=110, memory_of_core=25, threads=0, threads_of_core=1)
_TORCH = Needs(memory=840, memory_of_core=25, threads=4, threads_of_core=2)

COMMANDS = MappingProxyType(
    {
        "demo": CommandEntry(
            "rnnserve.load.commands.demo",
            "server,client",
            "begin here: serve, query, stream to and load-test a small bundled model",
            Needs(memory=230, memory_of_core=25, threads=19, threads_of_core=2),
        ),
        "train": CommandEntry(
            "rnnserve.models.commands.train",
            "train",
            "train the direction classifiers and write checkpoints",
            _TORCH._replace(memory=740),
        ),
        "export": CommandEntry(
            "rnnserve.export.commands.export", "export", "export, verify and publish checkpoints and modules", _TORCH
        ),
        "verify": CommandEntry(
            "rnnserve.export.commands.verify", "export", "verify the versions in a repository again", _TORCH
        ),
        "check": CommandEntry(
            "rnnserve.export.commands.check", "export", "compare an ONNX file of any exporter with its module", _TORCH
        ),
        "import": CommandEntry(
            "rnnserve.export.commands.import_model",
            "export",
            "publish an ONNX file from any exporter",
            _TORCH,
        ),
        "inspect": CommandEntry(
            "rnnserve.cli.commands.inspect",
            "",
            "show a repository's versions: tensors, roles, batching, verification",
            _NUMPY,
        ),
        "sign": CommandEntry(
            "rnnserve.cli.commands.sign",
            "sign",
            "sign a version, so that servers can verify who released it",
            _NUMPY,
        ),
        "serve": CommandEntry("rnnserve.server.commands.serve", "server", "serve a repository over gRPC", None),
        "token": CommandEntry(
            "rnnserve.server.commands.token", "", "make, list and revoke a server's access tokens", _NUMPY
        ),
        "web": CommandEntry(
            "rnnserve.web.commands.web",
            "web",
            "serve HTTP (REST v2) in front of a gRPC server",
            Needs(memory=230, memory_of_core=25, threads=7, threads_of_core=1),
        ),
        "ray": CommandEntry(
            "rnnserve.cluster.commands.ray",
            "ray",
            "run servers on the nodes of a Ray cluster, replace lost servers, and update them one by one",
            Needs(memory=1250, memory_of_core=75, threads=22, threads_of_core=2),  # measured while connected
        ),
        "infer": CommandEntry(
            "rnnserve.client.commands.infer",
            "client",
            "query any model on a server, with rows from a file",
            Needs(memory=330, memory_of_core=25, threads=7, threads_of_core=1),
        ),
        "health": CommandEntry(
            "rnnserve.client.commands.health",
            "client",
            "report whether a server, or one of its models, is ready (for probes)",
            Needs(memory=150, memory_of_core=25, threads=7, threads_of_core=1),
        ),
        "load": CommandEntry(
            "rnnserve.load.commands.load",
            "client",
            "measure a server's latency, and the highest rate that it sustains",
            Needs(memory=260, memory_of_core=25, threads=19, threads_of_core=2),
        ),
        "completion": CommandEntry(
            "rnnserve.cli.commands.completion",
            "",
            "print a script for a shell's completion of commands, options and values",
            Needs(memory=330, memory_of_core=25, threads=7, threads_of_core=1),
        ),
    }
)


def import_command(name: str, entry: CommandEntry) -> CommandModule:
    """Import the module of only this command, because `rnnserve serve` must never load torch.

    Raises:
        SystemExit: A package of its extra is missing.
    """
    # gRPC reads this when it is imported. By default it also logs each failed TLS handshake.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        return cast(CommandModule, importlib.import_module(entry.module))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("rnnserve"):
            raise
        extras = [entry.extra] if entry.extra else []
        sys.exit(f"rnnserve {name}: {missing_package(missing.name, *extras)}")

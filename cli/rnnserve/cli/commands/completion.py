"""`rnnserve completion`: print a shell's completion script for commands, options and values."""

import argparse

import shtab

from rnnserve.cli.every_parser import every_parser

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (OSError,)

_FILES, _FOLDERS = ("FILE", "PATH", ".onnx", ".npz"), ("REPOSITORY", "DIR", "FOLDER")
"""Endings of the names of arguments for files and for folders."""

_EPILOG = """\
The script leaves out commands whose packages are not installed. Print it again after you install more.

examples:
  source <(rnnserve completion bash)                                         for this shell
  rnnserve completion bash > ~/.local/share/bash-completion/completions/rnnserve
  rnnserve completion zsh > "${fpath[1]}/_rnnserve"
  rnnserve completion tcsh > ~/.rnnserve.tcsh && echo 'source ~/.rnnserve.tcsh' >> ~/.tcshrc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    parser = every_parser()
    _complete_paths(parser)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Complete arguments for files and folders, which are recognized by their names in the help."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list actions, and shtab does the same
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _complete_paths(command)
        elif isinstance(action.metavar, str) and action.metavar.endswith(_FOLDERS):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif isinstance(action.metavar, str) and action.metavar.endswith(_FILES):
            action.complete = shtab.FILE  # type: ignore[attr-defined]

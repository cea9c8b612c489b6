"""What the command line of `rnnserve serve` says, with an environment and a file if need be."""

import argparse
from collections.abc import Mapping

from rnnserve.server.commands import serve
from rnnserve.server.commands.options import Configuration, given_options, read_configuration


def configured(*words: str, environment: Mapping[str, str] | None = None) -> Configuration:
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    args = parser.parse_args(words)
    return read_configuration(given_options(args), args.config, environment or {})

"""The options for the connection to a server, for the commands `infer`, `health` and `load`."""

import argparse
import os
from typing import Any

__all__ = ["URL_HELP", "add_tls_options", "add_token_options", "connection_arguments"]

_VARIABLE = "RNNSERVE_TOKEN_FILE"

URL_HELP = (
    "the server's gRPC address, grpcs://HOST:PORT for TLS; of several HOST:PORT,HOST:PORT: each gets requests in turn "
    "(default %(default)s)"
)


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Declare the TLS options. Their names are the same as the arguments of `Client` and `parse_endpoint`."""
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        help="certificates of the authorities to trust, in PEM (default: those that the machine trusts)",
    )
    parser.add_argument(
        "--tls-certificate", metavar="FILE", help="client certificate chain in PEM, for a server that asks for one"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="private key of the client certificate, in PEM")


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Declare the token options. The token itself isn't an option, because other users can see the command line."""
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default=os.environ.get(_VARIABLE) or None,
        help=f"file with the token to bring, for a server that asks for one (default: that of {_VARIABLE})",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="send the token without TLS to another machine, where the way to it is safe",
    )


def connection_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Client` and `parse_endpoint` from these options."""
    names = ("tls_ca", "tls_certificate", "tls_key", "token_file", "insecure")
    return {name: getattr(args, name) for name in names}

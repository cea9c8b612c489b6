"""The options for the connection to a server, for the commands `infer`, `health` and `load`."""

import argparse
import os
from typing import Any

__all__ = ["URL_HELP", "add_tls_options", "add_token_options", "connection_arguments"]

_VARIABLE = "RNNSERVE_TOKEN_FILE"

URL_HELP = (
    "gRPC address of the server, or grpcs://HOST:PORT for TLS. To send requests to several servers in turn, pass "
    "HOST:PORT,HOST:PORT (default %(default)s)"
)


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Declare the TLS options. Their names are the same as the arguments of `Client` and `parse_endpoint`."""
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        help="PEM file with the CA certificates to trust (default: those of this machine)",
    )
    parser.add_argument(
        "--tls-certificate",
        metavar="FILE",
        help="PEM file with the client certificate chain, if the server requires one",
    )
    parser.add_argument("--tls-key", metavar="FILE", help="PEM file with the private key of the client certificate")


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Declare the token options. The token itself isn't an option, because other users can see the command line."""
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default=os.environ.get(_VARIABLE) or None,
        help=f"file with the token, if the server requires one (default: the file in {_VARIABLE})",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="allow sending the token without TLS to another machine, on a network that you trust",
    )


def connection_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Client` and `parse_endpoint` from these options."""
    names = ("tls_ca", "tls_certificate", "tls_key", "token_file", "insecure")
    return {name: getattr(args, name) for name in names}

"""The options that say how to connect to a server, for the commands `infer`, `health` and `load`."""

import argparse

__all__ = ["URL_HELP", "add_tls_options"]

URL_HELP = (
    "the server's gRPC address, grpcs://HOST:PORT for TLS; of several HOST:PORT,HOST:PORT, or file:///PATH of a file "
    "that lists them: each gets requests in turn (default %(default)s)"
)


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Declare the files for TLS; their names are those of the arguments of `Client` and `parse_endpoint`."""
    parser.add_argument(
        "--tls-ca",
        metavar="FILE",
        help="certificates of the authorities to trust, in PEM (default: those that the machine trusts)",
    )
    parser.add_argument(
        "--tls-certificate", metavar="FILE", help="client certificate chain in PEM, for a server that asks for one"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="private key of the client certificate, in PEM")

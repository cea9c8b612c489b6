"""`rnnserve token`: make, list and revoke the tokens of a server's file (`rnnserve serve --tokens`)."""

import argparse
import datetime as dt
from pathlib import Path

from rnnserve.protos.access_table import ROLES
from rnnserve.protos.names import is_model_name
from rnnserve.server.access.access_file import AccessFileError, AccessRow, add_token, listed_tokens, revoke_token

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (AccessFileError,)

_EPILOG = """
`new` prints the token once, alone on standard output; the file holds only its SHA-256. A server reads the file
again when it changes. Within a second, it refuses a revoked token and ends its streams.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="create a token and print it")
    listing = actions.add_parser("list", help="list the tokens: name, role, models and end of validity")
    revoke = actions.add_parser("revoke", help="remove a token from the file")
    for action in (new, listing, revoke):
        action.add_argument("--tokens", type=Path, required=True, metavar="FILE", help="the server's token file")
    for action in (new, revoke):
        action.add_argument("--name", required=True, help="name of the token: letters, digits, _ and -")
    new.add_argument("--role", required=True, choices=ROLES, help="role of the token; admin may do everything")
    new.add_argument(
        "--models",
        type=_read_models,
        metavar="NAMES",
        help="models that the token is valid for, separated by commas (default: all)",
    )
    new.add_argument(
        "--not-after",
        type=_read_end,
        metavar="TIME",
        help="end of validity, such as 2027-06-30 or 2027-06-30T12:00:00+02:00",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.action == "new":
        print(add_token(args.tokens, args.name, args.role, args.models, args.not_after))
    elif args.action == "revoke":
        revoke_token(args.tokens, args.name)
    else:
        for token in listed_tokens(args.tokens):
            print(_line(token))
    return 0


def _line(token: AccessRow) -> str:
    said = [token.name, token.role]
    if token.models is not None:
        said.append(f"models {','.join(sorted(token.models)) or 'none'}")
    if token.not_after is not None:
        said.append(f"not after {dt.datetime.fromtimestamp(token.not_after, dt.UTC).isoformat()}")
    return "  ".join(said)


def _read_models(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    wrong = [name for name in names if not is_model_name(name)]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of model names separated by commas")
    return names


def _read_end(text: str) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a date; expected 2027-06-30, or 2027-06-30T12:00:00Z"
        ) from None
    if found.tzinfo is None:
        if "T" in text or " " in text:
            raise argparse.ArgumentTypeError(f"{text!r} has no time zone; add Z, or an offset such as +02:00")
        found = found.replace(tzinfo=dt.UTC)
    return found

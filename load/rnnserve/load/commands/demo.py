"""`rnnserve demo`: serve a small bundled model, query it, stream to it, and load-test it."""

import argparse
import importlib.util
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rnnserve.client import Client, ClientError, Unavailable
from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.common.extras import missing_package
from rnnserve.load.commands import load
from rnnserve.load.local_server import serve_repository

__all__ = ["DEMO_MODELS", "MISTAKES", "MODEL", "add_arguments", "run"]

DEMO_MODELS = Path(__file__).parents[1] / "demo_models"
"""A repository with one model, made by `make demo-model`. See load/make_demo_model.py."""

MODEL = "odd_ones"

MISTAKES = (ClientError,)

_ROWS = ([1, 0, 1, 1], [1, 1], [0, 0, 1])
_STREAM = (1, 1, 0, 1)
_RATES = "250,1000"

_WHAT = "after each bit of a sequence, whether the number of ones so far is odd: 1, or 0"

_EXPLANATION = f"""\
The demo needs neither torch nor your own files. On a free port of 127.0.0.1, it

  serves     a bundled model, after verifying that it computes the same here as in PyTorch
  asks       for the results of rows of different lengths in one call
  streams    one bit at a time, and continues from the state
  measures   latency at {_RATES.replace(",", " and ")} requests a second

The model, {MODEL}, returns {_WHAT}.
"""

_NEXT = """\
Try next:
  rnnserve serve {folder}
                                     serve the same model on 127.0.0.1:8001; then, in a second terminal:
  echo '[[1, 0, 1, 1]]' | rnnserve infer {model}
  rnnserve load {model} --rate 500,1000,2000
  rnnserve inspect {folder}
                                     show what was verified
  pip install '.[all]'               in a clone of rnnserve, to publish your own module: see the README
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    parser.add_argument("--keep", action="store_true", help="keep serving until Ctrl-C")
    parser.add_argument(
        "--seconds",
        type=parse_seconds,
        default=2.0,
        help="duration of the load test at each rate (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve the model, call it in three ways, and print commands to try next."""
    if importlib.util.find_spec("onnxruntime") is None:
        sys.exit(f"rnnserve demo: {missing_package('onnxruntime', 'server', 'client')}")
    _print_step("model", f"{MODEL}, an nn.RNN: {_WHAT}")
    begun = time.monotonic()
    with serve_repository(DEMO_MODELS) as address:
        _print_step("served", f"{MODEL} on {address}, verified and ready after {time.monotonic() - begun:.1f} s")
        with Client(address) as client:
            _ask(client)
            _stream(client)
        _print_step("measured", f"rnnserve load {MODEL} --url {address} --rate {_RATES} --duration {args.seconds:g}")
        status = _measure(address, args.seconds)
        print()
        print(_NEXT.format(folder=shlex.quote(str(DEMO_MODELS)), model=MODEL), end="")
        if args.keep:
            print(f"\nServing on {address} until Ctrl-C.", flush=True)
            threading.Event().wait()
    return status


def _print_step(step: str, text: str) -> None:
    print(f"{step:9} {text}", flush=True)


def _ask(client: Client) -> None:
    for at, (bits, answer) in enumerate(zip(_ROWS, client.predict(MODEL, list(_ROWS)), strict=True)):
        _print_step("" if at else "asked", f"{bits} -> {_checked(answer['odd'].tolist(), bits)}")


def _stream(client: Client) -> None:
    with client.session(MODEL) as session:
        found = [session.step(bit)["odd"].item() for bit in _STREAM]
    _checked(found, _STREAM)
    answers = ", ".join(f"{bit} -> {odd}" for bit, odd in zip(_STREAM, found, strict=True))
    _print_step("streamed", f"a bit at a time: {answers}")


def _checked(found: list[int], bits: Sequence[int]) -> list[int]:
    """Compare answers with the true parities. Raises Unavailable if they differ."""
    expected = [sum(bits[: at + 1]) % 2 for at in range(len(bits))]
    if found != expected:
        raise Unavailable(f"the server returned {found} for {list(bits)}; expected {expected}. Please report this")
    return found


def _measure(address: str, seconds: float) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    load.add_arguments(parser)
    words = [MODEL, "--url", address, "--rate", _RATES, "--duration", f"{seconds:g}", "--length", "1:16"]
    return load.run(parser.parse_args(words))

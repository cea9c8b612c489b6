"""`rnnserve import`: import an ONNX file from any exporter."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.export.commands.shared_arguments import (
    add_former_timeout,
    add_repository,
    add_sign_arguments,
    batching_lines,
    check_file,
    check_repository,
    published_lines,
    read_seal,
)
from rnnserve.export.description.targets import check_model_name
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.tensors_in_words import axes_in_words, roles_in_words

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ExportError, ArtifactError, OSError)

_EPILOG = """\
The command has no module to compare the file with. It therefore marks the version "adopted: not compared with its
framework", and `rnnserve serve` serves it only with --allow-unproven. If you have the module, use `rnnserve export`, or
at least `rnnserve check`. The command still tests which requests can share a batch. It also records results, which
servers reproduce before they serve.

Axes whose names begin with "batch" are the batch axis; every other dynamic axis is a sequence axis. An INT64 or INT32
input (batch,) with "len" in its name holds the lengths of the only sequence axis. Inputs X_0 and outputs X_n of equal
axes are states. If the file doesn't say enough, the error names the option to add.

SAMPLES.npz holds real inputs by name, and the results that the model's framework returned for them as output:NAME. The
file must return the same results. If there are several samples, each name begins with a number and a slash: 0/input,
0/output:logits, 1/input.

examples:
  rnnserve import model.onnx --name tagger
  rnnserve import model.onnx --name tagger --axis x.0=batch --axis x.1=sequence --lengths n=sequence
  rnnserve import silero_vad.onnx --name vad --constant sr=16000 --size sequence=576 --fold steps --overlap input=64
  rnnserve import model.onnx --name forecaster --state hidden_out=hidden_in --samples samples.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "file", type=Path, metavar="MODEL.onnx", help="the ONNX file; a second file in its folder may have the weights"
    )
    parser.add_argument("--name", required=True, help="the model's name in the repository")
    for option, (kind, metavar, said) in _REPEATED.items():
        parser.add_argument(option, action="append", default=[], type=kind, metavar=metavar, help=said)
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="an output to publish (default: all)"
    )
    parser.add_argument(
        "--labels", type=lambda text: text.split(","), default=[], metavar="A,B,…", help="names of the classes"
    )
    parser.add_argument(
        "--fold",
        default="",
        metavar="AXIS",
        help="run a file that computes one step over all steps of a sequence, and give the sequence axis this name",
    )
    add_former_timeout(parser)
    parser.add_argument("--samples", type=Path, metavar="SAMPLES.npz", help="real inputs with expected outputs")
    add_repository(parser)
    add_sign_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Import the file, and print its inputs, outputs and batching."""
    check_model_name(args.name)
    check_file(args.file)
    if args.samples:
        check_file(args.samples)
    check_repository(args.repository)
    if args.overlap and not args.fold:
        raise WrongArguments("--overlap is for files of one step: add --fold AXIS")
    seal = read_seal(args)

    # torch takes seconds to import, so cheap checks come first
    from rnnserve.export.onnx_import import Roles, import_onnx
    from rnnserve.export.onnx_import.samples import read_samples

    roles = Roles(
        axes=dict(args.axis),
        lengths=dict(args.lengths),
        states=dict(args.state),
        integers=dict(args.integers),
        sizes={axis: sizes for axis, sizes in args.size if not isinstance(sizes, int)},
        fixed={axis: size for axis, size in args.size if isinstance(size, int)},
        constants=dict(args.constant),
        outputs=args.output,
        labels=args.labels,
        fold=args.fold,
        overlaps=dict(args.overlap),
    )
    samples = read_samples(args.samples) if args.samples else ()
    done = import_onnx(args.file, args.name, args.repository, roles, samples, seal)
    lines = [*_tensors("input", done.manifest.inputs), *_tensors("output", done.manifest.outputs)]
    lines += [*batching_lines(done), *done.manifest.parity.checks, *published_lines(done, args)]
    print("\n".join([*lines, "`rnnserve serve --allow-unproven` serves it"]))
    return 0


def _tensors(kind: str, tensors: Sequence[manifest_pb2.Tensor]) -> Iterator[str]:
    for tensor in tensors:
        roles = "; ".join(roles_in_words(tensor))
        yield f"{kind:<6}  {tensor.name} {tensor.datatype} {axes_in_words(tensor)}  {roles}".rstrip()


def _pair(text: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not (left and sign and right):
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form NAME=NAME")
    return left, right


def _axis(text: str) -> tuple[tuple[str, int], str]:
    tensor, dot, at = (place := _pair(text))[0].rpartition(".")
    if not (tensor and dot and at.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form TENSOR.AT=NAME, such as input.0=batch")
    return (tensor, int(at)), place[1]


def _overlap(text: str) -> tuple[str, tuple[int, int]]:
    name, count = _pair(text)
    if not count.isdecimal() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form INPUT=VALUES, such as input=64")
    tensor, dot, at = name.rpartition(".")
    return (tensor, (int(at), int(count))) if dot and at.isdecimal() else (name, (-1, int(count)))


def _size(text: str) -> tuple[str, tuple[int, int] | int]:
    name, sign, size = text.rpartition("=")
    if name and sign and size.isdecimal() and int(size) > 0:
        return name, int(size)
    return _range(text)


def _range(text: str) -> tuple[str, tuple[int, int]]:
    name, bounds = _pair(text)
    low, _, high = bounds.partition(":")
    try:
        found = int(low), int(high)
    except ValueError:
        found = (1, 0)
    if found[0] > found[1]:
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form NAME=LOW:HIGH")
    return name, found


_REPEATED = {
    "--axis": (
        _axis,
        "TENSOR.AT=NAME",
        "name an axis by its position, such as input.0=batch (you can repeat this and the following options)",
    ),
    "--lengths": (_pair, "INPUT=AXIS", "an input with the number of steps of each row along a sequence axis"),
    "--state": (_pair, "OUTPUT=INPUT", "an output that is a state, and the input that continues it"),
    "--integers": (
        _range,
        "INPUT=LOW:HIGH",
        "integers that an input accepts, LOW to HIGH - 1 (default: the rows of the embedding)",
    ),
    "--size": (
        _size,
        "AXIS=LOW:HIGH",
        "sizes that the model accepts (default: all); AXIS=SIZE fixes the size, for example of a chunk, and the axis "
        "is no longer a sequence",
    ),
    "--constant": (
        _pair,
        "INPUT=VALUE",
        "the value of an input for all requests, such as sr=16000",
    ),
    "--overlap": (
        _overlap,
        "INPUT=VALUES",
        "with --fold: the number of values at the end of a step that also begin the next step; requests leave them "
        "out. INPUT.AT=VALUES: along another axis than the last",
    ),
}
"""Options that may be repeated: how they are read, and their help."""

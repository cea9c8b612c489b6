"""Turn a publication into a published version: describe, export, script and verify it, and only then write files."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxscript
import torch
from torch import nn
from tqdm import tqdm

from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import InputDescription, InputDescriptions, Publication, StateTree
from rnnserve.export.errors import ExportError, ParityError
from rnnserve.export.file_check import differing_operator
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.golden_cases import GoldenCases, verify_cases
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, Reference, Verification, verify_parity
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.parity.verification import reference_of
from rnnserve.export.publishing import (
    OtherGraph,
    Published,
    Seal,
    check_config,
    publish_tried,
    render_config,
    triton_keeps_states,
)
from rnnserve.export.recurrent_guard import describe_finiteness
from rnnserve.export.surroundings import left_as_they_were, one_thread
from rnnserve.export.torchscript import script_bytes, script_model
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import (
    FORMAT,
    FORMAT_OF_DEFAULTS,
    GOLDEN,
    MANIFEST,
    MODEL,
    SCAN,
    SCRIPT,
    describe_file,
    dump_manifest,
)
from rnnserve.protos.golden import dump_cases
from rnnserve.protos.serving_graph import choose_file

__all__ = ["ExportResult", "ScanFile", "describe_version", "publish", "try_lowering"]

_STAGES = (
    "signature: runs the module at several sizes, and on long sequences",
    "ONNX: captures and translates the module",
    "TorchScript",
    "verification: compares with eager and float64",
    "golden results: chooses rows with little rounding",
    "scan: tries loops instead of RNN operators",
    "parts: finds the states between steps",
    "publish: the server tries the version",
)


_KEEPS_BITS = manifest_pb2.ServingGraph(
    file=MODEL, reason=f"answers have the same bits in every batch, which is not true of {SCAN}"
)
"""The serving graph if the server's load check finds that model.onnx keeps more bits."""


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        name: The model's name.
        published: The version's folder and number, and whether it is new.
        manifest: The version's manifest, with the parity record.
        unscripted: Why model.pt is missing. Empty if it exists.
        unlowered: Why model.scan.onnx is missing. Empty if it exists, or if the model has no RNN operator.
        untried: Why the server didn't check the version. Empty if the server checked and accepted it.
    """

    name: str
    published: Published
    manifest: manifest_pb2.Manifest
    unscripted: str = ""
    unlowered: str = ""
    untried: str = ""


def publish(
    module: nn.Module | Publication,
    name: str = "",
    *,
    repository: Path | str,
    inputs: InputDescriptions | None = None,
    outputs: Sequence[str] | Mapping[str, InputDescription] = (),
    states: Mapping[str, str] | None = None,
    state_attributes: Sequence[str] | Mapping[str, InputDescription | StateTree] = (),
    labels: Sequence[str] = (),
    samples: Sequence[Mapping[str, npt.NDArray[Any]]] = (),
    sizes: Mapping[str, tuple[int, int]] | None = None,
    sequences: bool | None = None,
    allow_non_finite: bool = False,
    constants: Mapping[str, Any] | None = None,
    progress: bool = True,
    seal: Seal = lambda *_: None,
) -> ExportResult:
    """Export a module, verify the export, and publish it as a model's next version.

    If the verification fails, nothing is published. The same module and description always produce the same bytes.

    Args:
        module: Any nn.Module that `export_onnx` accepts, on the CPU. It runs in evaluation mode and is restored
            afterwards. You can also pass a `Publication`, which contains all other arguments except `repository`,
            `progress` and `seal`.
        name: Name of the model.
        repository: Folder where models are published, as `<repository>/<model>/<version>`.
        inputs: Descriptions by the names of forward's parameters, in order: `Floats`, `Integers`, `Lengths`, `Mask` or
            `Flags`. For a parameter with a tuple or dict of tensors, pass a dict from names to descriptions. For a
            nested state, pass a `StateTree`.
        outputs: Names of forward's results, in order. Nested results are flattened.
        states: The input that each state output becomes in the next request: {"h_n": "h_0"}.
        state_attributes: Attributes of the module that keep states between calls: see `Publication`.
        labels: Names of the classes.
        samples: Real inputs, each a dict of arrays by input name. You can omit lengths and states.
        sizes: The smallest and the largest size of a dynamic axis that the module accepts: {"sequence": (5, 64)}. No
            row is shorter.
        sequences: Whether config.pbtxt makes Triton keep the states between requests: see `Publication`.
        allow_non_finite: Whether NaN and infinity are among the module's ordinary values: see `Publication`.
        constants: Values of forward's parameters with the same value in every request: {"temperature": 1.0}.
        progress: Whether to show a progress bar on standard error.
        seal: Function to call before the version is published, with its folder and its number. It can sign the version,
            as `rnnserve export --sign-key` does.

    Raises:
        WrongArguments: If the description doesn't fit the module. Nothing has been exported.
        UnsupportedModule: If the module can't be exported correctly or can't be served.
        ParityError: If the export computes other results than the module.
        ExportError: If the version can't be published.
        ArtifactError: If the model's config.pbtxt in the repository has other tensors.
        OSError: If the repository can't be written.

    Example:
        import torch
        from rnnserve.export import Floats, publish

        result = publish(
            torch.nn.GRU(3, 8, batch_first=True).eval(),  # with your weights
            "gru",
            repository="own_models",
            inputs={"input": Floats("batch", "sequence", 3), "hx": Floats(("layers", 1), "batch", ("hidden", 8))},
            outputs=["output", "h_n"],
            states={"h_n": "hx"},
            progress=False,
        )
        print(result.name, result.published.folder)  # gru own_models/gru/1
    """
    publication = module
    if not isinstance(publication, Publication):
        publication = Publication(
            publication,
            name,
            inputs or {},
            outputs,
            states or {},
            labels,
            samples,
            sizes or {},
            sequences=sequences,
            allow_non_finite=allow_non_finite,
            constants=constants or {},
            state_attributes=state_attributes,
        )
    return _publish(publication, Path(repository), progress=progress, seal=seal)


def _publish(publication: Publication, repository: Path, *, progress: bool, seal: Seal) -> ExportResult:
    with (
        left_as_they_were(publication.module),
        one_thread(),
        tqdm(total=len(_STAGES), unit="stage", leave=False, disable=not progress) as bar,
    ):
        stages = iter(_STAGES)

        def advance(done: int = 1) -> None:
            bar.update(done)
            bar.set_description(next(stages))

        advance(0)
        with left_as_they_were(publication.module):  # the export must not begin after the calls of the description
            model = describe_model(publication)
        keeps_states = triton_keeps_states(publication, model.inputs, model.sizes)
        if repository.exists() and not repository.is_dir():
            raise ExportError(f"the repository {repository} is a file, expected a folder")
        check_config(repository / model.name, model.inputs, model.outputs)
        advance()
        onnx_model = to_onnx(model)  # also corrects the axes of the outputs
        config = render_config(model.name, model.inputs, model.outputs, keeps_states=keeps_states)
        advance()
        scripted, unscripted = script_model(model)
        advance()
        with evaluating(model.module):
            reference = reference_of(model)
        try:
            verification = verify_parity(model, scripted, onnx_model, progress=progress, reference=reference)
        except ParityError as error:
            operator = differing_operator(model, onnx_model)  # the first operator whose result is missing in the export
            if not operator:
                raise
            raise ParityError([*error.failures, operator]) from error
        if verification.script_rounding:
            scripted, unscripted = None, f"it computes in a different order than eager. {verification.script_rounding}"
        advance()
        rows_apart = verification.batching.mode != manifest_pb2.BATCHING_ALONE
        golden = verify_cases(model, OnnxRunner(onnx_model), reference, rows_apart=rows_apart)
        advance()
        scan, unlowered = try_lowering(model, onnx_model, golden, verification.batching, reference, progress=progress)
        advance()
        made = {MODEL: onnx_model}
        if scripted is not None:
            made[SCRIPT] = script_bytes(scripted)
        if scan is not None:
            made[SCAN] = scan.data
            lowered = scan.verification.batching
            if lowered.HasField("rows"):
                verification.batching.scan_rows.CopyFrom(lowered.rows)
            if lowered.HasField("padding"):
                verification.batching.scan_padding.CopyFrom(lowered.padding)
        file, reason = choose_file(onnx_model)
        graph = None if scan is None else manifest_pb2.ServingGraph(file=file, reason=reason)

        def publish_on(graph: manifest_pb2.ServingGraph | None) -> tuple[Published, str, manifest_pb2.Manifest]:
            parts = find_parts(model, MODEL if graph is None else graph.file, made, OnnxRunner)
            files = {**made, GOLDEN: dump_cases(golden.cases), **parts.files(model.defaults)}
            manifest = describe_version(model, verification, golden, files, parts=parts.record)
            scan_parity = None if scan is None else scan.verification.parity
            manifest.MergeFrom(manifest_pb2.Manifest(graph=graph, scan_parity=scan_parity))
            # Write the manifest last: if the file system loses the rename, no version has a manifest without its files.
            files[MANIFEST] = dump_manifest(manifest)
            return *publish_tried(repository / model.name, files, config, seal=seal), manifest

        advance()
        try:
            published, untried, manifest = publish_on(graph)
        except OtherGraph:
            published, untried, manifest = publish_on(_KEEPS_BITS)
        bar.update()
    return ExportResult(model.name, published, manifest, unscripted, unlowered, untried)


@dataclass(frozen=True)
class ScanFile:
    """model.scan.onnx: the model with loops instead of RNN operators, verified in the same way as model.onnx."""

    data: bytes
    verification: Verification


_MODES = (
    manifest_pb2.BATCHING_UNSPECIFIED,
    manifest_pb2.BATCHING_PADDED,
    manifest_pb2.BATCHING_JOINED,
    manifest_pb2.BATCHING_ALONE,
)
"""Batching modes, from the most to the least permissive."""


def try_lowering(
    model: DescribedModel,
    onnx_model: bytes,
    golden: GoldenCases,
    batching: manifest_pb2.Batching,
    reference: Reference | None = None,
    *,
    progress: bool = True,
) -> tuple[ScanFile | None, str]:
    """Replace a verified model's RNN operators by loops, and verify the result in full, including the golden cases.

    If the result fails, returns None and the reason, and the model is published without it. If no RNN operator can be
    replaced, returns None and an empty string.
    """
    data = lower_rnn(onnx_model)
    if data is None:
        return None, ""
    what, failures = "does not reproduce the golden results", list[str]()
    try:
        verification = verify_parity(model, None, data, progress=progress, reference=reference)
        with evaluating(model.module):
            failures = golden.failures(model, OnnxRunner(data))
        if _MODES.index(verification.batching.mode) > _MODES.index(batching.mode):
            what, failures = "cannot share batches as model.onnx can", list(verification.batching.reasons)
    except ParityError as error:
        what, failures = "computes something else", list(error.failures)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return None, f"it {what}: {failures[0]}{more}"
    return ScanFile(data, verification), ""


def describe_version(
    model: ModelDescription,
    verification: Verification,
    golden: GoldenCases,
    files: Mapping[str, bytes],
    origin: manifest_pb2.Origin.ValueType = manifest_pb2.ORIGIN_EXPORTED,
    parts: manifest_pb2.Parts | None = None,
) -> manifest_pb2.Manifest:
    """Create a version's manifest, without its digest. It omits the time, place and author of the export."""
    outputs = []
    for tensor in model.outputs:
        described = manifest_pb2.Tensor()
        described.CopyFrom(tensor)
        described.zeros_after_lengths = tensor.name in verification.zeros_after_lengths
        outputs.append(described)
    by_own_default = any(
        tensor.default == manifest_pb2.DEFAULT_RECORDED or tensor.left_out_with for tensor in model.inputs
    )
    return manifest_pb2.Manifest(
        format=FORMAT_OF_DEFAULTS if by_own_default else FORMAT,
        model=model.name,
        labels=model.labels,
        inputs=model.inputs,
        outputs=outputs,
        files=[describe_file(file, data) for file, data in sorted(files.items())],
        checkpoint_sha256=model.checkpoint_sha256,
        versions=_versions(),
        parity=verification.parity,
        replay_limits=replay_limits(step=golden.step, sequence=golden.sequence),
        batching=verification.batching,
        origin=origin,
        causality=verification.causality,
        parts=parts,
        finiteness=describe_finiteness(
            files[MODEL],
            finite_inputs=not model.allow_non_finite,
            infinite=model.infinite_inputs,
            is_guarded=origin == manifest_pb2.ORIGIN_EXPORTED,
        ),
    )


def _versions() -> dict[str, str]:
    # Read the versions from the modules, because onnxruntime comes in several distributions with different names.
    return {
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnxscript": onnxscript.__version__,
        "python": platform.python_version(),
        "rnnserve": importlib.metadata.version("rnnserve"),
        "torch": str(torch.__version__),
    }

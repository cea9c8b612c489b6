"""From a publication to a published version: describe, export, script, prove, and only then write."""

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

from rnnserve.common.lasting_imports import rare_collections
from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import InputDescription, InputDescriptions, Publication, StateTree
from rnnserve.export.errors import ExportError, ParityError
from rnnserve.export.file_check import differing_operator
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.golden_cases import GoldenCases, prove_cases
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, Proof, Reference, prove
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import replay_limits
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
    "description: runs the module at several sizes, and on long sequences",
    "ONNX: captures and translates it",
    "TorchScript",
    "proof: compares with eager and float64",
    "golden results: chooses rows that round little",
    "scan: tries loops in place of RNN operators",
    "parts: finds what is carried from step to step",
    "publish: the server tries the version",
)


_KEEPS_BITS = manifest_pb2.ServingGraph(file=MODEL, reason=f"answers keep bits on it that they do not keep on {SCAN}")
"""What serves if the server's own trial has found so."""


@dataclass(frozen=True)
class ExportResult:
    """What an export has published.

    Attributes:
        name: The model.
        published: Where the version is, and whether it is new.
        manifest: The version's manifest, with the parity record.
        unscripted: Why there is no model.pt; empty where there is one.
        unlowered: Why there is no model.scan.onnx; empty where there is one, or the model has no RNN operator.
        untried: Why the server has not tried the version; empty where it has, and takes it.
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
    """Export a module, prove the export, and publish it as a model's next version.

    Nothing is published whose proof fails, and the same module and description give the same bytes.

    Args:
        module: Any nn.Module that `export_onnx` takes, on the CPU. It is used in evaluation mode, and left as it was.
            Or a `Publication`, which holds all that follows but `repository`, `progress` and `seal`.
        name: Name of the model.
        repository: Folder where models are published, as `<repository>/<model>/<version>`.
        inputs: Descriptions by the names of forward's parameters, in its order: `Floats`, `Integers`, `Lengths`,
            `Mask` or `Flags`; for a parameter that is a tuple or a dict of tensors a dict of names and such
            descriptions; for a nested state a `StateTree`.
        outputs: Names of what forward returns, in its order, nested ones flattened.
        states: Input that an output continues as: {"h_n": "h_0"}.
        state_attributes: Attributes of the module that hold states from call to call: see `Publication`.
        labels: Names of the classes.
        samples: Real inputs, each a dict of arrays by input name; lengths and states may be left out.
        sizes: The smallest and the largest size of a dynamic axis that the module takes: {"sequence": (5, 64)}. No row
            is shorter.
        sequences: Whether config.pbtxt tells Triton to keep the states between requests: see `Publication`.
        allow_non_finite: Whether NaN and infinity are among the module's ordinary values: see `Publication`.
        constants: Values of parameters of forward that are the same in every request: {"temperature": 1.0}.
        progress: Whether to show a progress bar on standard error.
        seal: Function that is called with the folder of a version, and the number with which it is about to be
            published: it may sign it, as `rnnserve export --sign-key` does.

    Raises:
        WrongArguments: If the description does not fit the module; nothing has been exported.
        UnsupportedModule: If the module cannot be exported right, or not be served.
        ParityError: If the export does not compute the same.
        ExportError: If it cannot be published.
        ArtifactError: If the repository's config.pbtxt of the model has other tensors.
        OSError: If the repository cannot be written.

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
        rare_collections(),
        tqdm(total=len(_STAGES), unit="stage", leave=False, disable=not progress) as bar,
    ):
        stages = iter(_STAGES)

        def advance(done: int = 1) -> None:
            bar.update(done)
            bar.set_description(next(stages))

        advance(0)
        model = describe_model(publication)
        keeps_states = triton_keeps_states(publication, model.inputs, model.sizes)
        if repository.exists() and not repository.is_dir():
            raise ExportError(f"the repository {repository} is a file, expected a folder")
        check_config(repository / model.name, model.inputs, model.outputs)
        advance()
        onnx_model = to_onnx(model)  # which settles the axes of outputs
        config = render_config(model.name, model.inputs, model.outputs, keeps_states=keeps_states)
        advance()
        scripted, unscripted = script_model(model)
        advance()
        with evaluating(model.module):
            reference = reference_of(model)
        try:
            proof = prove(model, scripted, onnx_model, progress=progress, reference=reference)
        except ParityError as error:
            operator = differing_operator(model, onnx_model)  # the first one whose result the export does not have
            if not operator:
                raise
            raise ParityError([*error.failures, operator]) from error
        if proof.script_rounding:
            scripted, unscripted = None, f"it computes in another order than eager. {proof.script_rounding}"
        advance()
        golden = prove_cases(model, OnnxRunner(onnx_model), reference)
        advance()
        scan, unlowered = try_lowering(model, onnx_model, golden, proof.batching, reference, progress=progress)
        advance()
        made = {MODEL: onnx_model}
        if scripted is not None:
            made[SCRIPT] = script_bytes(scripted)
        if scan is not None:
            made[SCAN] = scan.data
            lowered = scan.proof.batching
            if lowered.HasField("rows"):
                proof.batching.scan_rows.CopyFrom(lowered.rows)
            if lowered.HasField("padding"):
                proof.batching.scan_padding.CopyFrom(lowered.padding)
        file, reason = choose_file(onnx_model)
        graph = None if scan is None else manifest_pb2.ServingGraph(file=file, reason=reason)

        def publish_on(graph: manifest_pb2.ServingGraph | None) -> tuple[Published, str, manifest_pb2.Manifest]:
            parts = find_parts(model, MODEL if graph is None else graph.file, made, OnnxRunner)
            files = {**made, GOLDEN: dump_cases(golden.cases), **parts.files(model.defaults)}
            manifest = describe_version(model, proof, golden, files, parts=parts.record)
            scan_parity = None if scan is None else scan.proof.parity
            manifest.MergeFrom(manifest_pb2.Manifest(graph=graph, scan_parity=scan_parity))
            # The manifest comes last: on a file system that lost the rename no version has it without its files.
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
    """model.scan.onnx: the model with loops in the place of RNN operators, proven as model.onnx is."""

    data: bytes
    proof: Proof


_MODES = (
    manifest_pb2.BATCHING_UNSPECIFIED,
    manifest_pb2.BATCHING_PADDED,
    manifest_pb2.BATCHING_JOINED,
    manifest_pb2.BATCHING_ALONE,
)
"""From the freest on."""


def try_lowering(
    model: DescribedModel,
    onnx_model: bytes,
    golden: GoldenCases,
    batching: manifest_pb2.Batching,
    reference: Reference | None = None,
    *,
    progress: bool = True,
) -> tuple[ScanFile | None, str]:
    """Lower a proven model, and prove the result: the whole ladder, and the golden cases.

    None, and why, if the result does not hold: the model is published anyway. None and nothing if no RNN operator can
    be replaced.
    """
    data = lower_rnn(onnx_model)
    if data is None:
        return None, ""
    what, failures = "does not give the golden results", list[str]()
    try:
        proof = prove(model, None, data, progress=progress, reference=reference)
        with evaluating(model.module):
            failures = golden.failures(model, OnnxRunner(data))
        if _MODES.index(proof.batching.mode) > _MODES.index(batching.mode):
            what, failures = "cannot share runs as model.onnx can", list(proof.batching.reasons)
    except ParityError as error:
        what, failures = "computes something else", list(error.failures)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return None, f"it {what}: {failures[0]}{more}"
    return ScanFile(data, proof), ""


def describe_version(
    model: ModelDescription,
    proof: Proof,
    golden: GoldenCases,
    files: Mapping[str, bytes],
    origin: manifest_pb2.Origin.ValueType = manifest_pb2.ORIGIN_EXPORTED,
    parts: manifest_pb2.Parts | None = None,
) -> manifest_pb2.Manifest:
    """Describe a version: everything but its own digest, and nothing of the time, place or author of the export."""
    outputs = []
    for tensor in model.outputs:
        described = manifest_pb2.Tensor()
        described.CopyFrom(tensor)
        described.zeros_after_lengths = tensor.name in proof.zeros_after_lengths
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
        parity=proof.parity,
        replay_limits=replay_limits(step=golden.step, sequence=golden.sequence),
        batching=proof.batching,
        origin=origin,
        causality=proof.causality,
        parts=parts,
        finiteness=describe_finiteness(
            files[MODEL],
            finite_inputs=not model.allow_non_finite,
            infinite=model.infinite_inputs,
            is_guarded=origin == manifest_pb2.ORIGIN_EXPORTED,
        ),
    )


def _versions() -> dict[str, str]:
    # onnxruntime comes as several distributions, so that modules are asked, not the installer.
    return {
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnxscript": onnxscript.__version__,
        "python": platform.python_version(),
        "rnnserve": importlib.metadata.version("rnnserve"),
        "torch": str(torch.__version__),
    }

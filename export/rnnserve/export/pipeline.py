"""From a publication to a published version: describe, export, script, prove, and only then write."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy.typing as npt
from torch import nn
from tqdm import tqdm

from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.description.input_descriptions import InputDescription
from rnnserve.export.description.omitted_inputs import warn_of_required_attributes
from rnnserve.export.description.publication import InputDescriptions, Publication
from rnnserve.export.description.state_trees import StateTree
from rnnserve.export.errors import ExportError, ParityError
from rnnserve.export.exposed_states import Exposed, expose_states
from rnnserve.export.first_operator import differing_operator
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.golden_cases import prove_cases
from rnnserve.export.manifest import KEEPS_BITS, describe_version, served_file
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, prove
from rnnserve.export.parity.failure_collector import ScriptRounds
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.publishing import OtherGraph, Published, Seal, publish_tried
from rnnserve.export.rare_collections import rare_collections
from rnnserve.export.scan_file import try_lowering, with_scan
from rnnserve.export.surroundings import left_as_they_were, one_thread
from rnnserve.export.torchscript import script_bytes, script_model
from rnnserve.export.triton_config_writing import check_config, render_config, triton_keeps_states
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, dump_manifest
from rnnserve.protos.golden import dump_cases

__all__ = ["ExportResult", "publish"]

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


@overload
def publish(
    module: Publication, /, *, repository: Path | str, progress: bool = True, seal: Seal = ...
) -> ExportResult: ...


@overload
def publish(
    module: nn.Module,
    name: str,
    *,
    repository: Path | str,
    inputs: InputDescriptions,
    outputs: Sequence[str] | Mapping[str, InputDescription],
    states: Mapping[str, str] | None = None,
    state_attributes: Sequence[str] | Mapping[str, InputDescription | StateTree] = (),
    labels: Sequence[str] = (),
    samples: Sequence[Mapping[str, npt.NDArray[Any]]] = (),
    sizes: Mapping[str, tuple[int, int]] | None = None,
    sequences: bool | None = None,
    allow_non_finite: bool = False,
    constants: Mapping[str, Any] | None = None,
    expose_states: bool = False,
    progress: bool = True,
    seal: Seal = ...,
) -> ExportResult: ...


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
    expose_states: bool = False,
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
        expose_states: Whether states that are found in the graph become inputs and outputs: see `Publication`.
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
    if isinstance(module, Publication):
        return _publish(module, Path(repository), progress=progress, seal=seal)
    publication = Publication(
        module,
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
        expose_states=expose_states,
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
        warn_of_required_attributes(model.inputs, publication.state_attributes)
        keeps_states = triton_keeps_states(publication, model.inputs, model.sizes)
        if repository.exists() and not repository.is_dir():
            raise ExportError(f"the repository {repository} is a file, expected a folder")
        if not publication.expose_states:
            check_config(repository / model.name, model.inputs, model.outputs)
        advance()
        onnx_model = to_onnx(model)
        advance()
        scripted, unscripted = script_model(model)
        advance()
        with evaluating(model.module):
            reference = reference_of(model)
        with _naming_the_operator(model, onnx_model):
            try:
                proof = prove(model, scripted, onnx_model, progress=progress, reference=reference)
            except ScriptRounds as error:
                scripted, unscripted = None, f"it computes in another order than eager. {error.failures[0]}"
                proof = prove(model, None, onnx_model, progress=progress, reference=reference)
        advance()
        golden = prove_cases(model, onnx_model, reference)
        advance()
        scan, unlowered = try_lowering(model, onnx_model, golden, proof.batching, reference, progress=progress)
        advance()
        files = {MODEL: onnx_model}
        if scripted is not None:
            files[SCRIPT] = script_bytes(scripted)
        if scan is not None:
            files[SCAN] = scan.data
            proof = replace(proof, batching=with_scan(proof.batching, scan.batching))
        scan_parity = None if scan is None else scan.parity
        shown = Exposed(model, files, golden, proof, unscripted)
        if publication.expose_states:
            shown = expose_states(shown)
            check_config(repository / model.name, shown.model.inputs, shown.model.outputs)

        def described(served: str) -> tuple[dict[str, bytes], manifest_pb2.Manifest]:
            parts = find_parts(shown.model, served, shown.files, OnnxRunner)
            every = {**shown.files, GOLDEN: dump_cases(shown.golden.cases), **parts.files(shown.model.defaults)}
            record = describe_version(
                shown.model, shown.proof, shown.golden, every, scan_parity=scan_parity, parts=parts.record
            )
            return every, record

        every, manifest = described(served_file(shown.files))
        advance()
        config = render_config(model.name, shown.model.inputs, shown.model.outputs, keeps_states=keeps_states)

        def publish_files() -> tuple[Published, str]:
            # The manifest comes last: on a file system that lost the rename no version has it without its files.
            files = {**every, MANIFEST: dump_manifest(manifest)}
            return publish_tried(repository / model.name, files, config, seal=seal)

        try:
            published, untried = publish_files()
        except OtherGraph:
            every, manifest = described(MODEL)
            manifest.graph.CopyFrom(KEEPS_BITS)
            published, untried = publish_files()
        bar.update()
    return ExportResult(model.name, published, manifest, shown.unscripted, unlowered, untried)


@contextlib.contextmanager
def _naming_the_operator(model: DescribedModel, onnx_model: bytes) -> Iterator[None]:
    """Add to a proof's failures the first operator of the module whose result the export does not have."""
    try:
        yield
    except ParityError as error:
        operator = differing_operator(model, onnx_model)
        if not operator:
            raise
        raise ParityError([*error.failures, operator]) from error

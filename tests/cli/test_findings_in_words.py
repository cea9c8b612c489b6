"""How `rnnserve inspect` says what was proven of a model for all values, and what was tried."""

from pathlib import Path

from rnnserve.cli.inspection.findings_in_words import batching_findings, causality_findings
from rnnserve.cli.inspection.json_report import json_report
from rnnserve.cli.inspection.text_report import text_report
from rnnserve.cli.inspection.version_record import VersionRecord
from rnnserve.protos import manifest_pb2

PROVEN = manifest_pb2.Finding(means=manifest_pb2.MEANS_PROVEN)
TRIED = manifest_pb2.Finding(means=manifest_pb2.MEANS_TRIED, nodes=[f'NonZero "{at}"' for at in range(5)])
REFUTED = manifest_pb2.Finding(means=manifest_pb2.MEANS_REFUTED, reasons=["it reads ahead"])


def record():
    batching = manifest_pb2.Batching(
        mode=manifest_pb2.BATCHING_PADDED, rows=PROVEN, padding=TRIED, scan_rows=PROVEN, scan_padding=PROVEN
    )
    tensors = [manifest_pb2.Tensor(name=name, datatype="FP32") for name in ("x", "y")]
    for tensor in tensors:
        tensor.axes.add(name="batch", size=-1)
    manifest = manifest_pb2.Manifest(
        model="m",
        inputs=tensors[:1],
        outputs=tensors[1:],
        batching=batching,
        causality={"y": REFUTED, "h_n": PROVEN, "a": PROVEN},
    )
    return VersionRecord("m", 1, Path("m/1"), manifest, "", is_chosen=True)


def test_the_text():
    lines = list(text_report(record(), "127.0.0.1:8001"))
    at = lines.index("  batching  padded: requests of different lengths share a run")
    assert lines[at + 1 : at + 7] == [
        "            whether a row depends on other rows: proven for all values, by the graph",
        "            whether it depends on its padding: tried on drawn values, since no rule covers "
        'NonZero "0", NonZero "1", NonZero "2" and 2 more',
        "            the same of rows in model.scan.onnx: proven for all values, by the graph",
        "            the same of padding in model.scan.onnx: proven for all values, by the graph",
        '  steps     no later step is read for "a", "h_n": proven for all values, by the graph',
        '            no later step is read for "y": refuted by the graph',
    ]


def test_json():
    found = json_report(record(), "127.0.0.1:8001")
    assert found["batching"]["rows"] == {"found": "proven", "nodes": [], "reasons": []}
    assert found["batching"]["padding"]["found"] == "tried"
    assert len(found["batching"]["padding"]["nodes"]) == 5
    assert found["causality"]["y"] == {"found": "refuted", "nodes": [], "reasons": ["it reads ahead"]}


def test_manifests_without_findings_say_nothing_of_them():
    assert list(batching_findings(manifest_pb2.Batching(mode=manifest_pb2.BATCHING_PADDED))) == []
    assert list(causality_findings({})) == []

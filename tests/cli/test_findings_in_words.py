"""What `rnnserve inspect` prints of findings about a model: proven, tried or refuted. Whether sequences can be cut."""

from pathlib import Path

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


def test_report_separates_proven_from_tried_findings():
    lines = list(text_report(record(), "127.0.0.1:8001"))
    at = lines.index("  batching  padded: requests of different lengths share a batch")
    for line, found in zip(
        lines[at + 1 :],
        [
            "row independence: proven for all values",
            'tested with random values, because no rule covers NonZero "0", NonZero "1", NonZero "2" and 2 more',
            "row independence in model.scan.onnx: proven",
            "padding independence in model.scan.onnx: proven",
            'for "a", "h_n": proven',
            'for "y": refuted by the graph',
        ],
        strict=False,
    ):
        assert found in line
    report = json_report(record(), "127.0.0.1:8001")
    assert report["batching"]["rows"] == {"found": "proven", "nodes": [], "reasons": []}
    assert (report["batching"]["padding"]["found"], len(report["batching"]["padding"]["nodes"])) == ("tried", 5)
    assert report["causality"]["y"] == {"found": "refuted", "nodes": [], "reasons": ["it reads ahead"]}

"""Which requests can share a batch: the inputs of the trials, and the reason for each dependence."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.descriptions import tensors_described
from rnnserve.export import ParityError
from rnnserve.export.analysis import Decision, Verdict
from rnnserve.export.description.publication import Floats, Integers, Lengths
from rnnserve.export.parity.batching_safety import GraphFindings, contradictions, find_batching, finding
from rnnserve.export.parity.reference import FLOAT64, MOVED
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.protos import manifest_pb2

DESCRIBED = {
    "x": Floats("batch", "sequence"),
    "words": Integers("batch", "sequence", low=1, high=5),
    "lengths": Lengths(),
}
SIZES = {"batch": (1, 33), "sequence": (1, 128)}
PADDED, JOINED, ALONE = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED, manifest_pb2.BATCHING_ALONE
PROVEN = Decision(Verdict.PROVEN)
REFUTED = Decision(Verdict.REFUTED, reasons=('"y": ReduceMean "m" averages over the rows of the batch',))
UNDECIDED = Decision(Verdict.NOT_DECIDED, nodes=('NonZero "n"',))


def batching_of(
    compute, *, described=DESCRIBED, outputs=None, sizes=SIZES, rows=(0, 0), exact_by=FLOAT64, moved=0.0, graph=None
):
    """Find the batching of a model that computes "y" so. Return it with the inputs of the trials."""
    seen = []

    def run(inputs):
        seen.append(inputs)
        return {"y": compute(inputs)}

    def moving(inputs):
        yield from ({"y": compute(inputs) + sign * moved} for sign in (-1, 1))

    model = tensors_described(described, outputs or {"y": Floats("batch", 1)}, sizes)
    for tensor in model.inputs:
        tensor.axes[0].smallest, tensor.axes[0].largest = rows
    reference: Any = SimpleNamespace(exact=run, exact_by=exact_by, moved=moving)
    findings = () if graph is None else (GraphFindings(graph[0], graph[1], {}),)
    return find_batching(model, reference, limits_for("cpu"), 0, *findings), seen


def steps_before(inputs):
    within = np.arange(inputs["x"].shape[1]) < inputs["lengths"][:, None]
    return np.where(within, inputs["x"], 0)


def masked_sum(inputs):
    return steps_before(inputs).astype(np.float64).sum(1, keepdims=True)


def unmasked_sum(inputs):
    return inputs["x"].astype(np.float64).sum(1, keepdims=True)


def with_neighbors(inputs):
    return masked_sum(inputs) + len(inputs["x"])


def test_independent_rows_are_tried_with_inputs_like_those_of_servers():
    found, seen = batching_of(masked_sum, sizes={"batch": (1, 33), "sequence": (2, 16)})
    assert (found.mode, list(found.reasons)) == (PADDED, [])
    assert {inputs["x"].shape[1] for inputs in seen} == {2, 3, 4, 8, 11, 12, 13, 16}
    assert {len(inputs["x"]) for inputs in seen} == {1, 2, 5}
    for inputs in seen:  # bounds hold in the padding and in rows that are added, too
        assert (inputs["words"].min(), inputs["words"].max()) >= (1, 1)
        assert inputs["words"].max() < 5
        assert inputs["lengths"].min() >= 2
        assert inputs["lengths"].max() <= inputs["x"].shape[1]


@pytest.mark.parametrize(
    ("compute", "mode", "reason"),
    [
        (with_neighbors, ALONE, "changes by 4 when other rows are in its batch. Does the module normalize"),
        (lambda i: masked_sum(i) + i["x"].shape[1], JOINED, "changes by 9 when up to 9 steps of padding are added"),
        (
            lambda i: masked_sum(i) + (i["x"] != steps_before(i)).any(1, keepdims=True),
            JOINED,
            "when the values after its length chan",
        ),
        (lambda i: masked_sum(i) + (np.roll(i["x"], 1, 0)[:, :1] > 60), ALONE, "when other rows are in its batch"),
        (lambda i: masked_sum(i) + ((i["x"] - steps_before(i)).max(1, keepdims=True) > 60), JOINED, "after its length"),
        (lambda i: masked_sum(i) + 1e-30 * i["x"].sum(), ALONE, "changes by inf when other rows are in its batch"),
    ],
    ids=["neighbors", "steps", "padding", "loud neighbors", "loud padding", "a little of neighbors"],
)
def test_dependence_between_rows_is_detected_and_named(compute, mode, reason):
    found, _ = batching_of(compute)
    assert found.mode == mode
    assert found.reasons[0].startswith('"y" of a row changes by ')
    assert reason in found.reasons[0]


def with_a_little_padding(inputs):
    return masked_sum(inputs) + 1e-30 * unmasked_sum(inputs)


READING = Decision(Verdict.NOT_DECIDED, nodes=('Softmax "w"',), readers=('Softmax "w"',))


@pytest.mark.parametrize(("padding", "mode"), [(UNDECIDED, JOINED), (READING, PADDED)], ids=["unknown", "reader"])
def test_padding_is_nan_if_no_rule_covers_an_operator(padding, mode):
    """A mask that multiplies by zero, as attention does, lets NaN through: finite numbers decide there."""
    assert batching_of(with_a_little_padding, graph=(PROVEN, padding))[0].mode == mode


def maximum_up_to_the_longest_row(inputs):
    """Like a maximum after pad_packed_sequence without total_length: alone, a row has no padding."""
    return steps_before(inputs)[:, : inputs["lengths"].max()].astype(np.float64).max(1, keepdims=True)


def test_padding_that_only_a_longer_row_leaves_is_tried():
    found, _ = batching_of(maximum_up_to_the_longest_row)
    assert found.mode == JOINED
    assert "when up to 9 steps of padding are added" in found.reasons[0]


def test_module_that_refuses_nan_is_tried_without_nan():
    def compute(inputs):
        assert not np.isnan(inputs["x"]).any()
        return masked_sum(inputs)

    assert batching_of(compute, graph=(UNDECIDED, UNDECIDED))[0].mode == PADDED


@pytest.mark.parametrize(
    ("exact_by", "change", "mode"),
    [(FLOAT64, 0.9e-9, PADDED), (FLOAT64, 1.1e-9, ALONE), (MOVED, 0.9e-4, PADDED), (MOVED, 1.1e-4, ALONE)],
)
def test_rounding_does_not_count_as_dependence(exact_by, change, mode):
    def compute(inputs):
        return np.full((len(inputs["x"]), 1), change if len(inputs["x"]) == 5 else 0.0)

    assert batching_of(compute, exact_by=exact_by)[0].mode == mode


def test_any_change_of_an_integer_counts_as_dependence():
    def compute(inputs):
        return np.full((len(inputs["x"]), 1), len(inputs["x"]) == 5, dtype=np.int64)

    found, _ = batching_of(compute, outputs={"y": Integers("batch", 1, high=9)})
    assert found.mode == ALONE
    assert found.reasons[0].startswith('"y" of a row changes by 1 when other rows')


def test_values_after_the_lengths_of_an_output_do_not_count():
    def compute(inputs):
        noise = np.random.default_rng(len(inputs["x"])).standard_normal(inputs["x"].shape)
        within = np.arange(inputs["x"].shape[1]) < inputs["lengths"][:, None]
        return np.where(within, inputs["x"], noise)

    assert batching_of(compute, outputs={"y": Floats("batch", "sequence")})[0].mode == PADDED


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({"described": {"x": DESCRIBED["x"]}}, JOINED, 'no input holds the lengths of the axis "sequence"'),
        ({"described": {"x": Floats("batch", 3)}, "sizes": {"batch": (1, 3)}}, JOINED, "has no sequence axis"),
        ({"sizes": {"batch": (1, 33), "sequence": (6, 6)}}, JOINED, 'the axis "sequence" always has 6 steps'),
        ({"rows": (2, 8)}, ALONE, "the model accepts only 2 to 8 rows"),
        ({"rows": (1, 8)}, ALONE, "the model accepts only 1 to 8 rows"),
    ],
    ids=["no lengths", "no sequence", "one length", "rows", "few rows"],
)
def test_batching_is_limited_when_inputs_allow_no_sharing(changes, mode, reason):
    found, seen = batching_of(lambda inputs: inputs["x"][:, :1], **changes)
    assert found.mode == mode
    (said,) = found.reasons
    assert reason in said
    assert mode == JOINED or seen == []


def test_rows_with_refuted_independence_run_alone_without_a_trial():
    found, seen = batching_of(masked_sum, graph=(REFUTED, PROVEN))
    assert (found.mode, found.rows.means, seen) == (ALONE, manifest_pb2.MEANS_REFUTED, [])
    assert list(found.reasons) == [f"{REFUTED.reasons[0]}, so a row's result depends on other rows"]


@pytest.mark.parametrize(
    ("compute", "what"),
    [(with_neighbors, "keeps rows apart"), (unmasked_sum, "reads nothing after the lengths")],
)
def test_trial_that_contradicts_the_graph_is_an_internal_error(compute, what):
    with pytest.raises(ParityError, match=rf'^internal error: the graph {what} for all values, but "y" of a row'):
        batching_of(compute, graph=(PROVEN, PROVEN))


def test_rounding_does_not_contradict_the_graph():
    def rounded(inputs):
        return masked_sum(inputs) + 1e-3 * (len(inputs["x"]) == 2)

    with pytest.raises(ParityError):
        batching_of(rounded, exact_by=MOVED, moved=1e-6, graph=(PROVEN, PROVEN))
    assert batching_of(rounded, exact_by=MOVED, moved=1e-4, graph=(PROVEN, PROVEN))[0].mode == PADDED


@pytest.mark.parametrize(
    ("compute", "graph", "mode"),
    [
        (with_neighbors, (UNDECIDED, PROVEN), ALONE),
        (unmasked_sum, (PROVEN, UNDECIDED), JOINED),
        (masked_sum, (PROVEN, REFUTED), PADDED),  # a mask that no rule recognizes takes the padding out again
    ],
)
def test_trial_decides_what_the_graph_leaves_open(compute, graph, mode):
    found, _ = batching_of(compute, graph=graph)
    assert found.mode == mode
    assert (found.rows if mode == ALONE else found.padding).means == manifest_pb2.MEANS_TRIED


def test_node_that_reads_padding_is_named():
    found, _ = batching_of(unmasked_sum, graph=(PROVEN, REFUTED))
    assert (found.mode, found.padding.means) == (JOINED, manifest_pb2.MEANS_REFUTED)
    assert found.reasons[-1] == f"in the graph, {REFUTED.reasons[0]}"


def test_claims_of_a_manifest_must_hold_for_the_graph():
    proven = finding(PROVEN, tried=True)
    batching = manifest_pb2.Batching(mode=PADDED, rows=proven, padding=proven, scan_rows=proven)
    claims = manifest_pb2.Manifest(batching=batching, causality={"y": finding(PROVEN, tried=False)})
    causal = {"y": PROVEN}
    for scan in (False, True):
        assert contradictions(claims, GraphFindings(PROVEN, PROVEN, causal), scan=scan) == []
        assert len(contradictions(claims, GraphFindings(UNDECIDED, PROVEN, causal), scan=scan)) == 1
    assert len(contradictions(claims, GraphFindings(PROVEN, UNDECIDED, causal), scan=False)) == 1
    assert len(contradictions(claims, GraphFindings(PROVEN, PROVEN, {}), scan=False)) == 1
    old = manifest_pb2.Manifest(batching=manifest_pb2.Batching(mode=JOINED))
    assert contradictions(old, GraphFindings(UNDECIDED, None, {}), scan=False) == []
    (failure,) = contradictions(old, GraphFindings(REFUTED, None, {}), scan=False)
    assert failure.startswith("the manifest says BATCHING_JOINED, but rows depend on each other: ")

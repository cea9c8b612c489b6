"""All examples of models of any tensors, by name, and a repository of them."""

from pathlib import Path

import numpy as np

from kit.artifacts import build_model, publish_model
from kit.example_models import Arrays, Example
from kit.other_examples import every_datatype, neighbours, step, two_axes
from kit.padded_examples import bag, long_rows, masked_by_a_product, sequence_first, tagger
from rnnserve.protos.datatypes import DTYPES

__all__ = ["EXAMPLES", "publish_examples"]

EXAMPLES = {
    make.__name__: make()
    for make in (
        bag,
        sequence_first,
        masked_by_a_product,
        tagger,
        long_rows,
        two_axes,
        step,
        neighbours,
        every_datatype,
    )
}


def with_everything(example: Example, sent: Arrays) -> Arrays:
    """The inputs with those that were left out."""
    sizes = {
        axis.name: sent[described.name].shape[at]
        for described in example.inputs
        for at, axis in enumerate(described.axes)
        if described.name in sent
    }
    whole = dict(sent)
    for described in example.inputs:
        if described.name not in sent:
            shape = [sizes[axis.name] if axis.size < 0 else axis.size for axis in described.axes]
            fill = sizes[described.lengths_of] if described.lengths_of else 0
            whole[described.name] = np.full(shape, fill, DTYPES[described.datatype])
    return {described.name: whole[described.name] for described in example.inputs}


def publish_examples(root: Path) -> None:
    """Write a version of each example, with golden results of twelve of its requests."""
    for name, example in EXAMPLES.items():
        model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
        numbers = np.random.default_rng(7)
        samples = [with_everything(example, example.draw(numbers)) for _ in range(12)]
        for sample in samples:
            if name == "bag":  # golden inputs are valid everywhere
                sample["tokens"] = np.clip(sample["tokens"], 1, 11)
        publish_model(root, name, model, example.inputs, example.outputs, samples, batching=example.batching)

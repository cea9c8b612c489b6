"""Defaults of a version must lie within what the model takes."""

import numpy as np
import pytest

from kit.artifacts import tensor
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.recorded_defaults import dump_defaults, load_defaults


@pytest.mark.parametrize(("datatype", "value"), [("FP32", np.nan), ("INT64", 7), ("INT64", -1)])
def test_default_outside_the_models_range_is_refused(datatype, value):
    described = tensor("state", datatype, "batch", ("hidden", 2))
    described.default = manifest_pb2.DEFAULT_RECORDED
    if datatype == "INT64":
        described.integers.CopyFrom(manifest_pb2.IntegerRange(low=0, high=7))
    files = {DEFAULTS: dump_defaults({"state": np.array([[0, value]], DTYPES[datatype])})}
    with pytest.raises(ArtifactError, match="outside the model's range"):
        load_defaults(files, [described])

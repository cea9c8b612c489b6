"""The server's own load check has the last word on a publication."""

import pytest
from torch import nn

from rnnserve.export import ExportError, Floats, pipeline, publish


def test_version_that_a_server_refuses_is_not_published(tmp_path, monkeypatch):
    """A manifest that says what the graph is not: only the server reads both."""
    right = pipeline.describe_version

    def wrong(*args, **kwargs):
        described = right(*args, **kwargs)
        described.outputs[0].datatype = "FP64"
        return described

    monkeypatch.setattr(pipeline, "describe_version", wrong)
    inputs = {"input": Floats("batch", "sequence", ("features", 3))}
    with pytest.raises(ExportError, match=r"a server would refuse this version, so nothing was published: manifest"):
        publish(nn.Tanh(), "model", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
    assert not list(tmp_path.iterdir())

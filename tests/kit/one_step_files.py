"""Files of one step, their own results step by step, and what a server answers once they are folded."""

import numpy as np
import onnxruntime

from kit.foreign_files import drawn, save, value
from rnnserve.client import Client
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

WEIGHTS = drawn(3, w=(4, 3), r=(3, 3), out=(3, 2))


def cell(folder, *, opset=18):
    """Two new values and two of the step before, x (batch, 4), and h (batch, 3), to y (batch, 2), h_n."""
    nodes = "xw = MatMul (x, w)  hr = MatMul (h, r)  sum = Add (xw, hr)  h_n = Tanh (sum)  y = MatMul (h_n, out)"
    given = [value("x", ("batch", 4)), value("h", ("batch", 3))]
    made = [value("y", ("batch", 2)), value("h_n", ("batch", 3))]
    return save(folder, nodes, given, made, WEIGHTS, opset=opset)


def stepped(path, rows, **state):
    """The file's own results for each row, step by step."""
    session, found = onnxruntime.InferenceSession(path), []
    for row in rows:
        (name, before), results = next(iter(state.items())), []
        for step in row:
            result, before = session.run(None, step | {name: before})
            results.append(result[0])
        found.append((np.stack(results), before))
    return found


def predicted(repository, rows):
    settings = Settings(provider="cpu", allow_unproven=True)
    with serve(repository, settings) as server, Client(server.address) as client:
        return client.predict("folded", rows)


def imported(path, tmp_path, **roles):
    return import_onnx(path, "folded", tmp_path / "repository", Roles(**roles))

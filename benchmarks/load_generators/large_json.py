"""A client that posts 16 MiB of JSON again and again until it is killed: `python -m … PORT MODEL`.

It prints a line when its first request succeeds, and ends if the server refuses one.
"""

import sys
from http.client import HTTPConnection

import numpy as np
import orjson

_ROWS, _STEPS = 4096, 104
"""Shape of the points: 3.4 MB as float32, within the server's message limit, and somewhat more than 16 MiB as text."""


def large_body() -> bytes:
    """Write the body: walks (batch, sequence, features), with a request for the logits."""
    walks = np.random.default_rng(5).normal(size=(_ROWS, _STEPS, 2))
    tensor = {"name": "input", "datatype": "FP32", "shape": list(walks.shape), "data": walks}
    return orjson.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}]}, option=orjson.OPT_SERIALIZE_NUMPY)


def main(port: int, model: str) -> None:
    """Post until the server refuses a request, or forever."""
    body = large_body()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    is_first = True
    while True:
        connection.request("POST", f"/v2/models/{model}/infer", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        answer = reply.read()
        if reply.status != 200:
            sys.exit(f"the server answers {reply.status}: {answer[:300]!r}")
        if is_first:
            print("posting", flush=True)
            is_first = False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

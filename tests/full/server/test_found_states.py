"""Found states in sessions of the client."""

import numpy as np
import pytest

from kit.cut_graphs import FEATURES
from kit.found_model import BACKWARD, MODEL, drawn, import_found
from rnnserve.client import Client
from rnnserve.client.errors import DeadlineExceeded, FailedPrecondition, InvalidRequest
from rnnserve.server import Settings
from rnnserve.server.testing import serve


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return import_found(tmp_path_factory.mktemp("found"))


@pytest.mark.parametrize("key", [False, True])
def test_a_session_gives_the_bits_of_the_whole(repository, session_key, key):
    """The states are kept by a server without a key, and sealed by one that has one."""
    inputs = drawn(5)
    settings = Settings(provider="cpu", allow_unproven=True, session_key=session_key if key else None)
    with serve(repository, settings) as server, Client(server.address) as client:
        (whole,) = client.predict(MODEL, inputs)
        with client.session(MODEL) as session:
            steps = np.stack([session.step(point)["y"] for point in inputs[0]])
            assert session.state == ("sealed" if key else "server")
            assert steps.tobytes() == whole["y"].tobytes()
            session.reset()
            assert session.step(inputs[0])["y"].tobytes() == whole["y"].tobytes()
            with pytest.raises(InvalidRequest):
                session.step(np.zeros(FEATURES + 1, np.float32))
            session.step(inputs[0])  # the refused step has cost nothing
        with pytest.raises(InvalidRequest, match="are not outputs"), client.session(MODEL, state="carried"):
            pass
        with pytest.raises(InvalidRequest, match=r"runs backward over all steps"), client.session(BACKWARD):
            pass


def test_a_kept_session_whose_answer_was_lost_is_over_until_it_is_reset(repository):
    settings = Settings(provider="cpu", allow_unproven=True)
    with serve(repository, settings) as server, Client(server.address) as client, client.session(MODEL) as session:
        session.step(drawn(1)[0])
        with pytest.raises(DeadlineExceeded):
            session.step(drawn(1)[0], timeout=1e-9)
        with pytest.raises(FailedPrecondition, match="a response was lost"):
            session.step(drawn(1)[0])
        session.reset()
        session.step(drawn(1)[0])

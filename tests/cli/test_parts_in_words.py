"""What `rnnserve inspect` says of sequences in parts: of declared states the server's own trial decides."""

import pytest

from rnnserve.cli.inspection.parts_in_words import parts_in_words
from rnnserve.protos import manifest_pb2

DECLARED = manifest_pb2.Tensor(name="h_n", continues_as="h_0")


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([], ["sequences are served whole: a mean over the axis sequence"]),
        (
            [DECLARED],
            [
                "a server cuts no sequence by itself: a mean over the axis sequence",
                'whether a request may continue from "h_0" is found by the server\'s trial',
            ],
        ),
    ],
)
def test_what_stands_in_the_way(outputs, said):
    parts = manifest_pb2.Parts(reason="a mean over the axis sequence")
    assert list(parts_in_words(manifest_pb2.Manifest(parts=parts, outputs=outputs))) == said


def test_no_server_continues_from_states_beside_which_steps_are_counted():
    parts = manifest_pb2.Parts(reason="Range counts", not_continued="Range counts the steps")
    said = "sequences are served whole, and go on from no declared state: Range counts the steps"
    assert list(parts_in_words(manifest_pb2.Manifest(parts=parts, outputs=[DECLARED]))) == [said]


def test_which_states_are_kept():
    parts = manifest_pb2.Parts(inputs=[manifest_pb2.Tensor(name="lstm.h")])
    first, second = parts_in_words(manifest_pb2.Manifest(parts=parts, outputs=[DECLARED]))
    kept = 'what is kept between them: "h_0", declared; "lstm.h", found'
    assert first == f"sequences may be sent in parts; {kept}"
    assert second.startswith("a step depends on others by these alone: ")


def test_of_a_manifest_without_parts_nothing_is_said():
    assert not list(parts_in_words(manifest_pb2.Manifest(outputs=[DECLARED])))

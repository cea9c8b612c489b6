"""pydantic-open-inference: models' inputs and outputs as classes of pydantic."""

from typing import Any, NamedTuple

from pydantic_open_inference import BadStatusCodeFromServerError, InputsBaseModel, OutputsBaseModel, RemoteModel

from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]


class Point(NamedTuple):
    """A point: of the client's own, plain tuples have an axis too many."""

    x: float
    y: float


class Sentiment(NamedTuple):
    """The logits of a row of tokens."""

    negative: float
    neutral: float
    positive: float


class Direction(NamedTuple):
    """The logits of a walk."""

    clockwise: float
    counter_clockwise: float


class Walks(InputsBaseModel):  # type: ignore[misc]  # it is Any where the package is not installed
    """Walks of one length."""

    input: list[list[Point]]


class Tokens(InputsBaseModel):  # type: ignore[misc]  # it is Any where the package is not installed
    """Rows of one length."""

    tokens: list[list[int]]


class Logits(OutputsBaseModel):  # type: ignore[misc]  # it is Any where the package is not installed
    """Without the other outputs, which are not asked for then."""

    logits: list[Direction]


class Classes(OutputsBaseModel):  # type: ignore[misc]  # it is Any where the package is not installed
    """Of a model of tokens."""

    logits: list[Sentiment]


def model(name: str = CLASSIFIER["model"], inputs: Any = Walks, outputs: Any = Logits, **more: Any) -> Any:
    address = f"http://{PLAN['http']['plain']}"
    return RemoteModel(server_url=address, model_name=name, inputs_model=inputs, outputs_model=outputs, **more)


def same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(value - right) <= 1e-5 for value, right in zip(one, other, strict=True)), (one, other)


@feature("ready")
def ready() -> None:
    assert model().is_ready()
    assert model(model_version="1").is_ready()
    assert not model("unknown").is_ready()


@feature("model-metadata")
def model_metadata() -> None:
    model().validate()
    model(TEXT["model"], Tokens, Classes).validate()


@feature("infer-json")
def infer_json() -> None:
    for walk, logits in zip(CLASSIFIER["walks"], CLASSIFIER["logits"], strict=True):
        same(model().infer(Walks(input=[walk])).logits, [logits])


@feature("infer-integers")
def infer_integers() -> None:
    for row, logits in zip(TEXT["rows"], TEXT["logits"], strict=True):
        same(model(TEXT["model"], Tokens, Classes).infer(Tokens(tokens=[row])).logits, [logits])


@feature("outputs")
def outputs() -> None:
    assert set(model().infer(Walks(input=[CLASSIFIER["walks"][0]])).model_dump()) == {"logits"}


@feature("batch")
def batch() -> None:
    for rows in (1, 2, 7, 64):
        found = model().infer(Walks(input=[CLASSIFIER["walks"][2]] * rows))
        same(found.logits, [CLASSIFIER["logits"][2]] * rows)


@feature("error")
def errors() -> None:
    """The client says the status, and not the words."""
    try:
        model("unknown").infer(Walks(input=[CLASSIFIER["walks"][0]]))
    except BadStatusCodeFromServerError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("expected 404")


if __name__ == "__main__":
    run(lambda error: (str(error.status_code), str(error)) if isinstance(error, BadStatusCodeFromServerError) else None)

"""The result of every reader."""

from dataclasses import dataclass

from rnnserve.client.errors import InvalidRequest, UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import main_input
from rnnserve.client.tensors import Array

__all__ = ["NamedRows", "decode_text", "input_of_rows", "named_input", "row_word"]


@dataclass(frozen=True)
class NamedRows:
    """Rows and their names in the file.

    Attributes:
        names: The ids in a CSV file's `sequence` column, else "0", "1", …
        inputs: For each input, one array for each row, in the file's order: all axes of the input but the batch, real
            numbers or booleans.
    """

    names: list[str]
    inputs: dict[str, list[Array]]

    @classmethod
    def numbered(cls, inputs: dict[str, list[Array]]) -> "NamedRows":
        """Name the rows by their index."""
        return cls([str(index) for index in range(max(map(len, inputs.values()), default=0))], inputs)


def input_of_rows(metadata: ModelMetadata, source: str) -> TensorMetadata:
    """Return the input that a file without names of inputs is for.

    Raises:
        UnreadableInput: The model requires several inputs.
    """
    try:
        return main_input(metadata)
    except InvalidRequest as error:
        raise UnreadableInput(
            f"{source}: holds the rows of one input, but model {metadata.name} takes {', '.join(metadata.inputs)}. "
            "Expected a JSON object or a .npz file with the rows of each input by its name"
        ) from error


def named_input(metadata: ModelMetadata, name: str, source: str) -> TensorMetadata:
    """Return the input of a name that a file has.

    Raises:
        UnreadableInput: The model has no such input.
    """
    tensor = metadata.inputs.get(name)
    if tensor is None:
        raise UnreadableInput(
            f"{source}: holds {name!r}, but the inputs of model {metadata.name} are {', '.join(metadata.inputs)}"
        )
    return tensor


def row_word(tensor: TensorMetadata) -> str:
    """Return what messages call a row of an input: "sequence" if a request chooses its length, else "row"."""
    return "sequence" if any(size < 0 for _, size in tensor.row_axes) else "row"


def decode_text(data: bytes, source: str) -> str:
    """Return a file's content as text, without a byte order mark.

    Raises:
        UnreadableInput: The content is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{source}, byte {error.start}: expected UTF-8 text (is it a .npy file?)") from error

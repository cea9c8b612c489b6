"""The folders of a repository: `<repository>/<model>/<version>`."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.names import version_number

__all__ = ["version_folders"]


def version_folders(repository: Path, models: Sequence[str] = ()) -> list[Path]:
    """List the folders of versions, oldest first, of the named models, or of all models by default.

    Raises:
        ArtifactError: If the repository, a model or its versions don't exist.
    """
    if repository.exists() and not repository.is_dir():
        raise ArtifactError(f"{repository} is a file; expected a repository, a folder from `rnnserve export`")
    if not repository.is_dir():
        raise ArtifactError(f"there is no repository {repository}; create one with `rnnserve export`")
    known = sorted(path.name for path in repository.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not known:
        raise ArtifactError(f"there is no model in {repository}; publish one with `rnnserve export`")
    folders = []
    for model in models or known:
        if model not in known:
            meant = difflib.get_close_matches(model, known, n=1)
            hint = f"; did you mean {meant[0]}?" if meant else ""
            raise ArtifactError(f"there is no model {model!r} in {repository}; the models are {', '.join(known)}{hint}")
        paths = [path for path in (repository / model).iterdir() if path.is_dir()]
        numbers = [number for path in paths if (number := version_number(path.name)) is not None]
        if not numbers:
            raise ArtifactError(f"the model {model} in {repository} has no versions; expected folders named 1, 2, …")
        folders += [repository / model / str(number) for number in sorted(numbers)]
    return folders

"""Compile a module to TorchScript. The resulting bytes are reproducible and don't depend on the machine."""

import contextlib
import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator

import torch
from torch import nn

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.flat_module import flat_script
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.tensors import draw_sample

__all__ = ["canonical", "load_script", "script", "script_bytes", "script_model"]

_LONGEST_REASON = 300  # characters


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Script a module, in evaluation mode, with `torch.jit.script`.

    The module's own training flags are restored afterwards, but the script stays in evaluation mode.

    Raises:
        UnsupportedModule: If TorchScript can't compile the module. The message ends with TorchScript's own message.
    """
    # Lock: exports in other threads replace code of PyTorch's recurrent modules, and scripting reads its source.
    with evaluating(module), LOCK, _without_deprecations():
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(module)
        except Exception as error:  # the compiler uses assertions, and may read edited sources
            raise UnsupportedModule(f"TorchScript cannot compile {type(module).__name__}: {error}") from error
    if not hasattr(scripted, "forward"):  # overloads of forward become forward__0, forward__1, …
        raise UnsupportedModule(f"TorchScript did not compile the forward of {type(module).__name__}")
    return scripted


def script_model(model: DescribedModel) -> tuple[torch.jit.ScriptModule | None, str]:
    """Script a described module. Returns None and the reason if TorchScript can't compile it or the script fails.

    TorchScript compiles some modules into scripts that raise although the module doesn't. For example, it assumes that
    a parameter without annotation is a tensor, and treats None as a tensor without values.
    """
    flat = model.module
    if flat.is_lenient:
        return (
            None,
            "TorchScript would follow the module, which packs only sorted rows or uses the longest row's length as a "
            "size",
        )
    if not flat.call.is_plain:
        return None, "code that TorchScript does not compile makes forward's arguments from the model's inputs"
    try:
        scripted = script(flat.module)
        flat_script(scripted, flat.call.inputs, flat.outputs).run(draw_sample(model.inputs, model.sizes))
        script_bytes(scripted)
    except (UnsupportedModule, WrongArguments) as error:
        reason = " ".join(str(error).split())
    except (torch.jit.Error, RuntimeError) as error:
        reason = (
            "TorchScript's form of the module raises an error, but the module itself does not. If a parameter of "
            "forward may be None, annotate it: h: torch.Tensor | None = None. TorchScript: "
            f"{str(error).strip().rpartition(chr(10))[2]}"
        )
    else:
        return scripted, ""
    return None, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def script_bytes(scripted: torch.jit.ScriptModule) -> bytes:
    """Write a script as the bytes of a file that `torch.jit.load` reads.

    The same script has the same bytes in every process, no matter which modules were scripted before. The bytes contain
    neither source paths nor debug records.

    Raises:
        UnsupportedModule: If TorchScript can't write the script, for example because a parameter without annotation is
            None by default.
    """
    buffer = io.BytesIO()
    try:
        with _without_deprecations():
            torch.jit.save(scripted, buffer)
    except RuntimeError as error:
        raise UnsupportedModule(
            "TorchScript cannot save the module. If a parameter of forward may be None, annotate it: h: "
            f"torch.Tensor | None = None. TorchScript: {error}"
        ) from error
    return canonical(buffer.getvalue())


def load_script(data: bytes) -> torch.jit.ScriptModule:
    """Load the bytes from `script_bytes` on the CPU. Raises RuntimeError with torch's message on failure."""
    with _without_deprecations():
        scripted: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(data), map_location="cpu"
        )
    return scripted


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Suppress "torch.jit.… is deprecated", because torch.jit still works and model.pt is part of the artifact.

    The warning is a DeprecationWarning in torch 2.13 and a FutureWarning in 2.15. Since Python 3.14, its text is "not
    supported in Python 3.14+".
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r".*torch\.jit.*(deprecated|not supported)", category)
        yield


_MANGLED = re.compile(r"\.___torch_mangle_\d+")
_QUALIFIED = re.compile(r"__torch__(?:\.\w+)+")
# The pickle opcode GLOBAL, with which data.pkl names a class: two lines of text of any length.
_GLOBAL = re.compile(rb"c(__torch__[.\w]*)\n(\w+)\n")
_DEFINITION = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
_CONSTANTS = re.compile(r"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
# Match strings first, so that no text inside a string counts as a name.
_TEMPORARY = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?<![\w.])_\d+\b""")
_MEMBER_LIKE_ONE = re.compile(r"\._\d+\b")
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


def canonical(archive: bytes) -> bytes:
    """Rewrite a TorchScript file so that its bytes contain no paths and its names depend only on the module.

    `torch.jit.save` writes three kinds of data that vary. Debug records contain source paths. Names such as
    `___torch_mangle_7` count how many classes with the same name the process has scripted so far. The pickle's memo
    opcodes depend on the number of references to a tensor. This function removes records and opcodes, and numbers
    classes with the same name in the order in which the module uses them: the first `GRU` is `GRU`, and the second is
    `___torch_mangle_0.GRU`. For the format, see
    https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/docs/serialization.md
    """
    records = _records(archive)
    code = {name: records.pop(name).decode() for name in list(records) if name.startswith("code/")}
    definitions = dict(_definitions(code))
    renamed = _numbered(_in_order(definitions, records["data.pkl"]))
    rename = _renamer(renamed)
    for name in ("data.pkl", "constants.pkl"):
        # The pickle's memo depends on the number of references to a tensor.
        records[name] = pickletools.optimize(records[name])
    pickles = {name: _rename_globals(records[name], renamed) for name in ("data.pkl", "constants.pkl")}
    if not any(b"___torch_mangle_" in _GLOBAL.sub(b"", pickled) for pickled in pickles.values()):
        # Else a string in data.pkl contains a type name. The string's length precedes it, so the names can't change.
        records.update(pickles)
        code = {}
        for old, new in renamed.items():
            code[_file_of(new)] = code.get(_file_of(new), "") + rename(definitions[old])
    records.update({name: text.encode() for name, text in sorted(code.items())})
    return _archive(records)


def _records(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        # Skip the top folder (named after the saved file), the debug records and the ID.
        contents = {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}
    return {
        name: content
        for name, content in contents.items()
        if not name.endswith(".debug_pkl") and not name.startswith(".data/")
    }


def _definitions(code: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Return the qualified name and the text of every class and function."""
    for file, text in code.items():
        namespace = file.removeprefix("code/").removesuffix(".py").replace("/", ".")
        starts = list(_DEFINITION.finditer(text))
        for start, end in zip(starts, [*(match.start() for match in starts[1:]), len(text)], strict=True):
            yield f"{namespace}.{start[1]}", _repeatable(text[start.start() : end])


def _repeatable(text: str) -> str:
    # Sort a class's constants, because they come from a set and their order differs between processes.
    text = _CONSTANTS.sub(lambda lines: "".join(sorted(lines[0].splitlines(keepends=True))), text)
    # Renumber temporaries (_39): their numbers run through a file, and earlier scripts affect which classes share it.
    if _MEMBER_LIKE_ONE.search(text):
        return text
    numbers: dict[str, str] = {}
    return _TEMPORARY.sub(
        lambda match: match[0] if match[0][0] in "\"'" else numbers.setdefault(match[0], f"_{len(numbers)}"), text
    )


def _in_order(definitions: dict[str, str], pickled: bytes) -> list[str]:
    """Order definitions by first use: the classes of the module's objects, then the names in their code."""
    order: dict[str, None] = {}
    waiting = [f"{namespace.decode()}.{name.decode()}" for namespace, name in _GLOBAL.findall(pickled)]
    while waiting:
        order.update(dict.fromkeys(name for name in waiting if name in definitions))
        named = [_known(token, definitions) for name in list(order) for token in _QUALIFIED.findall(definitions[name])]
        waiting = [name for name in dict.fromkeys(named) if name is not None and name not in order]
    rest = sorted(set(definitions) - set(order), key=lambda name: (_MANGLED.sub("", name), definitions[name]))
    return [*order, *rest]


def _known(token: str, names: dict[str, str]) -> str | None:
    """Return the longest known name that `token` starts with, because a member may follow the name."""
    while token and token not in names:
        token = token.rpartition(".")[0]
    return token or None


def _numbered(order: list[str]) -> dict[str, str]:
    counts: dict[str, int] = {}
    renamed = {}
    for name in order:
        plain = _MANGLED.sub("", name)
        count = counts.get(plain, 0)
        counts[plain] = count + 1
        namespace, _, own = plain.rpartition(".")
        renamed[name] = f"{namespace}.___torch_mangle_{count - 1}.{own}" if count else plain
    return renamed


def _renamer(renamed: dict[str, str]) -> Callable[[str], str]:
    def one(match: re.Match[str]) -> str:
        known = _known(match[0], renamed)
        return match[0] if known is None else renamed[known] + match[0][len(known) :]

    return lambda text: _QUALIFIED.sub(one, text)


def _rename_globals(pickled: bytes, renamed: dict[str, str]) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        name = f"{match[1].decode()}.{match[2].decode()}"
        namespace, _, own = renamed.get(name, name).rpartition(".")
        return f"c{namespace}\n{own}\n".encode()

    return _GLOBAL.sub(one, pickled)


def _file_of(name: str) -> str:
    return "code/" + name.rpartition(".")[0].replace(".", "/") + ".py"


def _archive(records: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as written:
        for name, content in records.items():
            written.writestr(zipfile.ZipInfo(f"archive/{name}", _FIRST_DAY), content)
    return buffer.getvalue()

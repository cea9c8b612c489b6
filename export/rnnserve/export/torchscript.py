"""TorchScript of the module that is exported, as bytes that repeat and hold nothing of the scripting machine."""

import contextlib
import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator

import torch
from torch import nn

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.flat_module import flat_script
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.tensors import draw_sample

__all__ = ["canonical", "load_script", "script", "script_bytes", "script_model"]

_LONGEST_REASON = 300  # characters


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Script a module, in evaluation mode, with `torch.jit.script`.

    The module's own training flags are restored afterwards; the script stays in evaluation mode.

    Raises:
        UnsupportedModule: If TorchScript cannot compile it; the message ends with TorchScript's own.
    """
    training = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    # An export in another thread exchanges the code of PyTorch's recurrent modules, whose source a script reads.
    with LOCK, _without_deprecations():
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(module)
        except Exception as error:  # its compiler asserts what it takes, and reads sources that were edited since
            raise UnsupportedModule(f"TorchScript cannot compile {type(module).__name__}: {error}") from error
        finally:
            for submodule, flag in training:
                submodule.training = flag
    if not hasattr(scripted, "forward"):  # of a forward with overloads it makes forward__0, forward__1, …
        raise UnsupportedModule(f"TorchScript gives {type(module).__name__} no forward")
    return scripted


def script_model(model: DescribedModel) -> tuple[torch.jit.ScriptModule | None, str]:
    """Script a described module; None, and why, where TorchScript cannot compile it, or its script does not run.

    TorchScript compiles some modules into scripts that raise where the module does not: it takes a parameter without
    annotation for a tensor, for example, and None for a tensor without values.
    """
    flat = model.module
    if flat.is_lenient:
        return (
            None,
            "TorchScript packs sorted rows only, or has the longest row's length for a size, as the module says",
        )
    if not flat.call.is_plain:
        return None, "forward's arguments are made of the model's inputs by code that TorchScript does not compile"
    try:
        scripted = script(flat.module)
        flat_script(scripted, flat.call.inputs, flat.outputs).run(draw_sample(model.inputs, model.sizes))
        script_bytes(scripted)
    except (UnsupportedModule, WrongArguments) as error:
        reason = " ".join(str(error).split())
    except (torch.jit.Error, RuntimeError) as error:
        reason = (
            "TorchScript's form of the module raises where the module does not. If a parameter of forward may be None, "
            f"annotate it: h: torch.Tensor | None = None. TorchScript: {str(error).strip().rpartition(chr(10))[2]}"
        )
    else:
        return scripted, ""
    return None, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def script_bytes(scripted: torch.jit.ScriptModule) -> bytes:
    """Write a script as the bytes of a file that `torch.jit.load` reads.

    The same script gives the same bytes in every process, whatever was scripted there before. They hold neither source
    paths nor debug records.

    Raises:
        UnsupportedModule: If TorchScript cannot write it, as where a parameter without annotation is None by default.
    """
    buffer = io.BytesIO()
    try:
        with _without_deprecations():
            torch.jit.save(scripted, buffer)
    except RuntimeError as error:
        raise UnsupportedModule(
            "TorchScript cannot write its form of the module. If a parameter of forward may be None, annotate it: "
            f"h: torch.Tensor | None = None. TorchScript: {error}"
        ) from error
    return canonical(buffer.getvalue())


def load_script(data: bytes) -> torch.jit.ScriptModule:
    """Load what `script_bytes` wrote, on the CPU; RuntimeError has torch's message if it cannot."""
    with _without_deprecations():
        scripted: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(data), map_location="cpu"
        )
    return scripted


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Suppress "torch.jit.… is deprecated": it still works, and model.pt is part of the artifact.

    The warning is a DeprecationWarning in torch 2.13 and a FutureWarning in 2.15. From Python 3.14 on it says "not
    supported in Python 3.14+".
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r".*torch\.jit.*(deprecated|not supported)", category)
        yield


_MANGLED = re.compile(r"\.___torch_mangle_\d+")
_QUALIFIED = re.compile(r"__torch__(?:\.\w+)+")
# The pickle opcode GLOBAL, by which data.pkl names a class: text up to two newlines, whatever its length.
_GLOBAL = re.compile(rb"c(__torch__[.\w]*)\n(\w+)\n")
_DEFINITION = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
_CONSTANTS = re.compile(r"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
# Strings first, so that no text within a string is taken for a name.
_TEMPORARY = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?<![\w.])_\d+\b""")
_MEMBER_LIKE_ONE = re.compile(r"\._\d+\b")
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


def canonical(archive: bytes) -> bytes:
    """Rewrite the bytes of a TorchScript file without paths and with names that depend on the module only.

    `torch.jit.save` writes debug records, which hold the paths of its sources; names like `___torch_mangle_7`, which
    count the classes of one name that the process has scripted so far; and the pickle's memo opcodes, which depend on
    the number of references to a tensor. Records and opcodes are removed, and classes of one name are numbered in the
    order in which the module uses them: the first `GRU` is `GRU`, the second `___torch_mangle_0.GRU`. The format:
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
        # Otherwise a string of data.pkl names a type, and its length is written before it: names stay.
        records.update(pickles)
        code = {}
        for old, new in renamed.items():
            code[_file_of(new)] = code.get(_file_of(new), "") + rename(definitions[old])
    records.update({name: text.encode() for name, text in sorted(code.items())})
    return _archive(records)


def _records(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        # Without the archive's own folder, which has the name of the saved file, and without debug records and the id.
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
    # A class's constants come from a set, whose order differs from process to process.
    text = _CONSTANTS.sub(lambda lines: "".join(sorted(lines[0].splitlines(keepends=True))), text)
    # Temporaries (_39) are numbered through a file, and which classes share a file depends on earlier scripts.
    if _MEMBER_LIKE_ONE.search(text):
        return text
    numbers: dict[str, str] = {}
    return _TEMPORARY.sub(
        lambda match: match[0] if match[0][0] in "\"'" else numbers.setdefault(match[0], f"_{len(numbers)}"), text
    )


def _in_order(definitions: dict[str, str], pickled: bytes) -> list[str]:
    """Order definitions as the module uses them: the classes of its objects, then what their code names."""
    order: dict[str, None] = {}
    waiting = [f"{namespace.decode()}.{name.decode()}" for namespace, name in _GLOBAL.findall(pickled)]
    while waiting:
        order.update(dict.fromkeys(name for name in waiting if name in definitions))
        named = [_known(token, definitions) for name in list(order) for token in _QUALIFIED.findall(definitions[name])]
        waiting = [name for name in dict.fromkeys(named) if name is not None and name not in order]
    rest = sorted(set(definitions) - set(order), key=lambda name: (_MANGLED.sub("", name), definitions[name]))
    return [*order, *rest]


def _known(token: str, names: dict[str, str]) -> str | None:
    """Return the longest known name that `token` begins with, since a member may follow the name."""
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

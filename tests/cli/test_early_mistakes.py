"""Mistakes that are visible without torch are reported before torch is imported."""

import subprocess
import sys

PROBE = """
import sys
from rnnserve.cli import main
for line in sys.stdin.read().splitlines():
    try:
        status = main(line.split("|"))
    except SystemExit as ended:
        status = ended.code
    loaded = {"torch", "onnx", "onnxruntime"} & sys.modules.keys()
    print(f"{line} -> {status} {sorted(loaded)}", flush=True)
    print("END", file=sys.stderr, flush=True)
"""

# By command line: what the one line says; none where help is printed.
CASES = {
    "train|--help": "",
    "train|nothing": "unknown model 'nothing'; expected one of direction_simple",
    "train|--checkpoints|FOLDER/file": "FOLDER/file cannot be written: FOLDER/file is a file, expected a folder",
    "train|--seed|two": "--seed: 'two' is not a whole number",
    "export|--help": "",
    "export|own.py": "own.py: the object's name is missing; write own.py:NAME",
    "export|FOLDER/owm.py:one": "there is no file FOLDER/owm.py; did you mean FOLDER/own.py?",
    "export|FOLDER/own:one": "a file's name must end with .py. Did you mean FOLDER/own.py:one?",
    "export|no_such_package.models:one": "there is no module 'no_such_package' in this folder or among",
    "export|nothing|--checkpoints|FOLDER": "there is no checkpoint FOLDER/nothing",
    "export|--checkpoints|FOLDER/nowhere": "there are no checkpoints in FOLDER/nowhere",
    "export|FOLDER/own.py:one|--repository|FOLDER/file": "the repository FOLDER/file is a file; expected a folder",
    "export|FOLDER/own.py:one|--repository|FOLDER/file/x": "cannot be created, because FOLDER/file is a file",
    "export|FOLDER/own.py:one|--repository|FOLDER/new|--sign-key|FOLDER/file": "does not hold a private key",
    "export|FOLDER/own.py:one|--sign-key-password-file|FOLDER/file": "a password was given without a key",
    "import|FOLDER/model.onnx|--name|a|--sign-key|FOLDER/file": "FOLDER/file: does not hold a private key in PEM",
    "import|FOLDER/model.onnx|--name|a|--sign-key-password-file|FOLDER/file": "a password was given without a key",
    "sign|FOLDER/repository/words/1|--release-only|--key-password-file|FOLDER/file": "password-file has no effect",
    "export|--repositry|x": "there is no option --repositry; did you mean --repository?",
    "inspect|FOLDER/repository|--public-key|FOLDER/no.pub": "FOLDER/no.pub: cannot be read: No such file or directory",
    "sign|FOLDER/repository/words/1|--key|FOLDER/file": "FOLDER/file: does not hold a private key in PEM",
    "sign|FOLDER/repository/words/1": "one of the arguments --key --release-only is required",
    "inspect|FOLDER/repository|--url|": "--url: the address is empty; expected HOST:PORT",
    "load|--seed|-5": "--seed: '-5' is not an integer of at least 0",
    "load|--duration|1e300": "--duration: '1e300' is not a number of seconds above 0 and up to 1,000,000",
    "verify|--help": "",
    "verify|FOLDER/nowhere": "there is no repository FOLDER/nowhere",
    "verify|FOLDER/file": "FOLDER/file is a file; expected a repository",
    "verify|FOLDER/repository|wrods": "no model 'wrods' in FOLDER/repository; the models are words; did you mean",
    "check|--help": "",
    "check|FOLDER/modle.onnx|--against|FOLDER/own.py:one": "there is no file FOLDER/modle.onnx; did you mean FOLDER/mo",
    "check|FOLDER|--against|FOLDER/own.py:one": "FOLDER is not a file; expected an ONNX file",
    "check|FOLDER/empty.onnx|--against|FOLDER/own.py:one": "FOLDER/empty.onnx is empty",
    "check|FOLDER/model.onnx|--against|FOLDER/owm.py:one": "there is no file FOLDER/owm.py",
    "check|FOLDER/model.onnx": "missing: --against",
    "check|FOLDER/model.onnx|--against|x|--timeout|2": "--timeout has been removed: the command now runs ",
    "import|--help": "",
    "import|FOLDER/model.onnx|--name|a/b": "the name 'a/b' cannot name a model's folder",
    "import|FOLDER/nothing.onnx|--name|a": "there is no file FOLDER/nothing.onnx",
    "import|FOLDER/model.onnx|--name|a|--samples|FOLDER/no.npz": "there is no file FOLDER/no.npz",
    "import|FOLDER/model.onnx|--name|a|--repository|FOLDER/file": "the repository FOLDER/file is a file",
}


def test_mistakes_and_help_are_printed_without_importing_torch(tmp_path):
    (tmp_path / "own.py").write_text("import torch\n")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "file").touch()
    (tmp_path / "repository" / "words" / "1").mkdir(parents=True)
    lines = "\n".join(CASES).replace("FOLDER", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", PROBE], input=lines, capture_output=True, text=True, check=True)
    outcomes = [line.rpartition(" -> ")[2] for line in done.stdout.splitlines() if " -> " in line]
    errors = done.stderr.replace(str(tmp_path), "FOLDER").split("END\n")
    for (words, expected), error, outcome in zip(CASES.items(), errors[:-1], outcomes, strict=True):
        status, loaded = outcome.split(" ", 1)
        assert loaded == "[]", words
        if not expected:
            assert (status, error) == ("0", ""), words
            continue
        command = words.split("|")[0]
        assert status in ("1", "2"), words
        assert error.startswith(f"rnnserve {command}: "), words
        assert expected in error, words
        assert error.count("\n") == 1, words
        assert (status == "2") == error.endswith(f"`rnnserve {command} --help`\n"), words

"""The model of `rnnserve demo` is what its source makes."""

import importlib.util
import json

import numpy as np
import torch

from kit.paths import ROOT
from rnnserve.load.commands import demo


def source():
    spec = importlib.util.spec_from_file_location("make_demo_model", ROOT / "load" / "make_demo_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module  # its name is in model.pt


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def manifest(path):
    """All but the versions of what made it, and its digest, which covers them."""
    read = json.loads(path.read_text())
    del read["versions"], read["self_sha256"]
    return read


def test_bundled_files_equal_the_output_of_their_source(tmp_path):
    making = source()
    assert (making.FOLDER, making.MODEL) == (demo.DEMO_MODELS, demo.MODEL)
    making.make(tmp_path)
    kept, made = files(demo.DEMO_MODELS), files(tmp_path)
    assert kept.keys() == made.keys()
    for name, path in kept.items():
        if path.name == "manifest.json":
            assert manifest(path) == manifest(made[name])
        else:
            assert path.read_bytes() == made[name].read_bytes(), f"{name}: run `make demo-model`"


def test_demo_model_counts_ones_modulo_2():
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (8, 50)))
    assert (source().OddOnes().eval()(bits) == bits.cumsum(1) % 2).all()

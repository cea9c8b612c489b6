"""The file of golden results is read as it was written, and incomplete cases are refused."""

import io
import time
import zipfile

import numpy as np
import pytest

from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case, dump_cases, load_cases


def test_dumped_cases_are_loaded_as_they_were(cases):
    loaded = load_cases(dump_cases(cases))
    assert [case.kind for case in loaded] == [case.kind for case in cases]
    for found, case in zip(loaded, cases, strict=True):
        for part in ("inputs", "eager", "float64"):
            expected = getattr(case, part)
            assert getattr(found, part).keys() == expected.keys()
            for name, array in getattr(found, part).items():
                assert array.dtype == expected[name].dtype
                np.testing.assert_array_equal(array, expected[name])


def test_same_cases_have_the_same_bytes_at_any_time(cases, monkeypatch):
    before = dump_cases(cases)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert dump_cases(cases) == before


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip file at all", dump_cases([])])
def test_file_without_cases_is_refused(data):
    with pytest.raises(ArtifactError, match=r"^golden\.npz: does not contain golden results"):
        load_cases(data)


@pytest.mark.parametrize("name", ["input.npy", "1/2/3/4/5.npy", "000/step/weights/w.npy"])
def test_entries_of_other_names_are_refused(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = io.BytesIO()
        np.save(entry, np.zeros(3))
        archive.writestr(name, entry.getvalue())
    with pytest.raises(ArtifactError, match=r"^golden\.npz: "):
        load_cases(buffer.getvalue())


def test_incomplete_cases_are_refused(cases):
    good = cases[0]
    for bad, message in [
        (
            Case("hop", good.inputs, good.eager, good.float64),
            'has the kind "hop"; expected one of step, walk, sample, random',
        ),
        (Case("step", good.inputs, {}, {"logits": good.float64["logits"]}), "has different tensors"),
        (Case("step", good.inputs, good.eager, {"logits": good.float64["logits"]}), "has different tensors"),
        (Case("step", {}, good.eager, good.float64), "has no inputs"),
    ]:
        with pytest.raises(ArtifactError, match=message):
            load_cases(dump_cases([bad]))


def test_file_has_the_entries_that_servers_read(cases):
    """Older and newer servers read entries named by number, kind, part and tensor, dated 1980 and not compressed."""
    with zipfile.ZipFile(io.BytesIO(dump_cases(cases[:2]))) as archive:
        infos = archive.infolist()
    outputs = ["logits", "output", "h_n"]
    parts = {"inputs": ["input", "lengths", "h_0"], "eager": outputs, "float64": outputs}
    names = [f"{part}/{name}" for part, held in parts.items() for name in held]
    assert [info.filename for info in infos] == [
        f"{case}/{name}.npy" for case in ("000/step", "001/walk") for name in names
    ]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {(info.create_system, info.compress_type) for info in infos} == {(3, zipfile.ZIP_STORED)}

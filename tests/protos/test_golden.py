"""The file of golden results: it gives back what was written, and what proves nothing is refused."""

import io
import time
import zipfile

import numpy as np
import pytest

from kit.running_means import a_case
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import KINDS, Case, dump_cases, load_cases


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


def test_the_order_of_more_than_a_thousand_cases_is_kept(cases):
    many = [a_case(KINDS[number % 3], 1, 1, number) for number in range(1200)]
    loaded = load_cases(dump_cases(many))
    assert all((a.inputs["input"] == b.inputs["input"]).all() for a, b in zip(loaded, many, strict=True))


def test_the_same_cases_give_the_same_bytes_at_any_time(cases, monkeypatch):
    before = dump_cases(cases)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert dump_cases(cases) == before


def test_nothing_is_pickled(cases):
    cases[0].inputs["input"] = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        dump_cases(cases)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip file at all", dump_cases([])])
def test_what_holds_no_cases_is_refused(data):
    with pytest.raises(ArtifactError, match=r"^golden\.npz: holds no golden results"):
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


def test_cases_that_prove_nothing_are_refused(cases):
    good = cases[0]
    for bad, message in [
        (Case("hop", good.inputs, good.eager, good.float64), 'is a "hop"; expected one of step, walk, sample, random'),
        (Case("step", good.inputs, {}, {"logits": good.float64["logits"]}), "does not have the same tensors"),
        (Case("step", good.inputs, good.eager, {"logits": good.float64["logits"]}), "does not have the same tensors"),
        (Case("step", {}, good.eager, good.float64), "has no inputs"),
    ]:
        with pytest.raises(ArtifactError, match=message):
            load_cases(dump_cases([bad]))


def test_a_case_says_its_kind_and_its_sizes():
    assert str(a_case("walk", 5, 9, 2)) == 'walk of "input" [5, 9, 2]'
    assert KINDS == ("step", "walk", "sample", "random")


def test_the_entries_of_the_file(cases):
    """Servers of other versions read it: number, kind, part and name, dated 1980, made on a Unix, not compressed."""
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


def test_a_case_names_the_shapes_of_any_inputs():
    case = Case("step", {"tokens": np.zeros((2, 3), np.int64), "flag": np.zeros(2, np.bool_)}, {}, {})
    assert str(case) == 'step of "tokens" [2, 3]'


def test_the_case_that_is_wrong_is_named_by_its_number(cases):
    bad = Case("hop", cases[1].inputs, cases[1].eager, cases[1].float64)
    with pytest.raises(ArtifactError, match="case 001 is a "):
        load_cases(dump_cases([cases[0], bad]))

"""The watch uses new valid TLS files, and logs invalid files without a change."""

import datetime as dt

import pytest
import trustme

from kit.logged import logged
from kit.rotated_files import WAYS, RotatedFiles
from rnnserve.common.tls_identity import TlsWatch, read_identity


class Watched:
    """A watch, the files that it used, and how often it refused files."""

    def __init__(self, rotated):
        self.used, self.refused = [], 0
        self.watch = TlsWatch(rotated.files, read_identity(rotated.files), self.used.append, self._refuse)

    def _refuse(self):
        self.refused += 1

    def looks(self, count=2):
        for _ in range(count):
            self.watch.look()


@pytest.fixture(params=WAYS)
def rotated(tmp_path, request):
    return RotatedFiles(tmp_path / "tls", request.param, mutual=True)


@pytest.fixture
def log():
    with logged("rnnserve.common") as log:
        yield log


def test_unchanged_files_are_used_once(rotated, log):
    watched = Watched(rotated)
    rotated.replace(certificate=rotated.certificate)  # as it was
    watched.looks(3)
    assert (watched.used, watched.refused, log.messages) == ([], 0, [])


def test_each_new_pair_is_used_once(rotated, log):
    watched = Watched(rotated)
    for count in range(1, 4):
        certificate = rotated.rotate()
        watched.looks(3)
        assert len(watched.used) == count
        assert watched.used[-1].certificate == certificate
    assert len(log.messages) == 3
    assert watched.refused == 0


def years(first):
    """The dates of a certificate for one year."""
    return {
        "not_before": dt.datetime(first, 1, 1, tzinfo=dt.UTC),
        "not_after": dt.datetime(first + 1, 1, 1, tzinfo=dt.UTC),
    }


def wrong_files(rotated):
    """Invalid files, and the words of the log, by mistake."""
    certificate, key = rotated.issued()
    past = rotated.issued(**years(2020))
    future = rotated.issued(**years(2040))
    stranger = trustme.CA().create_child_ca().issue_cert("localhost")
    parent = stranger.cert_chain_pems[1].bytes()
    child = rotated.authority.create_child_ca().issue_cert("localhost")
    return {
        "a certificate of another key": ((certificate, None, None), "KEY_VALUES_MISMATCH"),
        "a key of another certificate": ((None, key, None), "KEY_VALUES_MISMATCH"),
        "half a certificate": ((certificate[:-300], key, None), "expected a certificate chain"),
        "half a key": ((certificate, key[: len(key) // 2], None), "expected a certificate chain"),
        "nothing": ((b"", b"", None), "expected a certificate chain"),
        "an expired certificate": ((*past, None), "certificate has expired"),
        "a certificate for later": ((*future, None), "certificate is not yet valid"),
        "a chain that is none": (
            (child.cert_chain_pems[0].bytes() + parent, child.private_key_pem.bytes(), None),
            "must be followed by the one that signed it",
        ),
        "an authority that is none": ((certificate, key, b"no certificate"), "holds no certificates in PEM"),
        "half an authority": ((certificate, key, parent[:200]), "holds no certificates in PEM"),
        "far too much": ((b"x" * (2 << 20), None, None), "1,048,576"),
    }


def test_wrong_files_are_logged_once_and_change_nothing(tmp_path, log):
    rotated = RotatedFiles(tmp_path / "tls", mutual=True)
    for kind, (files, said) in wrong_files(rotated).items():
        watched = Watched(rotated)
        rotated.replace(*files)
        watched.looks(1)
        assert (watched.refused, log.messages) == (0, []), f"{kind}: it may be half written"
        watched.looks(5)
        assert watched.refused == 1, kind
        (line,) = log.messages
        assert said in line, kind
        certificate = rotated.rotate(rotated.clients)
        watched.looks()
        assert [used.certificate for used in watched.used] == [certificate], kind
        log.records.clear()


def test_pair_written_one_file_at_a_time_is_used(tmp_path, log):
    rotated = RotatedFiles(tmp_path)
    watched = Watched(rotated)
    for _ in range(5):
        certificate, key = rotated.issued()
        rotated.replace(certificate=certificate)
        watched.looks(1)
        rotated.replace(key=key)
        watched.looks(2)
        assert watched.used[-1].certificate == certificate
    assert watched.refused == 0
    assert len(watched.used) == 5


def test_end_is_the_earliest_end_in_the_chain(tmp_path):
    rotated = RotatedFiles(tmp_path)
    early, _ = rotated.issued(**years(2020))
    late, key = rotated.issued(**years(2040))
    for chain in (early + late, late + early):
        rotated.replace(certificate=chain, key=key)
        assert read_identity(rotated.files).end == dt.datetime(2021, 1, 1, tzinfo=dt.UTC).timestamp()
    rotated.replace(certificate=b"no certificate", key=key)
    assert read_identity(rotated.files).end == 0.0

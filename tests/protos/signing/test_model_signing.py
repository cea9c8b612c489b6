"""OpenSSF model-signing verifies our signatures, and we read its signatures."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying

from kit.signed_versions import make_key, publish_signed
from kit.tiny import publish_tiny
from rnnserve.protos.artifact import read_version
from rnnserve.protos.signing.signed_version import BUNDLE, read_signed, write_release


@pytest.fixture(params=[ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def key(tmp_path, request):
    return make_key(tmp_path, "ours", request.param)


def verify(folder, key):
    verifying.Config().use_elliptic_key_verifier(public_key=key.public).verify(folder, folder / BUNDLE)


def test_model_signing_verifies_our_signature(tmp_path, key):
    verify(publish_signed(tmp_path / "repository", key), key)


@pytest.mark.parametrize("is_inside", [True, False])
def test_signature_of_model_signing_is_read(tmp_path, key, is_inside):
    folder = publish_tiny(tmp_path / "repository")
    write_release(folder, sequence=3)
    signer = signing.Config().use_elliptic_key_signer(private_key=key.private)
    if is_inside:
        ignored = hashing.Config().set_ignored_paths(paths=[folder / BUNDLE])
        signer.set_hashing_config(ignored).sign(folder, folder / BUNDLE)
    else:
        signer.sign(folder, tmp_path / "beside.sig")
        (tmp_path / "beside.sig").rename(folder / BUNDLE)
    signed = read_signed(folder, [key.key.public])
    assert (signed.key_id, signed.release.sequence) == (key.key.id, 3)
    read_version(folder, signed=signed.files)

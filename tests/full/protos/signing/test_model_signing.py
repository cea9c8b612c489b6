"""OpenSSF model-signing refuses a version that was changed, and one that another key has signed."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from kit.signed_versions import make_key, publish_signed
from rnnserve.protos.signing.signed_version import BUNDLE


@pytest.fixture(params=[ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def key(tmp_path, request):
    return make_key(tmp_path, "ours", request.param)


def verify(folder, key):
    verifying.Config().use_elliptic_key_verifier(public_key=key.public).verify(folder, folder / BUNDLE)


def test_model_signing_refuses_our_signature_when_a_file_has_changed(tmp_path, key):
    folder = publish_signed(tmp_path / "repository", key)
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"Hash mismatch for .*model\.onnx"):
        verify(folder, key)


def test_model_signing_refuses_our_signature_with_another_key(tmp_path, key):
    folder = publish_signed(tmp_path / "repository", key)
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(folder, make_key(tmp_path, "stranger"))

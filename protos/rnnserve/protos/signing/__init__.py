"""Signed versions: the bundle model.sig in a version's folder, its signed content, and the keys.

The format is OpenSSF model-signing 1.1.1 for an elliptic-curve key, so each tool can verify the other's signatures. It
is a Sigstore bundle (v0.3) with one DSSE envelope, whose payload is an in-toto statement with the SHA-256 of each file.
One of the files is release.json. It binds what the format leaves out: model, version, config.pbtxt, and a sequence
number that never decreases.

`bundle` and `statement` read and write the two layers, strictly (`strict_json`) and within bounds. `release` is the
file release.json. `signed_version` combines them for the folder of a version. Only `keys` imports the package
cryptography.

Imports `artifact`, `triton_config` and `rnnserve.common`.

Public: `keys`, `signed_version`.
"""

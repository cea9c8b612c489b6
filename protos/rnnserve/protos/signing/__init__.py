"""Signed versions: the bundle model.sig beside a version's files, what is signed in it, and the keys.

The format is that of OpenSSF model-signing 1.1.1 for an elliptic-curve key, so that its own tool verifies what is
signed here, and what it signs is read here: a Sigstore bundle (v0.3) of one DSSE envelope, whose payload is an in-toto
statement with the SHA-256 of each file. One of the files is release.json, which binds what that format does not:
model, version, config.pbtxt, and a sequence number that never goes back.

`bundle` and `statement` read and write the two layers, strictly (`strict_json`) and within bounds; `release` is the
file; `signed_version` puts them together for the folder of a version. `keys` alone imports the package cryptography.

Imports `artifact`, `triton_config` and `rnnserve.common`.

Door: `keys`, `signed_version`.
"""

"""The TOML files that map tokens (--tokens) or client certificates (--client-roles) to roles.

Each table of the token file has the digest of a token, never the token itself::

    [team-a]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    role = "infer"                        # or "admin", "metrics"
    models = ["direction_bidirectional"]  # default: all models
    not_after = 2027-06-30T00:00:00Z      # default: no expiry

A token has 256 random bits, so a plain digest of it is enough. In the file of client roles, each table names a
certificate instead::

    [team-b]
    subject = "CN=team-b,O=Example"                  # the whole subject in RFC 4514 order: the last part first
    role = "infer"

    [prometheus]
    subject = "uri:spiffe://example.org/prometheus"  # or a subject alternative name, "uri:" or "dns:"
    role = "metrics"

The server rejects a file with any mistake as a whole. Otherwise a misspelled `models` would grant access to all models.
"""

import base64
import contextlib
import dataclasses
import datetime as dt
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnserve.common.extras import missing_package
from rnnserve.common.regular_files import OpenToAll, read_guarded
from rnnserve.protos.access_table import ROLES
from rnnserve.protos.names import is_model_name
from rnnserve.protos.protocol_words import AUTHORIZATION
from rnnserve.server.errors import Unauthenticated, UnknownCertificate

__all__ = [
    "CLIENT_ROLES",
    "TOKENS",
    "AccessFileError",
    "AccessRow",
    "add_token",
    "listed_tokens",
    "read_content",
    "read_rows",
    "revoke_token",
]

_MOST_BYTES = 4 << 20
"""Bytes of the token file or the file of client roles. Beyond it: the file is rejected, and the previous content stays
in use."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_FORMER_KEYS = ("rate", "in_flight", "bytes_per_second")

_PREFIX = "rnn_"
"""Prefix by which secret scanners recognize a token."""

_OWNER_AND_GROUP = 0o660
"""Mode bits that survive a rewrite of the file, so that a server running as another user of the group can still read
it."""


_SCHEME = "bearer "

_MOST_TEXT = 6 << 10
"""Maximum length of a base64 certificate, in characters. An RSA key of 4096 bits and ten names take 3,000. The HTTP
gateway doesn't pass on larger ones, because gRPC accepts only 8 KiB of metadata."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_URI, _DNS = "uri:", "dns:"


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A kind of credentials, and the file that assigns roles to them. `shown` reads the credentials from a call."""

    title: str  # name of the file in messages
    key: str  # the key that identifies the holder in each table of the file
    is_secret: bool  # whether the file must be unreadable for other users
    read_key: Callable[[object], bytes | str]  # parses the value of `key`, or raises ValueError
    shown: Callable[[Iterable[Any], Callable[[], str]], str]
    keys: Callable[[str], Sequence[bytes | str]]
    refusal: type[Unauthenticated]  # raised for unknown callers


def _read_digest(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("expected 64 hexadecimal digits, the SHA-256 of a token (rnnserve token new)")
    return bytes.fromhex(value)


def _shown_token(metadata: Iterable[Any], _: Callable[[], str]) -> str:
    """Return the authorization header. Raise Unauthenticated if there are several."""
    found: Any = None
    for entry in metadata:  # by index: unpacking gRPC's named tuples takes 1.5 times as long
        if entry[0] == AUTHORIZATION:
            if found is not None:
                raise Unauthenticated
            found = entry[1]
    if isinstance(found, str):
        return found
    return "" if found is None else "not text"


def _digest_of(header: str) -> Sequence[bytes]:
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return ()
    return (hashlib.sha256(header[len(_SCHEME) :].encode(errors="replace")).digest(),)


def _read_subject(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError('expected a name in a client certificate: "CN=…,O=…", "uri:…" or "dns:…"')
    if value.startswith((_URI, _DNS)):
        return value.lower() if value.startswith(_DNS) else value
    try:
        from cryptography import x509
    except ModuleNotFoundError:
        raise ValueError(missing_package("cryptography", "server")) from None
    try:
        return x509.Name.from_rfc4514_string(value).rfc4514_string()
    except ValueError as error:
        raise ValueError(
            f'expected a subject in the format of RFC 4514 ("CN=team-a,O=Example"), "uri:…" or "dns:…": {error}'
        ) from error


def names_in(certificate: str) -> tuple[str, ...]:
    """Return the subject, URIs and DNS names of a certificate (PEM or base64 DER), if it can be parsed."""
    from cryptography import x509

    text = "".join(certificate.partition(_END)[0].rpartition(_BEGIN)[2].split())
    if len(text) > _MOST_TEXT:
        return ()
    try:
        read = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        subject = read.subject.rfc4514_string()
        try:
            others = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return (subject,) if subject else ()
        uris = [f"{_URI}{name}" for name in others.get_values_for_type(x509.UniformResourceIdentifier)]
        hosts = [f"{_DNS}{name.lower()}" for name in others.get_values_for_type(x509.DNSName)]
    except Exception:  # noqa: BLE001 - the parser raises many types, even for certificates that TLS accepts
        return ()
    return (*([subject] if subject else []), *uris, *hosts)


TOKENS = Credentials(
    title="the file of tokens",
    key="sha256",
    is_secret=True,
    read_key=_read_digest,
    shown=_shown_token,
    keys=_digest_of,
    refusal=Unauthenticated,
)

CLIENT_ROLES = Credentials(
    title="the file of client roles",
    key="subject",
    is_secret=False,
    read_key=_read_subject,
    shown=lambda _, certificate: certificate(),
    keys=names_in,
    refusal=UnknownCertificate,
)


class AccessFileError(Exception):
    """The access file cannot be used. The message gives the reason, the table and the key."""


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRow:
    """A table of the access file: the holder's role, models (None: all) and expiry time (None: never)."""

    name: str
    key: bytes | str  # SHA-256 of the token, or a name in the client's certificate
    role: str
    models: frozenset[str] | None = None
    not_after: float | None = None  # seconds since the epoch

    def is_for(self, name: str) -> bool:
        """Return whether the holder may use this model name, even if the model doesn't exist."""
        return self.models is None or name in self.models


def read_content(path: Path, kind: Credentials) -> bytes:
    """Read the file. Raise AccessFileError if that fails, or if other users can change it or read its secrets."""
    try:
        return read_guarded(path, _MOST_BYTES, is_secret=kind.is_secret)
    except OpenToAll as error:
        raise AccessFileError(f"{kind.title} {path} {error.strerror}") from error
    except OSError as error:
        raise AccessFileError(f"{kind.title} {path} cannot be read: {error.strerror or error}") from error


def read_rows(content: bytes, path: Path, kind: Credentials) -> dict[bytes | str, AccessRow]:
    """Return the rows by key, in file order. Raise AccessFileError if anything in the file is invalid."""
    try:
        tables = tomllib.loads(content.decode())
    except ValueError as error:
        raise AccessFileError(f"{path} is not valid TOML: {error}") from error
    rows: dict[bytes | str, AccessRow] = {}
    for name, table in tables.items():
        row = _read_row(f"{path}: [{name}]", name, table, kind)
        if row.key in rows:
            raise AccessFileError(f"{path}: [{name}] {kind.key}: [{rows[row.key].name}] has the same value")
        rows[row.key] = row
    return rows


def _read_row(where: str, name: str, table: object, kind: Credentials) -> AccessRow:
    if not isinstance(table, dict):
        raise AccessFileError(f"{where} expected a table: [name]")
    if not _NAME.fullmatch(name):
        raise AccessFileError(f"{where} expected a name of 1 to 64 letters, digits, _ and -")
    readers = {kind.key: kind.read_key, "role": _role, "models": _models, "not_after": _not_after}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _FORMER_KEYS:
            raise AccessFileError(
                f"{where} {key}: token limits were removed from rnnserve; delete this key and limit rates in a proxy"
            )
        if key not in readers:
            raise AccessFileError(f"{where} {key}: unknown key; expected {', '.join(readers)}")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise AccessFileError(f"{where} {key}: {error}") from error
    for key in (kind.key, "role"):
        if key not in values:
            raise AccessFileError(f"{where} {key} is missing")
    return AccessRow(name, values[kind.key], values["role"], values.get("models"), values.get("not_after"))


def _role(value: object) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise ValueError(f"expected one of {', '.join(ROLES)}")
    return value


def _models(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and is_model_name(name) for name in value):
        raise ValueError("expected a list of model names")
    return frozenset(value)


def _not_after(value: object) -> float:
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise ValueError("expected a date and time with a time zone, such as 2027-06-30T00:00:00Z")
    return value.timestamp()


def add_token(
    path: Path, name: str, role: str, models: Sequence[str] | None = None, not_after: dt.datetime | None = None
) -> str:
    """Create a token, write its digest to the file, and return the token. The token itself isn't stored.

    Creates the file if it is missing. If `models` is None, the token is valid for all models. If `not_after` is None,
    it doesn't expire. Raises AccessFileError if the file cannot be used or already has a token with this name.
    """
    if not _NAME.fullmatch(name):
        raise AccessFileError(f"{name!r} is not a valid token name; expected 1 to 64 letters, digits, _ and -")
    token = _PREFIX + secrets.token_urlsafe(32)
    lines = [f"[{name}]", f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"', f'role = "{role}"']
    if models is not None:  # no character of a model name needs escaping in TOML
        quoted = [f'"{model}"' for model in models]
        lines.append(f"models = [{', '.join(quoted)}]")
    if not_after is not None:
        lines.append(f"not_after = {not_after.isoformat()}")
    with _locked(path):
        text = _text_of(path)
        if any(each.name == name for each in read_rows(text.encode(), path, TOKENS).values()):
            raise AccessFileError(f"{path} already has a token {name}; revoke it first, or choose another name")
        separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        _write(path, text + separator + "\n".join(lines) + "\n")
    return token


def revoke_token(path: Path, name: str) -> None:
    """Remove a token from the file and keep the rest. Raise AccessFileError if the file has no such token."""
    with _locked(path):
        text = _text_of(path)
        tokens = read_rows(text.encode(), path, TOKENS)
        if all(token.name != name for token in tokens.values()):
            raise AccessFileError(f"{path} has no token {name}")
        left = _without_table(text, name)
        expected = {digest: token for digest, token in tokens.items() if token.name != name}
        if read_rows(left.encode(), path, TOKENS) != expected:  # edited by hand into another form
            raise AccessFileError(f"{path}: cannot find the lines of [{name}]; remove them by hand")
        _write(path, left)


def _without_table(text: str, name: str) -> str:
    """Remove a table, up to the next table or the comments and blank lines before that."""
    lines = text.splitlines(keepends=True)
    head = re.compile(rf"""[ \t]*\[[ \t]*["']?{re.escape(name)}["']?[ \t]*\]""")
    begin = next((at for at, line in enumerate(lines) if head.match(line)), len(lines))
    end = next((at for at in range(begin + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return "".join(lines[:begin] + lines[end:])


def listed_tokens(path: Path) -> list[AccessRow]:
    """Return the tokens of the file, sorted by name. Raise AccessFileError if the file cannot be used."""
    return sorted(read_rows(read_content(path, TOKENS), path, TOKENS).values(), key=lambda token: token.name)


def _text_of(path: Path) -> str:
    try:
        return read_content(path, TOKENS).decode() if path.exists() else ""
    except UnicodeDecodeError as error:
        raise AccessFileError(f"{path} is not UTF-8 text") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock out other writers. The lock is on the folder, because each change creates a new file."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AccessFileError(f"cannot write the token file {path}: {error.strerror or error}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, text: str) -> None:
    """Replace the file atomically (following a symlink). Owner, group and mode stay: the server may be another user."""
    path = path.resolve()
    try:
        before = path.stat() if path.exists() else None
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
        written = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                if before is not None:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), before.st_mode & _OWNER_AND_GROUP)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AccessFileError(f"cannot write the token file {path}: {error.strerror or error}") from error

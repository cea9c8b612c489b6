"""The names in a client's certificate, and the file that gives them roles."""

import base64
import re
from pathlib import Path

import pytest

from kit.certificates import ClientAuthority, role_row
from kit.tokens import bearer, tokens_in
from rnnserve.protos.access_table import Need
from rnnserve.server.access.access_file import CLIENT_ROLES, AccessFileError, names_in, read_content, read_rows
from rnnserve.server.access.gate import Gate, open_gate
from rnnserve.server.errors import StartError, Unauthenticated, UnknownCertificate
from rnnserve.server.settings import Settings

INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def authority():
    return ClientAuthority()


def pem_of(identity):
    return identity.certificate.decode()


def der_of(identity):
    return re.sub(r"-----[^-]+-----|\s", "", pem_of(identity))


def test_names_are_read_from_pem_der_and_chain(authority):
    issued = authority.issue("CN=team-a,OU=Robots\\, small,O=Example", ["spiffe://example.org/a"], ["A.example.org"])
    names = ("CN=team-a,OU=Robots\\, small,O=Example", "uri:spiffe://example.org/a", "dns:a.example.org")
    for text in (pem_of(issued), der_of(issued), (issued.certificate + authority.pem).decode()):
        assert names_in(text) == names
    assert names_in(pem_of(authority.issue("CN=only"))) == ("CN=only",)
    assert names_in(pem_of(authority.issue("", ["urn:a"]))) == ("uri:urn:a",)
    assert names_in(pem_of(authority.issue())) == ()


def test_unreadable_and_large_certificates_have_no_names(authority):
    short = base64.b64encode(b"\x30\x82").decode()
    beside = f"!{der_of(authority.issue('CN=only'))}"
    for text in ("", "x", "-----BEGIN CERTIFICATE-----", short, beside, "A" * 7000, "\ud800é"):
        assert names_in(text) == ()
    large = authority.issue("CN=large", [f"urn:{'x' * 100}:{number}" for number in range(60)])
    assert len(der_of(large)) > 6 << 10
    assert names_in(pem_of(large)) == names_in(der_of(large)) == ()


def read(text):
    return read_rows(text.encode(), Path("r.toml"), CLIENT_ROLES)


def test_row_has_the_fields_of_a_token_and_a_normalized_subject():
    text = role_row("a", "CN=a,O=Example", "infer", 'models = ["m"]', "not_after = 2030-01-01T00:00:00Z")
    ((key, row),) = read(text).items()
    assert key == row.key == "CN=a,O=Example"
    assert (row.role, row.models) == ("infer", frozenset("m"))
    assert list(read(role_row("b", "dns:B.example.org", "metrics"))) == ["dns:b.example.org"]


def test_wrong_row_is_refused_with_its_table_and_key():
    for text, said in (
        (role_row("a", "team-a", "infer"), "r.toml: [a] subject: expected a subject in the format of RFC 4514"),
        (role_row("a", "CN = x, O = y", "infer"), "r.toml: [a] subject: expected a subject in the format of RFC 4514"),
        (role_row("a", "", "infer"), "r.toml: [a] subject: expected a name"),
        ('[a]\nsubject = 1\nrole = "infer"\n', "r.toml: [a] subject: expected a name"),
        (f'[a]\nsha256 = "{"ab" * 32}"\nrole = "infer"\n', "sha256: unknown key; expected subject, role"),
        (role_row("a", "CN=x,O=y", "infer") + role_row("b", "CN=x,O=y", "admin"), "subject: [a] has the same"),
    ):
        with pytest.raises(AccessFileError, match=re.escape(said)):
            read(text)


def test_file_may_be_readable_but_not_writable_by_others(tmp_path):
    path = tmp_path / "roles.toml"
    path.write_text("")
    path.chmod(0o644)
    assert read_content(path, CLIENT_ROLES) == b""
    for mode in (0o646, 0o666):
        path.chmod(mode)
        with pytest.raises(AccessFileError, match=r"the file of client roles .* is accessible to every user"):
            read_content(path, CLIENT_ROLES)


@pytest.fixture
def roles(tmp_path):
    path = tmp_path / "roles.toml"
    path.write_text(
        role_row("a", "CN=a,O=Example", "infer", 'models = ["m"]')
        + role_row("scraper", "uri:spiffe://example.org/scraper", "metrics")
        + role_row("old", "dns:old.example.org", "admin", "not_after = 2020-01-01T00:00:00Z")
    )
    return path


@pytest.fixture
def gate(roles):
    return Gate(roles, credentials=CLIENT_ROLES)


@pytest.fixture
def shown(authority):
    """Returns a function that issues a certificate and returns a callable for its PEM."""

    def show(*names):
        text = pem_of(authority.issue(*names))
        return lambda: text

    return show


def test_certificate_without_a_row_is_refused_like_no_certificate(gate, shown, tmp_path):
    token = bearer(tokens_in(tmp_path).admin)
    words = set()
    for names in (
        ("CN=a",),
        ("O=Example,CN=a",),
        ("CN=A,O=Example",),
        ("CN=b,O=Example", ["spiffe://example.org/scraper/x"], ["a"]),
        ("CN=b", [], ["old.example.org"]),  # whose row has ended
    ):
        with pytest.raises(UnknownCertificate) as refused:
            gate.admit(INFER, token, shown(*names))
        words.add(str(refused.value))
    with pytest.raises(Unauthenticated) as without:
        gate.admit(INFER, token)
    assert words == {str(without.value)}


def test_first_matching_row_applies(roles, shown):
    roles.write_text(role_row("b", "uri:urn:b", "metrics") + role_row("a", "CN=a", "admin"))
    gate = Gate(roles, credentials=CLIENT_ROLES)
    certificate = shown("CN=a", ["urn:b"])
    assert [gate.grant_with(Need.ANY_TOKEN, [], certificate).token.name for _ in range(2)] == ["b", "b"]


def test_mutually_exclusive_options_are_refused(roles, tmp_path):
    certificate = {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    with pytest.raises(StartError, match="--client-roles needs --tls-client-ca"):
        Settings(tmp_path, client_roles=roles, **certificate)
    with pytest.raises(StartError, match="--tokens and --client-roles exclude each other"):
        Settings(client_roles=roles, tokens=roles)
    mutual = {"client_roles": roles, "tls_client_ca": tmp_path / "ca.pem", **certificate}
    with pytest.raises(StartError, match="--metrics-port has no TLS"):
        Settings(**mutual).check_metrics_port(0)
    Settings(**mutual).check_metrics_port(None)
    Settings(tokens=roles).check_metrics_port(0)
    assert open_gate(Settings(**mutual)).shown([], lambda: "its certificate") == "its certificate"

"""The names in a client's certificate, and the file that gives them roles."""

import base64
import re
from pathlib import Path

import pytest

from kit.client_certificates import ClientAuthority, role_row
from kit.tokens import bearer, tokens_in
from rnnserve.server.access.access_file import AccessFileError, read_content, read_rows
from rnnserve.server.access.client_certificates import CLIENT_ROLES, names_in
from rnnserve.server.access.credentials import ClientCertificates
from rnnserve.server.access.gate import Gate, open_gate
from rnnserve.server.access.refusals import PermissionDenied, Unauthenticated, UnknownCertificate
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings
from rnnserve.server.settings.access import AccessSettings

INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def authority():
    return ClientAuthority()


def der_of(identity):
    return re.sub(r"-----[^-]+-----|\s", "", identity.certificate.decode())


def test_the_names_of_a_certificate_in_either_form(authority):
    issued = authority.issue("CN=team-a,OU=Robots\\, small,O=Example", ["spiffe://example.org/a"], ["A.example.org"])
    names = ("CN=team-a,OU=Robots\\, small,O=Example", "uri:spiffe://example.org/a", "dns:a.example.org")
    assert names_in(issued.certificate.decode()) == names
    assert names_in(der_of(issued)) == names
    chain = (issued.certificate + authority.pem).decode()
    assert names_in(chain) == names


def test_certificates_with_few_names(authority):
    assert names_in(authority.issue("CN=only").certificate.decode()) == ("CN=only",)
    assert names_in(authority.issue("", ["urn:a"]).certificate.decode()) == ("uri:urn:a",)
    assert names_in(authority.issue().certificate.decode()) == ()


@pytest.mark.parametrize(
    "text", ["", "x", "-----BEGIN CERTIFICATE-----", base64.b64encode(b"\x30\x82").decode(), "A" * 7000, "\ud800é"]
)
def test_what_is_no_certificate_has_no_names(text):
    assert names_in(text) == ()


def test_a_certificate_that_is_too_large_has_none(authority):
    large = authority.issue("CN=large", [f"urn:{'x' * 100}:{number}" for number in range(60)])
    assert len(der_of(large)) > 6 << 10
    assert names_in(large.certificate.decode()) == names_in(der_of(large)) == ()


def read(text):
    return read_rows(text.encode(), Path("r.toml"), CLIENT_ROLES)


def test_a_row_has_the_fields_of_a_token():
    text = role_row(
        "a", "CN=a,O=Example", "infer", 'models = ["m"]', "not_after = 2030-01-01T00:00:00Z", "rate = 2.0",
        "in_flight = 3", "bytes_per_second = 4",
    )  # fmt: skip
    ((key, row),) = read(text).items()
    assert key == row.key == "CN=a,O=Example"
    assert (row.role, row.models, row.limits.rate, row.limits.in_flight) == ("infer", frozenset("m"), 2.0, 3)
    ((key, _),) = read(role_row("b", "dns:B.example.org", "metrics")).items()
    assert key == "dns:b.example.org"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (role_row("a", "team-a", "infer"), "r.toml:2: [a] subject: expected a subject as RFC 4514 writes it"),
        (role_row("a", "CN = x, O = y", "infer"), "r.toml:2: [a] subject: expected a subject as RFC 4514 writes it"),
        (role_row("a", "", "infer"), "r.toml:2: [a] subject: expected a name"),
        ('[a]\nsubject = 1\nrole = "infer"\n', "r.toml:2: [a] subject: expected a name"),
        ('[a]\nrole = "infer"\n', "subject is missing"),
        (f'[a]\nsha256 = "{"ab" * 32}"\nrole = "infer"\n', "sha256: there is no such key; there are subject, role"),
        (role_row("a", "CN=x,O=y", "infer") + role_row("b", "CN=x,O=y", "admin"), "subject: that of a, too"),
        (role_row("a", "CN=x", "root"), "role: expected one of"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(text, said):
    with pytest.raises(AccessFileError, match=re.escape(said)):
        read(text)


def test_others_may_read_the_file_and_not_write_it(tmp_path):
    path = tmp_path / "roles.toml"
    path.write_text("")
    path.chmod(0o644)
    assert read_content(path, CLIENT_ROLES) == b""
    for mode in (0o646, 0o666):
        path.chmod(mode)
        with pytest.raises(AccessFileError, match=r"the file of client roles .* is open to every user"):
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
    return Gate(roles, credentials=ClientCertificates())


def shown(identity):
    return lambda: identity.certificate.decode()


def test_a_call_is_let_in_by_the_certificate_of_its_client(gate, authority):
    grant = gate.admit(INFER, [], shown(authority.issue("CN=a,O=Example")))
    assert grant.token.name == "a"
    assert grant.is_for("m")
    assert not grant.is_for("n")
    scraper = shown(authority.issue("CN=anything", ["spiffe://example.org/scraper"]))
    with pytest.raises(PermissionDenied):
        gate.admit(INFER, [], scraper)


def test_whose_certificate_has_no_row_is_refused_as_one_without(gate, authority, tmp_path):
    tokens = tokens_in(tmp_path)
    kinds = [
        ("CN=a", [], []),
        ("O=Example,CN=a", [], []),
        ("CN=A,O=Example", [], []),
        ("CN=b,O=Example", ["spiffe://example.org/scraper/x"], ["a"]),
        ("CN=b", [], ["old.example.org"]),  # whose row has ended
    ]
    words = set()
    for names in kinds:
        with pytest.raises(UnknownCertificate) as refused:
            gate.admit(INFER, bearer(tokens.admin), shown(authority.issue(*names)))
        words.add(str(refused.value))
    with pytest.raises(Unauthenticated) as without:
        gate.admit(INFER, bearer(tokens.admin))
    assert words == {str(without.value)}


def test_of_several_rows_that_fit_the_first_holds(roles, authority):
    roles.write_text(role_row("b", "uri:urn:b", "metrics") + role_row("a", "CN=a", "admin"))
    gate = Gate(roles, credentials=ClientCertificates())
    certificate = shown(authority.issue("CN=a", ["urn:b"]))
    for _ in range(2):
        assert gate.grant_of([], certificate).token.name == "b"


def test_the_file_is_read_again(gate, roles, authority):
    certificate = shown(authority.issue("CN=a,O=Example"))
    grant = gate.admit(INFER, [], certificate)
    roles.write_text(role_row("b", "CN=b", "infer"))
    assert gate.look(1e9)
    assert not grant.is_valid
    with pytest.raises(UnknownCertificate):
        gate.admit(INFER, [], certificate)
    assert gate.admit(INFER, [], shown(authority.issue("CN=b"))).token.name == "b"
    roles.write_text("[b")
    assert gate.look(2e9)
    assert gate.admit(INFER, [], shown(authority.issue("CN=b"))).token.name == "b"


def test_options_that_do_not_fit_together(roles, tmp_path):
    certificate = {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    with pytest.raises(StartError, match="--client-roles needs --tls-client-ca"):
        Settings(tmp_path, client_roles=roles, **certificate)
    with pytest.raises(StartError, match="--tokens and --client-roles exclude each other"):
        AccessSettings(client_roles=roles, tokens=roles)
    with pytest.raises(StartError, match="--closed-health needs --tokens or --client-roles"):
        AccessSettings(closed_health=True)
    Settings(tmp_path, client_roles=roles, closed_health=True, tls_client_ca=tmp_path / "ca.pem", **certificate)
    with pytest.raises(StartError, match="--metrics-port is without TLS"):
        AccessSettings(client_roles=roles).check_metrics_port(0)
    AccessSettings(client_roles=roles).check_metrics_port(None)
    AccessSettings(tokens=roles).check_metrics_port(0)
    assert open_gate(AccessSettings(client_roles=roles)).credentials.is_of_connection

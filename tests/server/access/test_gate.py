"""The gate without a server: the calls that it admits, and changes of its file."""

import itertools
import logging

import pytest

from kit.tokens import LONG_AGO, bearer, tokens_in
from rnnserve.protos.access_table import INFERENCE, METHODS, ROLES, ROUTES, SERVER_METADATA, Need, rows_missing
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL
from rnnserve.server.access import gate as gate_module
from rnnserve.server.access.access_file import add_token, revoke_token
from rnnserve.server.access.gate import Gate
from rnnserve.server.errors import PermissionDenied, Unauthenticated
from rnnserve.server.fast_path.calls import Arrivals, UnaryCall

INFER = f"{INFERENCE}ModelInfer"


@pytest.fixture
def tokens(tmp_path):
    return tokens_in(tmp_path)


@pytest.fixture
def reloads():
    """Whether each change of the file held."""
    return []


@pytest.fixture
def clock():
    return [LONG_AGO.timestamp()]


@pytest.fixture
def gate(tokens, reloads, clock):
    return Gate(tokens.path, on_reload=reloads.append, wall_clock=lambda: clock[0])


@pytest.fixture
def look(gate):
    """Lets the gate look at its file."""
    times = itertools.count(10.0, 10.0)
    return lambda: gate.look(next(times))


def refused(gate, metadata, method=INFER):
    with pytest.raises((Unauthenticated, PermissionDenied)) as error:
        gate.admit(method, metadata)
    return error.value


def test_admin_is_admitted_to_every_method_and_route():
    for need in (*METHODS.values(), *ROUTES.values()):
        assert need.value is None or "admin" in need.value
        assert need.value is None or set(need.value) <= {*ROLES, "", "open"}


def test_method_without_an_access_rule_admits_nobody(gate, tokens):
    for method in ("/a.B/C", "", INFER.lower(), f"/{INFER}", f"{INFER}/", INFER.replace("ModelInfer", "%4dodelInfer")):
        assert type(refused(gate, bearer(tokens.admin), method)) is PermissionDenied
    with pytest.raises(PermissionDenied):
        gate.admit_route([*bearer(tokens.admin), (ROUTE, "no_such")])
    assert rows_missing(["infer", INFER, "no_such", "/a.B/C"]) == ["/a.B/C", "no_such"]


def test_malformed_authorization_header_is_refused(gate, tokens):
    token = tokens.admin
    wrong = (token, f"Basic {token}", f"Bearer{token}", f"Bearer  {token}", f"Bearer {token} ", "Bearer ", "", b"x")
    for value in wrong:
        assert type(refused(gate, [("authorization", value)])) is Unauthenticated
    assert type(refused(gate, bearer(token) * 2)) is Unauthenticated
    assert type(refused(gate, [*bearer(tokens.unknown), *bearer(token)])) is Unauthenticated
    assert type(refused(gate, [("Authorization", f"Bearer {token}")])) is Unauthenticated  # gRPC's names are lower case
    assert gate.admit(INFER, [("authorization", f"bEARER {token}")]) is not None
    digest = next(iter(gate._grants)).hex()
    assert type(refused(gate, bearer(digest))) is Unauthenticated


def test_http_route_is_checked_in_addition_to_the_method(gate, tokens):
    assert gate.admit(SERVER_METADATA, bearer(tokens.metrics))
    gate.admit_route([*bearer(tokens.infer), (ROUTE, "infer"), (ROUTE_MODEL, "m")])
    gate.admit_route([(ROUTE, "live")])
    gate.admit_route([])
    for kind, route, model in (("metrics", "infer", "m"), ("infer", "control", "m"), ("elsewhere", "infer", "m")):
        with pytest.raises(PermissionDenied):
            gate.admit_route([*bearer(getattr(tokens, kind)), (ROUTE, route), (ROUTE_MODEL, model)])
    with pytest.raises(Unauthenticated):
        gate.admit_route([(ROUTE, "infer")])


def test_changed_tokens_apply_to_open_calls(gate, look, tokens, reloads):
    grant, other = gate.admit(INFER, bearer(tokens.infer)), gate.admit(INFER, bearer(tokens.elsewhere))
    revoke_token(tokens.path, "infer")
    new = add_token(tokens.path, "new", "infer")
    tokens.path.write_text(tokens.path.read_text().replace('role = "infer"', 'role = "metrics"', 1))  # of elsewhere
    assert type(refused(gate, bearer(new))) is Unauthenticated
    assert look()
    assert reloads == [True]
    assert not grant.admits(Need.INFER)
    with pytest.raises(Unauthenticated):
        grant.check_model("m")
    assert type(refused(gate, bearer(tokens.infer))) is Unauthenticated
    assert gate.admit(INFER, bearer(new)) is not None
    assert (other.admits(Need.INFER), other.admits(Need.METRICS)) == (False, True)
    assert look()
    assert reloads == [True]


@pytest.mark.parametrize("broken", ["[a", "[a]\nrole = 'infer'\n", None, "world"])
def test_invalid_file_keeps_the_previous_tokens(gate, look, tokens, reloads, caplog, broken):
    before = tokens.path.read_bytes()
    if broken is None:
        tokens.path.unlink()
    elif broken == "world":
        tokens.path.chmod(0o644)
    else:
        tokens.path.write_text(broken)
    for _ in range(3):
        look()
    assert reloads == [False]
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(tokens.path) in line.getMessage()
    assert gate.admit(INFER, bearer(tokens.infer)) is not None
    tokens.path.write_bytes(before)
    tokens.path.chmod(0o600)
    look()
    assert reloads == [False, True]
    assert tokens.infer not in caplog.text


def test_empty_file_admits_nobody(gate, look, tokens, reloads):
    grant = gate.admit(INFER, bearer(tokens.admin))
    tokens.path.write_text("")
    look()
    assert reloads == [True]
    assert not grant.admits(Need.INFER)
    for kind in ROLES:
        assert type(refused(gate, bearer(getattr(tokens, kind)))) is Unauthenticated


def test_refusal_names_the_role_needed(gate, tokens):
    assert str(refused(gate, bearer(tokens.metrics))) == "this call requires another role: infer or admin"
    assert "no role" in str(refused(gate, bearer(tokens.admin), "/a.B/C"))


class FakeCall(UnaryCall):
    """A call of the fast path that notes with what it was refused."""

    def __init__(self):
        super().__init__(None, None, 0.0)
        self.refused = None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def certificate(self):
        return ""

    def refuse(self, error):
        self.refused = error


@pytest.fixture
def let_in(gate):
    """Asks the fast path to let a call in."""
    arrivals = Arrivals(None, gate)

    def ask(metadata):
        call = FakeCall()
        assert arrivals.lets_in(call, metadata) == (call.refused is None)
        return call

    return ask


def test_admitted_header_is_cached_until_the_file_changes(gate, tokens, let_in):
    metadata = [("user-agent", "x"), *bearer(tokens.infer)]
    before = gate.known
    assert [let_in(metadata).grant.token.name for _ in range(3)] == ["infer"] * 3
    assert list(before) == [bearer(tokens.infer)[0][1]]
    assert let_in(metadata).grant.requests == 4
    twice = [*metadata, *bearer(tokens.infer)]
    for wrong in (twice, [], bearer(tokens.unknown), bearer(tokens.expired)):
        assert type(let_in(wrong).refused) is Unauthenticated
    assert type(let_in(bearer(tokens.metrics)).refused) is PermissionDenied
    assert len(gate.known) == 3  # those of the expired token and of metrics are known, and not let in
    revoke_token(tokens.path, "infer")
    assert gate.look(10.0)
    assert gate.known == {} != before  # a lookup that began before the change adds to the former table
    assert type(let_in(metadata).refused) is Unauthenticated


def test_cached_token_is_refused_after_it_expires(tokens, let_in, clock):
    ends = bearer(tokens.expired)
    clock[0] -= 1.0
    assert [let_in(ends).grant.requests for _ in range(2)] == [1, 2]
    clock[0] += 1.0
    assert type(let_in(ends).refused) is Unauthenticated


def test_number_of_cached_headers_is_bounded(gate, tokens, let_in, monkeypatch):
    monkeypatch.setattr(gate_module, "_MOST_KNOWN", 3)
    for scheme in ("Bearer ", "bearer ", "BEARER ", "BeareR ", "bEarer "):
        assert let_in([("authorization", scheme + tokens.infer)]).grant.token.name == "infer"
        assert 0 < len(gate.known) <= 3
    assert len(gate.known) == 2

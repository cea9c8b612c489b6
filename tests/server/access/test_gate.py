"""The gate, without a server: who is let in, and what happens to its file."""

import logging
import os

import pytest

from kit.tokens import LONG_AGO, bearer, tokens_in
from rnnserve.protos.access_table import INFERENCE, METHODS, ROLES, ROUTES, SERVER_METADATA, Need, rows_missing
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL
from rnnserve.server.access.access_file import AccessFileError
from rnnserve.server.access.gate import Gate, open_gate
from rnnserve.server.access.refusals import PermissionDenied, TokenLimitReached, TooManyAttempts, Unauthenticated
from rnnserve.server.access.token_writing import add_token, revoke_token
from rnnserve.server.errors import StartError
from rnnserve.server.settings.access import AccessSettings

INFER = f"{INFERENCE}ModelInfer"


@pytest.fixture
def tokens(tmp_path):
    return tokens_in(tmp_path)


@pytest.fixture
def told():
    return []


@pytest.fixture
def gate(tokens, told):
    return Gate(tokens.path, on_reload=told.append)


def looked(gate, times=[0.0]):  # noqa: B006 - it goes on from test to test
    times[0] += 10.0
    assert gate.look(times[0])


def refused(gate, metadata, method=INFER):
    with pytest.raises((Unauthenticated, PermissionDenied)) as error:
        gate.admit(method, metadata)
    return error.value


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["infer", "admin", "metrics"])
def test_each_role_has_its_methods(gate, tokens, method, kind):
    metadata, need = bearer(getattr(tokens, kind)), METHODS[method]
    if need in (Need.HEALTH, Need.INSIDE):
        assert gate.admit(method, []) is None
    elif kind in need.value:
        assert gate.admit(method, metadata).token.name == kind
    else:
        assert type(refused(gate, metadata, method)) is PermissionDenied
    if need not in (Need.HEALTH, Need.INSIDE):
        words = {str(refused(gate, each, method)) for each in ([], bearer(tokens.unknown), bearer(tokens.expired))}
        assert len(words) == 1
        assert "Bearer TOKEN" in words.pop()


def test_what_has_no_row_is_for_nobody(gate, tokens):
    for method in ("/a.B/C", "", INFER.lower(), f"/{INFER}", f"{INFER}/", INFER.replace("ModelInfer", "%4dodelInfer")):
        assert type(refused(gate, bearer(tokens.admin), method)) is PermissionDenied
    with pytest.raises(PermissionDenied):
        gate.admit_route([*bearer(tokens.admin), (ROUTE, "no_such")])
    assert rows_missing(["infer", INFER, "no_such", "/a.B/C"]) == ["/a.B/C", "no_such"]


def test_admin_may_do_all():
    for need in (*METHODS.values(), *ROUTES.values()):
        assert need.value is None or "admin" in need.value
        assert need.value is None or set(need.value) <= {*ROLES, "", "open"}


def test_a_header_in_another_form_is_none(gate, tokens):
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


def test_a_token_is_for_its_models(gate, tokens):
    grant = gate.admit(INFER, bearer(tokens.elsewhere))
    grant.check_model("another_model")
    for name in ("direction_simple", "", "Another_model", "another_model/"):
        with pytest.raises(PermissionDenied):
            grant.check_model(name)
        assert not grant.is_for(name)
    gate.admit(INFER, bearer(tokens.infer)).check_model("any")


def test_a_route_is_asked_for_beside_the_method(gate, tokens):
    assert gate.admit(SERVER_METADATA, bearer(tokens.metrics))
    gate.admit_route([*bearer(tokens.infer), (ROUTE, "infer"), (ROUTE_MODEL, "m")])
    gate.admit_route([(ROUTE, "live")])
    gate.admit_route([])
    for kind, route, model in (("metrics", "infer", "m"), ("infer", "control", "m"), ("elsewhere", "infer", "m")):
        with pytest.raises(PermissionDenied):
            gate.admit_route([*bearer(getattr(tokens, kind)), (ROUTE, route), (ROUTE_MODEL, model)])
    with pytest.raises(Unauthenticated):
        gate.admit_route([(ROUTE, "infer")])


def test_closed_health_needs_any_token(tokens):
    gate = Gate(tokens.path, closed_health=True)
    for method, need in METHODS.items():
        if need is Need.HEALTH:
            assert type(refused(gate, [], method)) is Unauthenticated
            assert gate.admit(method, bearer(tokens.metrics)) is not None


def test_a_token_ends_at_its_time(tokens):
    clock = [LONG_AGO.timestamp() - 1.0]
    gate = Gate(tokens.path, wall_clock=lambda: clock[0])
    grant = gate.admit(INFER, bearer(tokens.expired))
    assert grant.admits(Need.INFER)
    clock[0] += 1.0
    assert not grant.admits(Need.INFER)
    assert type(refused(gate, bearer(tokens.expired))) is Unauthenticated


def test_a_change_holds_for_calls_that_last(gate, tokens, told):
    grant = gate.admit(INFER, bearer(tokens.infer))
    revoke_token(tokens.path, "infer")
    new = add_token(tokens.path, "new", "infer")
    assert type(refused(gate, bearer(new))) is Unauthenticated
    looked(gate)
    assert told == [True]
    assert not grant.admits(Need.INFER)
    with pytest.raises(Unauthenticated):
        grant.check_model("m")
    assert type(refused(gate, bearer(tokens.infer))) is Unauthenticated
    assert gate.admit(INFER, bearer(new)) is not None
    looked(gate)
    assert told == [True]


def test_a_role_that_is_taken_away(gate, tokens):
    grant = gate.admit(INFER, bearer(tokens.infer))
    text = tokens.path.read_text()
    tokens.path.write_text(text.replace('role = "infer"', 'role = "metrics"', 1))
    looked(gate)
    assert not grant.admits(Need.INFER)
    assert grant.admits(Need.METRICS)


@pytest.mark.parametrize("broken", ["[a", "[a]\nrole = 'infer'\n", None, "world"])
def test_a_broken_file_keeps_what_held(gate, tokens, told, caplog, broken):
    before = tokens.path.read_bytes()
    if broken is None:
        tokens.path.unlink()
    elif broken == "world":
        tokens.path.chmod(0o644)
    else:
        tokens.path.write_text(broken)
    for _ in range(3):
        looked(gate)
    assert told == [False]
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(tokens.path) in line.getMessage()
    assert "what it said before holds on" in line.getMessage()
    assert gate.admit(INFER, bearer(tokens.infer)) is not None
    tokens.path.write_bytes(before)
    tokens.path.chmod(0o600)
    looked(gate)
    assert told == [False, True]
    assert not [record for record in caplog.records if tokens.infer in record.getMessage()]


def test_an_emptied_file_lets_nobody_in(gate, tokens, told):
    grant = gate.admit(INFER, bearer(tokens.admin))
    tokens.path.write_text("")
    looked(gate)
    assert told == [True]
    assert not grant.admits(Need.INFER)
    for kind in ("infer", "admin", "metrics"):
        assert type(refused(gate, bearer(getattr(tokens, kind)))) is Unauthenticated


def test_a_change_that_looks_the_same_is_found(gate, tokens):
    before = tokens.path.stat()
    text = tokens.path.read_text()
    digest = next(iter(gate._grants)).hex()
    tokens.path.write_text(text.replace(digest, digest[::-1]))
    os.utime(tokens.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tokens.path.stat().st_size == before.st_size
    looked(gate)
    assert bytes.fromhex(digest) not in gate._grants


def test_it_does_not_look_all_the_time(gate, tokens):
    assert gate.look(1e9)
    tokens.path.write_text("")
    assert not gate.look(1e9 + 0.1)
    assert gate.admit(INFER, bearer(tokens.infer)) is not None


def test_the_page_is_open_and_what_it_asks_is_not(tokens):
    gate = Gate(tokens.path, closed_health=True)
    for route, need in ROUTES.items():
        if need is Need.OPEN:
            gate.admit_route([(ROUTE, route)])
        else:
            with pytest.raises(Unauthenticated):
                gate.admit_route([(ROUTE, route)])
    assert [route for route, need in ROUTES.items() if need is Need.OPEN] == ["page", "static"]


def test_a_refusal_says_which_role_is_needed_and_names_no_model(gate, tokens):
    assert str(refused(gate, bearer(tokens.metrics))) == "another role is needed for that: infer or admin"
    assert "no role" in str(refused(gate, bearer(tokens.admin), "/a.B/C"))
    with pytest.raises(PermissionDenied, match=r"^not that model: the token or certificate is for another model$"):
        gate.admit(INFER, bearer(tokens.elsewhere)).check_model("m")


def test_many_wrong_tokens_of_an_address_are_told_to_wait_and_valid_ones_go_on(tokens):
    gate = Gate(tokens.path, max_wrong_tokens=3)
    wrong, nothing = refused(gate, bearer(tokens.unknown)), refused(gate, [])
    assert (wrong.is_wrong, nothing.is_wrong) == (True, False)
    assert str(wrong) == str(nothing)
    for _ in range(20):
        assert gate.slowed(nothing, "ipv4:10.0.0.1:1") is nothing
    assert [type(gate.slowed(wrong, f"ipv4:10.0.0.1:{port}")) for port in range(5)] == [
        Unauthenticated, Unauthenticated, Unauthenticated, TooManyAttempts, TooManyAttempts,
    ]  # fmt: skip
    assert gate.slowed(nothing, "ipv4:10.0.0.1:1") is nothing
    assert gate.slowed(wrong, "ipv4:10.0.0.2:1") is wrong
    denied = refused(gate, bearer(tokens.metrics))
    assert gate.slowed(denied, "ipv4:10.0.0.1:1") is denied
    assert gate.admit(INFER, bearer(tokens.infer)) is not None


def test_it_does_not_start_with_a_file_that_cannot_be_used(tokens):
    tokens.path.chmod(0o644)
    with pytest.raises(AccessFileError):
        Gate(tokens.path)
    with pytest.raises(StartError, match="open to every user"):
        open_gate(AccessSettings(tokens=tokens.path))
    assert open_gate(AccessSettings()) is None


def test_a_rotated_token_has_the_limits_of_its_name(gate, tokens):
    usage = gate.admit(INFER, bearer(tokens.infer)).usage
    revoke_token(tokens.path, "infer")
    again = add_token(tokens.path, "infer", "infer")
    tokens.path.write_text(f"{tokens.path.read_text()}in_flight = 1\n")
    looked(gate)
    assert gate.admit(INFER, bearer(again)).usage is usage
    usage.begin()
    with pytest.raises(TokenLimitReached, match="in_flight = 1"):
        usage.begin()

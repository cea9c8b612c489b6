"""A front that others than this machine can reach says in one line what it lacks, and the way out."""

import argparse

from rnnserve.web.commands import web
from rnnserve.web.commands.exposure import exposure

OWN_TOKEN = "with its own token for everybody who reaches it"


def test_each_lack_beyond_this_machine_has_its_way_out():
    for host in ("127.0.0.1", "::1", "localhost"):
        assert exposure(host, has_tls=False, asks_for_certificates=False, sends_token=True) == ""
    for has_tls, asks, sends, lacks in (
        (False, False, False, ["without TLS"]),
        (False, False, True, ["without TLS", OWN_TOKEN]),
        (True, False, True, [OWN_TOKEN]),
        (True, True, True, []),
        (True, False, False, []),
    ):
        said = exposure("0.0.0.0", has_tls=has_tls, asks_for_certificates=asks, sends_token=sends)
        assert bool(said) == bool(lacks)
        assert all(lack in said for lack in lacks)
        assert ("--tls-certificate" in said) == ("without TLS" in lacks)
        assert ("--tls-client-ca" in said) == (OWN_TOKEN in lacks)


def test_a_start_says_it(caplog, capsys):
    given = argparse.Namespace(host="0.0.0.0", tls_certificate=None, tls_client_ca=None, token_file=None)
    web._tell_of_start(given, 80)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert capsys.readouterr().out == "HTTP on 0.0.0.0:80\n"

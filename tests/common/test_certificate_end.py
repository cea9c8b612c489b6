"""The end of a certificate is read as `ssl` reads it."""

import datetime as dt
import ssl

import pytest
import trustme

from rnnserve.common.certificate_end import certificate_end


def chain(authority, year):
    end = dt.datetime(year, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    issued = authority.issue_cert("localhost", not_before=dt.datetime(1960, 1, 1, tzinfo=dt.UTC), not_after=end)
    return b"".join(part.bytes() for part in issued.cert_chain_pems), end.timestamp()


@pytest.mark.parametrize("year", [1999, 2030, 2049, 2050, 2099])  # written with two digits up to 2049
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_the_end_is_read_from_the_bytes(year, key_type):
    pem, end = chain(trustme.CA(key_type=key_type), year)
    assert certificate_end(pem) == end


def test_it_is_that_of_an_authority_as_ssl_reads_it():
    pem = trustme.CA().cert_pem.bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    (read,) = context.get_ca_certs()
    assert certificate_end(pem) == ssl.cert_time_to_seconds(str(read["notAfter"]))


def test_of_a_chain_the_first_end_counts():
    early, late = chain(trustme.CA(), 2030), chain(trustme.CA(), 2040)
    assert certificate_end(late[0] + early[0]) == certificate_end(early[0] + late[0]) == early[1]


@pytest.mark.parametrize("size", [0, 40, 200, 400])
def test_what_cannot_be_read_has_no_end(size):
    assert certificate_end(b"") == certificate_end(b"no certificate") == 0.0
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
    assert certificate_end(ssl.DER_cert_to_PEM_cert(der[:size]).encode()) == 0.0

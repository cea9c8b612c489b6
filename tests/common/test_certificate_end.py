"""The end of a certificate is read as `ssl` reads it."""

import datetime as dt
import ssl

import trustme

from rnnserve.common.certificate_end import certificate_end


def chain(authority, year):
    end = dt.datetime(year, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    issued = authority.issue_cert("localhost", not_before=dt.datetime(1960, 1, 1, tzinfo=dt.UTC), not_after=end)
    return b"".join(part.bytes() for part in issued.cert_chain_pems), end.timestamp()


def test_end_of_a_certificate_is_read_from_its_bytes():
    for key_type in trustme.KeyType:
        authority = trustme.CA(key_type=key_type)
        for year in (1999, 2049, 2050):  # written with two digits up to 2049
            pem, end = chain(authority, year)
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


def test_unreadable_certificate_has_no_end():
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
    cut = [ssl.DER_cert_to_PEM_cert(der[:size]).encode() for size in (0, 40, 200, 400)]
    for pem in (b"", b"no certificate", *cut):
        assert certificate_end(pem) == 0.0

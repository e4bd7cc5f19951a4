"""A certificate's times, read out of its DER."""

import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hushar.app.validity import Validity, validity_of

NOON = datetime(2031, 5, 6, 12, 30, 59, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.mark.parametrize("ends", [NOON, datetime(2049, 12, 31, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)])
def test_both_forms_of_a_time_are_read(authority, ends):
    """RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050."""
    begins = datetime(1999, 1, 2, 3, 4, 5, tzinfo=UTC)
    issued = authority.issue_cert("localhost", not_before=begins, not_after=ends)
    chain = [pem.bytes().decode() for pem in [*issued.cert_chain_pems, authority.cert_pem]]
    assert validity_of("".join(chain)) == Validity(begins, ends)


def test_it_is_what_others_read(authority):
    pem = authority.issue_cert("a.example", "b.example").cert_chain_pems[0].bytes()
    read = x509.load_pem_x509_certificate(pem)
    assert validity_of(pem.decode()) == Validity(read.not_valid_before_utc, read.not_valid_after_utc)


def test_what_surrounds_the_certificate_does_not_matter(authority):
    issued = authority.issue_cert("localhost")
    pem = issued.cert_chain_pems[0].bytes().decode()
    key = issued.private_key_pem.bytes().decode()
    assert validity_of(f"Subject: CN=x\r\n{key}\n{pem}") == validity_of(pem)


@pytest.mark.parametrize(
    "pem",
    ["", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_what_is_no_certificate_is_a_value_error(pem):
    with pytest.raises(ValueError, match=r"no certificate|no X\.509|cut short"):
        validity_of(pem)


def test_one_that_is_cut_short_or_changed_anywhere_is_a_value_error_or_read(authority):
    der = x509.load_pem_x509_certificate(authority.issue_cert("x").cert_chain_pems[0].bytes()).public_bytes(
        serialization.Encoding.DER
    )
    for at in range(200):
        for changed in (der[:at], der[:at] + b"\xff" + der[at + 1 :], der[:at] + b"\x84" + der[at + 1 :]):
            with contextlib.suppress(ValueError):
                validity_of(ssl.DER_cert_to_PEM_cert(changed))


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [
        (-1, "is not valid before 2031-05-06 12:30:59 UTC"),
        (0, None),
        (60, None),
        (61, "expired at 2031-05-06 12:31:59 UTC"),
    ],
)
def test_both_ends_belong_to_it(seconds, problem):
    validity = Validity(NOON, NOON + timedelta(seconds=60))
    assert validity.problem(NOON + timedelta(seconds=seconds)) == problem

"""Check digits: published examples pass, and every single changed digit is noticed."""

from __future__ import annotations

import pytest

from bloomery.serve.policy.numbers import CHECKS

VALID = {
    "luhn": ["4111 1111 1111 1111", "378282246310005", "6011-1111-1111-1117"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "MT84MALT011000012345MTLCAST001S"],
    "aadhaar": ["aadhaar 2341 2341 2346"],
    "cpf": ["529.982.247-25"],
    "dni": ["12345678Z", "X1234567L"],
    "resident_id": ["11010519491231002X"],
    "ssn": ["219-09-9999", "SSN: 078051120"],
}
CHANGES_ARE_NOTICED = ("luhn", "iban", "aadhaar", "cpf", "dni", "resident_id")


@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, numbers in VALID.items() for number in numbers])
def test_a_valid_number_passes(kind: str, number: str) -> None:
    assert CHECKS[kind](number)


@pytest.mark.parametrize("kind", CHANGES_ARE_NOTICED)
def test_every_single_changed_digit_is_noticed(kind: str) -> None:
    for number in VALID[kind]:
        for place, old in enumerate(number):
            if old.isdecimal():
                for new in set("0123456789") - {old}:
                    assert not CHECKS[kind](number[:place] + new + number[place + 1 :]), (number, place, new)


@pytest.mark.parametrize("number", ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000"])
def test_a_social_security_number_that_is_never_given_fails(number: str) -> None:
    assert not CHECKS["ssn"](number)


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_text_that_is_no_number_fails(kind: str) -> None:
    for text in ("", "1", "abc", "0" * 16, "１２３"):
        assert not CHECKS[kind](text)

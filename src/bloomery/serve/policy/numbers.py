"""Check digits: whether a number that looks like a card, an account or a person's number can be one."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Mapping

_VERHOEFF = (
    "0123456789 1234067895 2340178956 3401289567 4012395678 5987604321 6598710432 7659821043 8765932104 9876543210"
).split()
_TURNS = "0123456789 1576283094 5803796142 8916043527 9453126870 4286573901 2793806415 7046913258".split()
"""Multiplication in the dihedral group of order 10 and its permutations (J. Verhoeff, 1969)."""
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def luhn(text: str) -> bool:
    """Payment cards (ISO/IEC 7812): 13 to 19 digits, every second doubled from the right, the sum a multiple of 10."""
    digits = _digits(text)
    doubled = (sum(divmod(2 * d, 10)) if place % 2 else d for place, d in enumerate(reversed(digits)))
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def iban(text: str) -> bool:
    """Bank accounts (ISO 13616): the first four characters moved to the end, letters as 10 to 35, modulo 97 is 1."""
    plain = "".join(c for c in text.upper() if c.isalnum())
    if not 15 <= len(plain) <= 34 or not plain.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def verhoeff(text: str) -> bool:
    """Aadhaar numbers: 12 digits, the last one Verhoeff's."""
    state = 0
    digits = _digits(text)
    for place, digit in enumerate(reversed(digits)):
        state = int(_VERHOEFF[state][int(_TURNS[place % 8][digit])])
    return len(digits) == 12 and len(set(digits)) > 1 and state == 0


def cpf(text: str) -> bool:
    """Brazilian CPF: 11 digits, two check digits modulo 11."""
    digits = _digits(text)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    return all(_mod11(digits[:length]) == digits[length] for length in (9, 10))


def dni(text: str) -> bool:
    """Spanish DNI and NIE: up to 8 digits and a letter from their remainder by 23."""
    plain = "".join(c for c in text.upper() if c.isalnum())
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdecimal() and number.isascii() and _DNI[int(number) % 23] == plain[-1]


def resident_id(text: str) -> bool:
    """Chinese resident identity (GB 11643): 17 digits with a date of birth, and a check character modulo 11."""
    plain = text.strip().upper()
    digits = _digits(plain[:17])
    if len(plain) != 18 or len(digits) != 17 or not _is_date(plain[6:14]):
        return False
    return "10X98765432"[sum(map(int.__mul__, digits, _CN_WEIGHTS)) % 11] == plain[17]


def ssn(text: str) -> bool:
    """United States SSN: no check digit, but areas 000, 666 and 900 up, group 00 and serial 0000 are never given."""
    digits = "".join(map(str, _digits(text)))[-9:]
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "aadhaar": verhoeff,
    "cpf": cpf,
    "dni": dni,
    "iban": iban,
    "luhn": luhn,
    "resident_id": resident_id,
    "ssn": ssn,
}
"""`check:` of a regex detector."""


def _digits(text: str) -> list[int]:
    return [int(c) for c in text if c.isascii() and c.isdecimal()]


def _mod11(digits: list[int]) -> int:
    rest = sum(d * weight for d, weight in zip(reversed(digits), itertools.count(2))) * 10 % 11
    return rest % 10


def _is_date(text: str) -> bool:
    try:
        return 1900 <= datetime.datetime.strptime(text, "%Y%m%d").replace(tzinfo=datetime.UTC).year <= 2100
    except ValueError:
        return False

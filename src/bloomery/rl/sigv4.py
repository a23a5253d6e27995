"""Requests signed as AWS's clients sign them (Signature Version 4), checked with key pairs of our own.

Two forms: a signature in the headers over the whole request (boto3), and a bearer token that is a signed address and
says only who comes (SageMaker's SDK). How both are made is written in AWS's guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from bloomery.serve.errors import Refusal

ALGORITHM = "AWS4-HMAC-SHA256"
PREFIX = "sagemaker-api-key-"
"""How bearer tokens of SageMaker's SDK begin; the address that follows in base 64 is never called."""
SKEW = 900.0
"""Seconds by which the clocks may differ."""
LONGEST = 43_200
"""Seconds that a bearer token may be valid."""
SERVICE = "sagemaker"
SIGNED = ("x-amz-", "x-amzn-sagemaker-")
"""Headers that say something; AWS's load balancers add others, such as `x-amzn-trace-id`, on the way."""

_FIELDS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a signature in the headers covers. Names of headers are in small letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Signers:
    """`secrets` by their access key. `clock` is seconds since 1970."""

    secrets: Mapping[str, str]
    clock: Callable[[], float] = time.time

    def check(self, asked: Asked) -> None:
        """Raises `Refusal` 403 unless one of our pairs signed this request, whole, just now."""
        fields = dict(_FIELDS.findall(asked.headers.get("authorization", "")))
        names = fields.get("SignedHeaders", "").split(";")
        needed = {"host", *(name for name in asked.headers if name.startswith(SIGNED) and name != "x-amz-user-agent")}
        if not needed <= set(names):
            raise denied("the signature leaves out " + ", ".join(sorted(needed - set(names))[:3]))
        stamp = asked.headers.get("x-amz-date", "")
        if abs(self.clock() - _seconds(stamp)) > SKEW:
            raise denied(f"the request was signed at {stamp[:20]}, which is not now: set the clock")
        told = [*parse_qsl(asked.query, keep_blank_values=True)]
        payload = hashlib.sha256(asked.body).hexdigest()
        headers = {name: asked.headers.get(name, "") for name in names}
        request = _canonical(asked.method, asked.path, told, headers, payload)
        self._same(fields.get("Credential", ""), stamp, request, fields.get("Signature", ""))

    def check_token(self, token: str) -> None:
        """Raises `Refusal` 403 unless one of our pairs made this bearer token, and it is still valid."""
        try:
            address = base64.b64decode(token.removeprefix(PREFIX), validate=True).decode("ascii")
        except (binascii.Error, UnicodeError):
            raise denied("the bearer token cannot be read") from None
        host, _, query = address.partition("/?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        stamp, lasts = given.get("X-Amz-Date", ""), given.get("X-Amz-Expires", "")
        if given.get("Action") != "CallWithBearerToken" or given.get("X-Amz-SignedHeaders") != "host":
            raise denied("the bearer token was signed for something else")
        age = self.clock() - _seconds(stamp)
        if not lasts.isdecimal() or not -SKEW <= age <= min(int(lasts[:6]), LONGEST):
            raise denied("the bearer token is not valid any more: make another one")
        signed = [(name, value) for name, value in given.items() if name not in ("X-Amz-Signature", "Version")]
        request = _canonical("POST", "/", signed, {"host": host}, hashlib.sha256(b"").hexdigest())
        self._same(given.get("X-Amz-Credential", ""), stamp, request, given.get("X-Amz-Signature", ""))

    def _same(self, credential: str, stamp: str, request: str, signature: str) -> None:
        access, _, scope = credential.partition("/")
        day, _, rest = scope.partition("/")
        region = rest.partition("/")[0]
        if scope != f"{stamp[:8]}/{region}/{SERVICE}/aws4_request":
            raise denied("the signature is of another day or service")
        secret = self.secrets.get(access)
        text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
        key = b"AWS4" + (secret or "nobody").encode()
        for part in (day, region, SERVICE, "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        if secret is None or not hmac.compare_digest(key.hex().encode(), signature.encode()):
            raise denied("no key pair of this run made the signature")


def denied(why: str) -> Refusal:
    """What a caller hears who cannot be let in."""
    return Refusal(403, why, code="access_denied")


def _seconds(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise denied("the request does not say when it was signed") from None


def _canonical(
    method: str, path: str, query: Sequence[tuple[str, str]], headers: Mapping[str, str], payload: str
) -> str:
    told = "&".join(f"{name}={value}" for name, value in sorted((_quoted(n), _quoted(v)) for n, v in query))
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)]
    return "\n".join((method, quote(path, safe="/-_.~"), told, *lines, "", ";".join(sorted(headers)), payload))


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")

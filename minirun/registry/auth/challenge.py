"""What a registry asks for: the header WWW-Authenticate (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re

from minirun.model.record import Record

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|$|(?=,))")
_BETWEEN = re.compile(r"[\s,]*")


class Challenge(Record):
    """One way to authenticate: its scheme in lower case ("basic", "bearer"), and its parameters, whose names are so,
    too."""

    scheme: str
    parameters: dict[str, str] = {}


def parse_challenges(header: str) -> list[Challenge]:
    """Read the header, which may hold several challenges; what cannot be read is left out."""
    found: list[Challenge] = []
    at = _end(_BETWEEN.match(header), 0)
    while at < len(header):
        parameter = _PARAMETER.match(header, at)
        scheme = _SCHEME.match(header, at)
        if parameter and found:
            value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
            found[-1].parameters.setdefault(parameter[1].lower(), value)
            at = parameter.end()
        elif scheme:
            found.append(Challenge(scheme[1].lower(), {}))
            at = scheme.end()
        else:  # not a token at all: go on behind the next comma
            comma = header.find(",", at)
            at = len(header) if comma < 0 else comma
        at = _end(_BETWEEN.match(header, at), at)
    return found


def _end(match: re.Match[str] | None, otherwise: int) -> int:
    return match.end() if match else otherwise

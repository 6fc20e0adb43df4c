"""Answers: a status, headers and a body, which is text or a part of a file; errors in the specification's JSON.

Source: distribution-spec, "Error Codes"; github.com/distribution/distribution, docs/spec/api.md, for the codes that
only Docker's registry knows (PAGINATION_NUMBER_INVALID, RANGE_INVALID).
"""

from __future__ import annotations

import time

from minirun.model import jsontext
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.registry.server.blobs import BlobFile

_REASONS = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
JSON = "application/json"


class Answer(Record):
    """What a request gets: the body is `text`, or where there is a `file` its bytes from `begin` to `end`."""

    status: int
    headers: dict[str, str]
    text: bytes = b""
    file: BlobFile | None = None
    begin: int = 0
    end: int = 0

    @property
    def length(self) -> int:
        """How many bytes the body has."""
        return self.end - self.begin if self.file else len(self.text)

    def head(self, *, keep: bool) -> bytes:
        """Return the status line and the headers; `keep` says whether the connection stays."""
        fields = {
            "Docker-Distribution-Api-Version": "registry/2.0",
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "Content-Length": str(self.length),
            "X-Content-Type-Options": "nosniff",
            **self.headers,
            **({} if keep else {"Connection": "close"}),
        }
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *(f"{k}: {v}" for k, v in fields.items())]
        return "\r\n".join((*lines, "", "")).encode("latin-1")


def document(body: Any, media_type: str = JSON, **headers: str) -> Answer:
    """Return an answer of JSON; `Content_Range` stands for the header Content-Range."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, {"Content-Type": media_type, **fields}, jsontext.dumps(body).encode())


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return an error as the specification has it: a code for programs and a sentence for people."""
    return document({"errors": [{"code": code, "message": message}]}, **headers).replace(status=status)

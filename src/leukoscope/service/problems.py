"""What a request is answered with when it cannot be served: RFC 9457 documents that name the remedy."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from leukoscope.errors import LeukoscopeError

MEDIA = "application/problem+json"
_TITLES = {
    400: "The request is not as it should be",
    401: "Log in first",
    403: "Not allowed",
    404: "Not found",
    405: "No such act",
    409: "In conflict with what is there",
    411: "The length is missing",
    413: "Too large",
    415: "Not of a kind that is taken",
    422: "Cannot be used",
    423: "Locked",
    429: "Too many requests",
    500: "Something unexpected went wrong",
    503: "Not ready",
    507: "The disk is full",
}


class Problem(LeukoscopeError):  # noqa: N818  (the noun of RFC 9457)
    """A request that is refused on purpose.

    Args:
        status: of HTTP.
        what: what was wrong, without a final full stop.
        remedy: what the user can do.
        more: further members of the document, JSON-ready.
    """

    def __init__(self, status: int, what: str, *, remedy: str | None = None, **more: Any) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status
        self.more = more

    def document(self) -> dict[str, Any]:
        """The document, JSON-ready."""
        return problem_document(self.status, self.what, self.remedy) | self.more


def problem_document(status: int, detail: str, remedy: str | None = None) -> dict[str, Any]:
    """A document of RFC 9457.

    >>> problem_document(404, "there is no such case")["title"]
    'Not found'
    """
    found = {"type": "about:blank", "title": _TITLES.get(status, "Refused"), "status": status, "detail": detail}
    return found if remedy is None else found | {"remedy": remedy}


class ProblemDocument(BaseModel):
    """What a refusal says; some add what is wrong in members of their own."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None


#: How the description of the interface tells refusals. Any request may meet them; that of 500 is not promised.
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": title, "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}}
    for status, title in _TITLES.items()
    if status != 500
}

"""The application: the page, rows, one row, counts and images; nothing else is there.

    /                            the page
    /api/rows?…&start=0&count=50 {"total": 1234, "format": 1, "images": …, "samples": …}, no masks
    /api/row?split=…&id=…        one sample with its masks
    /api/facets?…                {"task": {"common_parts": 12, …}, …}
    /images/BUILD/SPLIT/ROW      an image

`…` are the filters `split`, `source`, `task`, `class`, `part` and `id`, each any number of times,
and `text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mixedparts.errors import MixedPartsError, UsageError, near_names
from mixedparts.viewer.build_page import head_of
from mixedparts.viewer.page.write import page_text, policy
from mixedparts.viewer.selection import Query
from mixedparts.viewer.selection.query import words_of
from mixedparts.viewer.server.guard import Guard
from mixedparts.viewer.server.stored import StoredRows

_FILTERS = {
    "split": "splits",
    "source": "sources",
    "task": "tasks",
    "class": "classes",
    "part": "parts",
    "id": "ids",
}
_MOST_ROWS = 200  # of one reply
_LONGEST_TEXT = 1_000
_ROW = re.compile(r"[0-9]{1,9}", re.ASCII)


class RowsReply(msgspec.Struct):
    """The reply to `/api/rows`: `total` beside the keys of `PageData`.

    `note` names a split, source, task, class or part that the build does not have, if the rows are
    none because of it.
    """

    total: int
    images: Any
    masks: Any
    samples: Any
    format: int
    note: str


def create_app(stored: StoredRows, query: Query | None = None) -> Starlette:
    """Return the application for a build.

    Args:
        stored: rows and images of the build.
        query: filters that the page starts with; all of them can be changed there.
    """
    build = stored.build
    rows = build.count("pairs")
    head = head_of(build, f"{rows:,} rows", stored.predictions)
    page = page_text(replace(head, start=_address_of(query or Query())), None)

    def home(request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": policy(server=True)})

    def some(request: Request) -> Response:
        query = query_of(request.query_params, ("start", "count"))
        start = _number(request.query_params, "start", 0, 2**53)
        count = _number(request.query_params, "count", 50, _MOST_ROWS)
        total, data = stored.page(query, start, count)
        note = "" if total else stored.wrong_name(query)
        return _json(RowsReply(total, data.images, data.masks, data.samples, data.format, note))

    def one(request: Request) -> Response:
        _check_names(request.query_params, ("split", "id"))
        data = stored.one(request.query_params.get("split", ""), request.query_params.get("id", ""))
        return _fault(404, "there is no such row") if data is None else _json(data)

    def facets(request: Request) -> Response:
        return _json(stored.facets(query_of(request.query_params)))

    def image(request: Request) -> Response:
        split, number = request.path_params["split"], request.path_params["row"]
        mine = request.path_params["build"] == build.build_id[:16]
        found = stored.image(split, int(number)) if mine and _ROW.fullmatch(number) else None
        if found is None:
            return _fault(404, "there is no such image")
        # The address has the build in it, so that an image of another build is never shown for it.
        kept = {"cache-control": "private, max-age=3600"}
        return Response(found.data, media_type=found.mime, headers=kept)

    routes: dict[str, Callable[[Request], Response]] = {
        "/": home,
        "/api/rows": some,
        "/api/row": one,
        "/api/facets": facets,
        "/images/{build}/{split}/{row}": image,
    }
    app = Starlette(
        routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()],
        middleware=[Middleware(Guard)],
        exception_handlers={MixedPartsError: _refused},
    )
    app.router.redirect_slashes = False
    return app


def query_of(given: QueryParams, further: tuple[str, ...] = ()) -> Query:
    """Return the query that the parameters of a request stand for.

    Args:
        given: parameters of the request.
        further: names that are allowed beside those of the filters.

    Raises:
        UsageError: there is no parameter of a name, or the text is too long.
    """
    _check_names(given, (*_FILTERS, "text", *further))
    text = given.get("text", "")
    if len(text) > _LONGEST_TEXT:
        raise UsageError(f"the text to search for has over {_LONGEST_TEXT:,} characters")
    values: dict[str, Any] = {f: tuple(given.getlist(name)) for name, f in _FILTERS.items()}
    return Query(**values, words=words_of(text))


def _address_of(query: Query) -> str:
    """Return a query as the page writes it into its address."""
    pairs = [(name, value) for name, field in _FILTERS.items() for value in getattr(query, field)]
    return urlencode([*pairs, *([("text", " ".join(query.words))] if query.words else [])])


def _check_names(given: QueryParams, allowed: tuple[str, ...]) -> None:
    for name in given:
        if name not in allowed:
            raise UsageError(f"there is no parameter '{name}'.{near_names(name, allowed)}")


def _number(given: QueryParams, name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= most):
        raise UsageError(f"{name} must be a whole number from 0 to {most:,}, not '{text}'")
    return int(text)


def _json(value: Any) -> Response:
    kept = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), media_type="application/json", headers=kept)


def _fault(status: int, text: str) -> Response:
    reply = _json({"error": text})
    reply.status_code = status
    return reply


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, MixedPartsError)
    return _fault(400 if isinstance(error, UsageError) else 500, error.message)

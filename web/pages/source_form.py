"""Add a source, and change one. For admins."""

import contextlib
from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import web

from stream import sources
from stream.config import safe_url
from stream.db import Executor
from stream.errors import ConfigError, DatabaseAway, TwitterstreamError
from stream.networks.table import NETWORKS
from stream.sources import SourceRow
from stream.tweet import NetworkName, Source, SourceId
from stream.vault import parse_secrets
from web.problem import Problem
from web.reading import keys
from web.rendering import render, see_other
from web.routing import Route
from web.site import Site, site

NAMES: Mapping[NetworkName, str] = {"x_v2": "X, API v2", "x_v1": "X, API v1.1"}
LABELS = {
    "bearer_token": "Bearer token (app-only) of the X app",
    "consumer_key": "API key (consumer key)",
    "consumer_secret": "API key secret (consumer secret)",
    "token": "Access token",
    "token_secret": "Access token secret",
}
LONGEST = 2000  # characters of anything that is typed

NOBODY = 0  # the number of a source that is not saved yet


class Given(msgspec.Struct, frozen=True):
    """What was typed into the form; `keys` only those that are not empty."""

    network: NetworkName
    name: str = ""
    url: str = ""
    proxy: str = ""
    keys: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Given(network={self.network!r}, name={self.name!r})"

    def secrets(self, *, needed: bool = False) -> dict[str, str] | None:
        """The credentials, whole; None when none were typed. Problem when some are missing."""
        absent = NETWORKS[self.network].missing({})
        if not self.keys and needed and absent:
            raise Problem("invalid", "Without its keys it cannot connect.", field=absent[0])
        if not self.keys:
            return None
        try:
            found = parse_secrets(msgspec.json.encode(self.keys).decode())
        except ConfigError as error:
            raise Problem("invalid", f"{error}.", field=next(iter(self.keys))) from error
        if absent := NETWORKS[self.network].missing(found):
            words = ", ".join(LABELS.get(name, name) for name in absent)
            raise Problem("invalid", f"This is missing, too: {words}.", field=absent[0])
        return found


async def new(request: web.Request) -> web.StreamResponse:
    """An empty form, for one network or another."""
    return _form(request, Given(_network(request.query.get("network", "x_v2"))))


async def add(request: web.Request) -> web.StreamResponse:
    given = await given_in(request)
    here = site(request)
    try:
        secrets = given.secrets(needed=True)
        async with here.database.transaction() as connection:
            sealed = await _seal(here, connection, secrets)
            with _told():
                await sources.add(
                    connection, given.name, given.network, given.url or None, given.proxy or None,
                    sealed,
                )  # fmt: skip
    except Problem as problem:
        return _form(request, given, problem=problem)
    return see_other(request, "/sources")


async def edit(request: web.Request) -> web.StreamResponse:
    row = await row_of(request)
    return _form(request, _as_given(row), row=row)


async def change(request: web.Request) -> web.StreamResponse:
    row = await row_of(request)
    given = await given_in(request, row)
    here = site(request)
    try:
        secrets = given.secrets()
        async with here.database.transaction() as connection:
            sealed = await _seal(here, connection, secrets)
            with _told():
                url, proxy = _addresses(given, row)
                await sources.change(connection, row.id, given.name, url, proxy, sealed)
    except Problem as problem:
        return _form(request, given, row=row, problem=problem)
    return see_other(request, "/sources")


# -- forms ----------------------------------------------------------------------------------------


def _form(
    request: web.Request,
    given: Given,
    *,
    row: SourceRow | None = None,
    problem: Problem | None = None,
) -> web.Response:
    """The form, with what was typed; keys are never given back."""
    return render(
        request,
        "sources_form.html",
        status=200 if problem is None else problem.status,
        given=given,
        row=row,
        problem=problem,
        names=NAMES,
        labels=LABELS,
        fields=NETWORKS[given.network].missing({}),
        address=NETWORKS[given.network].address,
    )


async def given_in(request: web.Request, row: SourceRow | None = None) -> Given:
    form = await request.post()
    typed = {name: str(value).strip()[:LONGEST] for name, value in form.items()}
    network = _network(typed.get("network", "")) if row is None else row.network
    fields = NETWORKS[network].missing({})
    return Given(
        network,
        typed.get("name", ""),
        typed.get("url", ""),
        typed.get("proxy", ""),
        {name: typed[name] for name in fields if typed.get(name)},
    )


def _network(name: str) -> NetworkName:
    for known in NAMES:
        if name == known:
            return known
    raise Problem("invalid", "There is no such network.", field="network")


def _as_given(row: SourceRow) -> Given:
    """A row as it stands in the form: passwords in addresses are covered."""
    return Given(row.network, row.name, safe_url(row.url or ""), safe_url(row.proxy or ""))


def _addresses(given: Given, row: SourceRow | None) -> tuple[str | None, str | None]:
    """Address and proxy; one that was left as it was shown keeps its password."""
    before = _as_given(row) if row is not None else None
    url = (
        row.url if row is not None and before is not None and given.url == before.url else given.url
    )
    proxy = given.proxy
    if row is not None and before is not None and given.proxy == before.proxy:
        return url or None, row.proxy
    return url or None, proxy or None


def source_in(here: Site, given: Given, row: SourceRow | None) -> Source:
    """What stands in the form as a source; keys that were not typed are the stored ones."""
    secrets = given.secrets()
    if secrets is None:
        secrets = stored(here, row).secrets if row is not None else {}
    url, proxy = _addresses(given, row)
    for address in (url, proxy):
        if address is not None and not address.startswith(("http://", "https://")):
            raise Problem("invalid", "An address begins with http:// or https://.")
    number = SourceId(NOBODY) if row is None else row.id
    return Source(number, given.name, given.network, url, proxy, secrets, enabled=True)


def stored(here: Site, row: SourceRow) -> Source:
    try:
        return keys.unsealed(here.vault, row)
    except TwitterstreamError as error:
        raise Problem("conflict", f"{error}.") from error


async def _seal(here: Site, connection: Executor, secrets: dict[str, str] | None) -> bytes | None:
    if secrets is None:
        return None
    await keys.require_seal(connection, here.vault)
    with _told():
        return here.vault.seal(secrets)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What is refused with a sentence becomes a problem of the form."""
    try:
        yield
    except Problem:
        raise
    except DatabaseAway:
        raise
    except TwitterstreamError as error:
        raise Problem("invalid", str(error)) from error


async def row_of(request: web.Request, *, imported: bool = False) -> SourceRow:
    """The source that the address names, unless it only holds what was `imported`."""
    number = request.match_info["id"]
    async with site(request).database.acquire() as connection:
        row = await sources.numbered(connection, int(number)) if len(number) < 9 else None
    if row is None:
        raise Problem("not_found", "There is no such source.")
    if row.state == "importing" and not imported:
        raise Problem("conflict", f"{row.name} holds what was imported; it connects to nothing.")
    return row


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/sources/new", new, "admin"),
    Route("POST", "/sources/new", add, "admin"),
    Route("GET", f"/sources/{_ID}/change", edit, "admin"),
    Route("POST", f"/sources/{_ID}/change", change, "admin"),
)

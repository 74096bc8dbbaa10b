"""The forms to add and to edit a source, for admins."""

import contextlib
from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import web

from stream import credentials
from stream.config import safe_url
from stream.db import Executor
from stream.errors import ConfigError, DatabaseAway, TwitterstreamError
from stream.networks.descriptions import (
    CREDENTIAL_LABELS,
    CREDENTIALS_HELP,
    OWN_SERVER,
    SERVER_MISSING,
    TITLES,
)
from stream.networks.registry import NETWORKS
from stream.store import sources
from stream.store.sources import SourceRow
from stream.tweet import NetworkName, Source, SourceId
from stream.vault import parse_secrets
from web.context import AppContext, app_context, form_fields, render, see_other
from web.pages.source_credentials import check_destination, require_same_key, unseal
from web.problem import Problem
from web.routing import Route, row_id

TEXTS = ("name", "url", "proxy")
FIELD_MAX = 2000  # characters

SOURCE_ID_MAX = 4095
UNSAVED = 0  # id of a source that is not saved yet


class Given(msgspec.Struct, frozen=True):
    """The form as typed; `keys` only those that are not empty."""

    network: NetworkName
    name: str = ""
    url: str = ""
    proxy: str = ""
    keys: Mapping[str, str] = {}
    was: Mapping[str, str] = {}  # the other fields when the form was loaded

    def __repr__(self) -> str:
        return f"Given(network={self.network!r}, name={self.name!r})"

    def secrets(self, *, needed: bool = False) -> dict[str, str] | None:
        """The credentials, whole; None when none were typed. Problem when some are missing."""
        absent = NETWORKS[self.network].missing_credentials({})
        if not self.keys and needed and absent:
            raise Problem("invalid", "The source needs keys to connect.", field=absent[0])
        if not self.keys:
            return None
        try:
            found = parse_secrets(msgspec.json.encode(self.keys).decode())
        except ConfigError as error:
            raise Problem("invalid", f"{error}.", field=next(iter(self.keys))) from error
        if absent := NETWORKS[self.network].missing_credentials(found):
            words = ", ".join(CREDENTIAL_LABELS.get(name, name) for name in absent)
            raise Problem("invalid", f"Also missing: {words}.", field=absent[0])
        return found


async def new(request: web.Request) -> web.StreamResponse:
    """An empty form, for one network or another."""
    return _form(request, Given(_network(request.query.get("network", "x_v2"))))


async def add(request: web.Request) -> web.StreamResponse:
    given = await given_in(request)
    here = app_context(request)
    try:
        secrets = given.secrets(needed=True)
        async with here.database.transaction() as connection:
            sealed = await _seal(here, connection, given, secrets)
            with _as_problem():
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
    here = app_context(request)
    try:
        secrets = given.secrets()
        async with here.database.transaction() as connection:
            row = await sources.by_id(connection, row.id, lock=True) or row
            given = _rebased(given, row)
            sealed = await _seal(here, connection, given, secrets, row)
            with _as_problem():
                url, proxy = _addresses(given, row)
                if sealed is None:
                    check_destination(here.vault, row, url, proxy)
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
        was=given.was or ({name: getattr(given, name) for name in TEXTS} if row else {}),
        names=TITLES,
        offered=[name for name in TITLES if name in NETWORKS],
        labels=CREDENTIAL_LABELS,
        fields=NETWORKS[given.network].missing_credentials({}),
        keys_help=CREDENTIALS_HELP[given.network],
        own_server=given.network in OWN_SERVER,
        address=NETWORKS[given.network].address,
    )


async def given_in(request: web.Request, row: SourceRow | None = None) -> Given:
    form = form_fields(request)
    typed = {name: str(value).strip()[:FIELD_MAX] for name, value in form.items()}
    network = _network(typed.get("network", "")) if row is None else row.network
    fields = NETWORKS[network].missing_credentials({})
    return Given(
        network,
        typed.get("name", ""),
        typed.get("url", ""),
        typed.get("proxy", ""),
        {name: typed[name] for name in fields if typed.get(name)},
        {name: typed[f"was_{name}"] for name in TEXTS if f"was_{name}" in typed},
    )


def _rebased(given: Given, row: SourceRow) -> Given:
    """Fields that were not changed since the form was loaded take the row's present values."""
    now = _as_given(row)
    current = {name: getattr(now, name) for name in TEXTS}
    same = {
        name: text
        for name, text in current.items()
        if getattr(given, name) == given.was.get(name, text)
    }
    return msgspec.structs.replace(given, **same)


def _network(name: str) -> NetworkName:
    for known in NETWORKS:
        if name == known:
            return known
    raise Problem("invalid", "Unknown network.", field="network")


def _as_given(row: SourceRow) -> Given:
    """A row as the form shows it: passwords in addresses are hidden."""
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


def _check_addresses(
    network: NetworkName, url: str | None, proxy: str | None, row: SourceRow | None
) -> None:
    """Problem for an address that cannot work; a stored one may keep its user name."""
    if not url and network in OWN_SERVER:
        raise Problem("invalid", SERVER_MISSING, field="url")
    with _as_problem():
        if row is None:
            credentials.check_addresses(url, proxy)
        for address in filter(None, (url, proxy)):
            credentials.check_address(address)


def source_in(here: AppContext, given: Given, row: SourceRow | None) -> Source:
    """The source that the form describes; keys that were not typed are the stored ones."""
    url, proxy = _addresses(given, row)
    secrets = given.secrets()
    if secrets is None:
        secrets = unseal(here.vault, row, url, proxy) if row is not None else {}
    _check_addresses(given.network, url, proxy, row)
    number = SourceId(UNSAVED) if row is None else row.id
    return Source(number, given.name, given.network, url, proxy, secrets, enabled=True)


async def _seal(
    here: AppContext,
    connection: Executor,
    given: Given,
    secrets: dict[str, str] | None,
    row: SourceRow | None = None,
) -> bytes | None:
    """The typed keys, sealed for the given address; None when none were typed."""
    _check_addresses(given.network, given.url, given.proxy, row)
    if secrets is None:
        return None
    await require_same_key(connection, here.vault)
    url, proxy = _addresses(given, row)
    with _as_problem():
        return credentials.seal(here.vault, given.network, url, proxy, secrets)


@contextlib.contextmanager
def _as_problem() -> Iterator[None]:
    """Turn errors into problems of the form."""
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
    number = row_id(request.match_info["id"], SOURCE_ID_MAX)
    async with app_context(request).database.acquire() as connection:
        row = await sources.by_id(connection, number)
    if row is None:
        raise Problem("not_found", "This source does not exist.")
    if row.state == "importing" and not imported:
        raise Problem("conflict", f"{row.name} holds imported tweets: it has no connection.")
    return row


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/sources/new", new, "admin"),
    Route("POST", "/sources/new", add, "admin"),
    Route("GET", f"/sources/{_ID}/change", edit, "admin"),
    Route("POST", f"/sources/{_ID}/change", change, "admin"),
)

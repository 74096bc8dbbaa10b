"""The page My account: password, dates, sessions and API tokens."""

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aiohttp import web

from stream.store import sessions, sql_roles, users
from stream.store.sessions import SCOPES, Scope
from stream.store.users import Role
from web.accounts import credentials, service
from web.accounts.sql_access import server_parts
from web.context import app_context, caller, form_fields, person, render, see_other
from web.local_time import find_zone, zone_names
from web.person import Person
from web.problem import Problem
from web.routing import Route, row_id

WORDS: dict[Scope, str] = {
    "read": "see tracks and tweets",
    "write": "create, edit and pause tracks",
    "admin": "admin actions",
}
_REACH: dict[Role, tuple[Scope, ...]] = {
    "viewer": ("read",),
    "user": ("read", "write"),
    "admin": SCOPES,
}
LASTING = {"30": "30 days", "90": "90 days", "365": "1 year", "": "never"}  # by days
NAME_MAX = 100  # characters
LANGUAGES = {  # that dates can be written in, each in its own words
    "ar": "العربية", "cs": "čeština", "da": "dansk", "de": "Deutsch", "el": "Ελληνικά",
    "en-GB": "English (31 December)", "en-US": "English (December 31)", "es": "español",
    "fa": "فارسی", "fi": "suomi", "fr": "français", "he": "עברית", "hi": "हिन्दी",
    "hu": "magyar", "id": "Indonesia", "it": "italiano", "ja": "日本語", "ko": "한국어",
    "nb": "norsk", "nl": "Nederlands", "pl": "polski", "pt": "português", "ro": "română",
    "ru": "русский", "sv": "svenska", "th": "ไทย", "tr": "Türkçe", "uk": "українська",
    "vi": "Tiếng Việt", "zh": "中文",
}  # fmt: skip
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}")


async def account(request: web.Request) -> web.StreamResponse:
    return await show(request)


async def show(
    request: web.Request,
    problem: Problem | None = None,
    done: str = "",
    token: str = "",
    sql_address: str = "",
) -> web.Response:
    """The page, with what was just done or made."""
    who = person(request)
    async with app_context(request).database.acquire() as connection:
        mine = await sessions.sessions_of(connection, who.id)
        keys = await sessions.tokens_of(connection, who.id)
        sql_role = await sql_roles.of_user(connection, who.id)
    return render(
        request,
        "account.html",
        status=200 if problem is None else problem.status,
        sessions=[(each, device(each.agent), each.hash == who.session) for each in mine],
        tokens=keys,
        reach=[(scope, WORDS[scope]) for scope in _REACH[who.role]],
        lasting=LASTING,
        zones=await asyncio.to_thread(zone_names),
        languages=LANGUAGES,
        problem=problem,
        done=done,
        token=token,
        sql_role=sql_role,
        sql_address=sql_address,
        sql_parts=server_parts(sql_address) if sql_address else None,
    )


async def change_password(request: web.Request) -> web.StreamResponse:
    """Change the password: all other sessions end, since others may have them."""
    given = form_fields(request)
    who = person(request)
    try:
        await _check_present(request, who, str(given.get("present", "")))
        hashed = await app_context(request).passwords.hash(str(given.get("password", "")))
    except Problem as problem:
        return await show(request, problem)
    async with app_context(request).database.transaction() as connection:
        await service.set_password(
            connection,
            who.id,
            hashed,
            keep_session=who.session,
            end_tokens=bool(given.get("end_tokens")),
        )
    done = "Password changed. All other sessions have ended."
    if given.get("end_tokens"):
        done += " Your API tokens no longer work."
    return await show(request, done=done)


async def _check_present(request: web.Request, who: Person, password: str) -> None:
    """Problem when the password is wrong, or after too many attempts."""
    here, address = app_context(request), caller(request).address
    if seconds := math.ceil(here.logins.take(address, who.name)):
        words = f"Too many attempts: try again in {seconds} seconds."
        raise Problem("too_many", words, field="present", retry_after=seconds)
    async with here.database.acquire() as connection:
        found = await users.password_hash(connection, who.name)
    if not await here.passwords.verify(found[1] if found else None, password):
        raise Problem("invalid", "The current password does not match.", field="present")
    here.logins.succeeded(address, who.name)


async def change_dates(request: web.Request) -> web.StreamResponse:
    """Change the time zone or language; an unchanged field stays as it is stored."""
    given, who = form_fields(request), person(request)
    zone, locale = (
        _chosen(given, name, getattr(who, name) or "") for name in ("time_zone", "locale")
    )
    try:
        _check_dates(zone, locale)
    except Problem as problem:
        return await show(request, problem)
    async with app_context(request).database.acquire() as connection:
        await users.set_dates(connection, who.id, zone or None, locale or None)
    return see_other(request, "/account")


def _check_dates(zone: str, locale: str) -> None:
    if zone and find_zone(zone) is None:
        words = f"Unknown time zone “{zone[:64]}”: write it like Europe/Berlin."
        raise Problem("invalid", words, field="time_zone")
    if locale and not _LOCALE.fullmatch(locale):
        raise Problem("invalid", "Choose one of the languages.", field="locale")


def _chosen(given: Mapping[str, object], name: str, stored: str) -> str:
    """The value of a field if it was changed since it was shown; else the stored value."""
    text = str(given.get(name, stored)).strip()
    return stored if text == str(given.get(f"was_{name}", stored)) else text


async def end_session(request: web.Request) -> web.StreamResponse:
    """The one whose number (its hash) is in the address."""
    try:
        hash_ = bytes.fromhex(request.match_info["id"])
    except ValueError:
        hash_ = b""
    async with app_context(request).database.acquire() as connection:
        if not await sessions.revoke_session(connection, hash_, person(request).id):
            raise Problem("not_found", "This session has already ended.")
    return see_other(request, "/account")


async def end_others(request: web.Request) -> web.StreamResponse:
    who = person(request)
    async with app_context(request).database.acquire() as connection:
        await sessions.revoke_sessions(connection, who.id, who.session)
    return see_other(request, "/account")


async def make_token(request: web.Request) -> web.StreamResponse:
    """Create an API token; only this answer shows it."""
    given = form_fields(request)
    who = person(request)
    name = str(given.get("name", "")).strip()
    wanted = {str(each) for each in given.getall("scopes", [])}
    scopes = [scope for scope in _REACH[who.role] if scope in wanted]
    days = str(given.get("days", ""))
    try:
        _check_token(name, scopes, wanted, days)
        until = datetime.now(UTC) + timedelta(days=int(days)) if days else None
        async with app_context(request).database.acquire() as connection:
            _, token = await credentials.new_token(connection, who.id, name, scopes, until)
    except Problem as problem:
        return await show(request, problem)
    return await show(request, token=token)


def _check_token(name: str, scopes: list[Scope], wanted: set[str], days: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or any(each < " " for each in name):
        words = f"Enter a name of 1 to {NAME_MAX} characters, without control characters."
        raise Problem("invalid", words, field="name")
    if not scopes or len(scopes) < len(wanted):
        words = "Choose at least one permission, and none that you do not have."
        raise Problem("invalid", words, field="scopes")
    if days not in LASTING:
        raise Problem("invalid", "Choose when the token expires.", field="days")


async def end_token(request: web.Request) -> web.StreamResponse:
    number = row_id(request.match_info["id"])
    async with app_context(request).database.acquire() as connection:
        if not await sessions.revoke_token(connection, person(request).id, number):
            raise Problem("not_found", "This token has already been revoked.")
    return see_other(request, "/account")


_BROWSERS = (  # the first that is found: most of them name those after it, too
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)


def device(agent: str) -> str:
    """`Firefox on Linux`; other agents as given, shortened."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if not browser:
        return agent[:60] or "unknown device"
    return f"{browser} on {system}" if system else browser


ROUTES = (
    Route("GET", "/account", account, "viewer"),
    Route("POST", "/account/password", change_password, "viewer"),
    Route("POST", "/account/dates", change_dates, "viewer"),
    Route("POST", "/account/sessions/end", end_others, "viewer"),
    Route("POST", "/account/sessions/{id}/end", end_session, "viewer"),
    Route("POST", "/account/tokens", make_token, "viewer"),
    Route("POST", "/account/tokens/{id}/end", end_token, "viewer"),
)

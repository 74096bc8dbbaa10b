"""Who may call each address; forms of other sites; sessions and their cookies."""

import json
from typing import Any

import aiohttp
import pytest

from stream.store.sessions import SCOPES
from web.accounts.credentials import csrf_of
from web.app import ROUTES
from web.auth import CSRF_HEADER, SESSION, VISITOR
from web_app import API_PREFIXES, PASSWORD, UNSAFE, Client, WebApp, hidden_fields

CLOSED = [route for route in ROUTES if route.access != "public"]


# -- who ------------------------------------------------------------------------------------------


def test_what_strangers_may_change_is_known() -> None:
    """Every address that is open without login is listed here."""
    open_ones = {route.path for route in UNSAFE if route.access == "public"}
    assert open_ones == {"/login", "/welcome"}


async def test_nobody_comes_in_without_login(app: WebApp) -> None:
    stranger = await app.anonymous()
    for route in CLOSED:
        status, text, location = await stranger.call(route, headers={})
        if route.path.startswith(API_PREFIXES):
            assert (status, json.loads(text)["error"]["code"]) == (401, "login_needed"), route
        else:
            assert status == 303, route
            assert location.startswith("/login"), route


@pytest.mark.parametrize("role", ["viewer", "user"])
async def test_a_role_reaches_so_far(app: WebApp, role: Any) -> None:
    reach = {"viewer": {"viewer"}, "user": {"viewer", "user"}}[role]
    client = await app.log_in("vic", role)
    for route in CLOSED:
        if route.access not in reach:
            status, text, _ = await client.call(route)
            assert status == 403, route
            assert "yours is" in text, route


async def test_a_token_opens_what_its_scopes_say(app: WebApp) -> None:
    programs = {
        lacking: await app.api_client(
            "ana", "admin", tuple(scope for scope in SCOPES if scope != lacking)
        )
        for lacking in (*SCOPES, None)
    }
    for route in CLOSED:
        status, text, _ = await programs[route.scope].call(route, headers={})
        assert status == 403, route
        word = "tokens are not accepted" if route.scope is None else f"the scope {route.scope}"
        assert word in text, route


async def test_a_token_that_is_none_opens_nothing(app: WebApp) -> None:
    stranger = await app.anonymous()
    for token in ("", "ts_", "ts_" + "x" * 43, "\u00fc", "x" * 5000):
        for route in CLOSED[:3]:
            status, _, _ = await stranger.call(route, headers={"Authorization": f"Bearer {token}"})
            assert status in (303, 401), token


# -- forms of others ------------------------------------------------------------------------------


async def test_no_change_without_the_key_of_our_forms(admin: Client) -> None:
    for route in UNSAFE:
        for headers in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: csrf_of("another")}):
            status, text, _ = await admin.call(route, headers=headers)
            assert status == 403, route
            assert "form" in text, route


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_change_from_another_site(admin: Client, said: dict[str, str]) -> None:
    for route in UNSAFE:
        status, text, _ = await admin.call(route, headers={CSRF_HEADER: admin.csrf} | said)
        assert status == 403, route
        assert "another site" in text, route


async def test_our_own_site_may(app: WebApp, admin: Client) -> None:
    headers = {"Origin": app.address, "Sec-Fetch-Site": "same-origin"}
    status, text = await admin.post("/users", {"name": "bo", "role": "viewer"}, headers=headers)
    assert status == 200, text


async def test_a_stranger_has_a_key_of_his_own(app: WebApp) -> None:
    """Not one that anyone without a cookie could compute."""
    stranger = await app.anonymous()
    for headers in ({CSRF_HEADER: csrf_of("")}, {CSRF_HEADER: ""}, {}):
        status, _ = await stranger.post("/login", {"name": "a", "password": "b"}, headers=headers)
        assert status == 403


# -- logging in ---------------------------------------------------------------------------------


async def log_in_form(http: aiohttp.ClientSession, onward: str = "") -> dict[str, str]:
    async with http.get("/login", params={"next": onward}) as answer:
        form = hidden_fields(await answer.text())
    return form | {"name": "ana", "password": PASSWORD, "next": onward}


async def log_in(http: aiohttp.ClientSession, form: dict[str, str], **options: Any) -> Any:
    async with http.post("/login", data=form, allow_redirects=False, **options) as answer:
        assert answer.status == 303, await answer.text()
        return answer


async def test_the_cookies_are_out_of_reach(app: WebApp) -> None:
    await app.user("ana", "admin")
    stranger = await app.anonymous()
    answer = await log_in(stranger.http, await log_in_form(stranger.http))
    cookie = answer.cookies[SESSION]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["secure"], "there is no HTTPS"
    assert answer.cookies[VISITOR].value == "", "the key of the stranger's forms is taken back"


async def test_a_login_gives_a_key_that_nobody_knew(app: WebApp) -> None:
    """Neither one that was planted nor the one from before works afterwards."""
    await app.user("ana", "admin")
    stranger, other = await app.anonymous(), await app.anonymous()
    form = await log_in_form(stranger.http)
    stranger.http.cookie_jar.update_cookies({SESSION: "planted"})
    first = (await log_in(stranger.http, form)).cookies[SESSION].value
    stranger.http.cookie_jar.clear()
    form = await log_in_form(stranger.http)
    stranger.http.cookie_jar.update_cookies({SESSION: first})
    headers = {CSRF_HEADER: csrf_of(first)}
    second = (await log_in(stranger.http, form, headers=headers)).cookies[SESSION].value
    assert second not in (first, "planted")
    for key, status in (("planted", 303), (first, 303), (second, 200)):
        other.http.cookie_jar.update_cookies({SESSION: key})
        assert (await other.get("/account"))[0] == status


ONWARD = [
    ("/account", "/account"),
    ("/?q=a%20b", "/?q=a%20b"),
    ("//evil.example", "/"),
    ("/\\evil.example", "/"),
    ("https://evil.example/", "/"),
    ("javascript:alert(1)", "/"),
    ("/\r\nSet-Cookie: a=b", "/"),
    ("/\tevil", "/"),
    ("", "/"),
]


async def test_a_login_leads_only_to_us(app: WebApp) -> None:
    await app.user("ana", "admin")
    for onward, location in ONWARD:
        stranger = await app.anonymous()
        answer = await log_in(stranger.http, await log_in_form(stranger.http, onward))
        assert answer.headers["Location"] == location
        async with stranger.http.get(
            "/login", params={"next": onward}, allow_redirects=False
        ) as again:
            assert again.headers["Location"] == location, "also for who is logged in already"


async def test_no_form_can_add_a_header(admin: Client) -> None:
    """Where a form says to which list it leads back."""
    given = {"do": "pause", "back": "q=a\r\nSet-Cookie: x=y"}
    async with admin.http.post(
        "/tracks/bulk", data=given, headers={CSRF_HEADER: admin.csrf}, allow_redirects=False
    ) as answer:
        assert (answer.status, "x" in answer.cookies) == (303, False)


async def test_who_wanted_a_page_comes_to_it_after_the_login(app: WebApp) -> None:
    stranger = await app.anonymous()
    async with stranger.http.get("/users/1?a=b%26c", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/login?next=%2Fusers%2F1%3Fa%3Db%2526c"
    part = {"HX-Request": "true", "HX-Current-URL": f"{app.address}/users?x=1"}
    async with stranger.http.get("/users/1", headers=part) as answer:
        assert answer.status == 401
        assert answer.headers["HX-Redirect"] == "/login?next=%2Fusers%3Fx%3D1"

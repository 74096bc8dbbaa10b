"""The pages and the API of webhooks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from stream.sinks import webhook_secrets
from stream.store import webhooks
from web.context import APP_CONTEXT
from web_app import HOSTILE, Client, MakeApp, WebApp, assert_harmless, plain_text

ADDRESS = "https://example.org/hook"
DAY = timedelta(days=1)


async def add(client: Client, **fields: Any) -> dict[str, Any]:
    status, found = await client.json(
        "POST", "/api/v1/webhooks", {"name": "mine", "url": ADDRESS} | fields
    )
    assert status == 201, found
    return dict(found)


async def secrets_of(app: WebApp, hook: int) -> list[str]:
    """What signs its messages now."""
    async with app.database.acquire() as connection:
        found = await webhooks.by_id(connection, hook)
    assert found is not None
    vault = app.application[APP_CONTEXT].vault
    return list(webhook_secrets.open_secrets(vault, found))


async def delivered(app: WebApp, hook: int, state: str = "delivered", answer: str = "") -> int:
    """A delivery that is finished."""
    return int(
        await app.value(
            "INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state,"
            " created_at, next_at, status, result, answer)"
            " VALUES ($1, 'msg_1', 'tweets.matched', '{1}', $2, now(), NULL, 200, $3, $3)"
            " RETURNING id",
            hook,
            state,
            answer,
        )
    )


async def test_a_form_adds_a_webhook_and_shows_its_secret_once(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    fields = {"name": "mine", "url": ADDRESS, "which": "some", "tracks": str(track)}
    status, page = await ana.post("/webhooks", fields)
    assert status == 200
    [secret] = re.findall(r"whsec_[A-Za-z0-9+/=]{40,}", page)
    [[number, tracks, state]] = await app.rows("SELECT id, tracks, state FROM webhooks")
    assert (tracks, state) == ([track], "active")
    assert "whsec_" not in await ana.page(f"/webhooks/{number}")
    assert "mine" in await ana.page("/webhooks")
    [[stored]] = await app.rows("SELECT secrets FROM webhooks")
    assert secret.encode() not in stored
    assert await secrets_of(app, number) == [secret]


async def test_a_wrong_address_is_said_next_to_the_form(app: WebApp, ana: Client) -> None:
    fields = {"name": "mine", "url": "https://10.0.0.1/", "which": "all"}
    status, page = await ana.post("/webhooks", fields)
    assert status == 422
    assert "This address is private" in page
    assert 'value="https://10.0.0.1/"' in page
    assert await app.value("SELECT count(*) FROM webhooks") == 0


async def test_http_is_refused_outside_of_allowed_networks_with_the_remedy(
    make_app: MakeApp,
) -> None:
    """By the form and by the API; what the setting allows is taken."""
    async with make_app(sinks={"webhooks": {"allowed_networks": ["10.0.0.0/8"]}}) as app:
        ana = await app.log_in("ana")
        url = "http://8.8.8.8/hook"
        fields = {"name": "mine", "url": url, "which": "all"}
        status, page = await ana.post("/webhooks", fields)
        assert status == 422
        assert "use https, or ask an administrator to allow" in page
        status, found = await ana.json("POST", "/api/v1/webhooks", {"name": "mine", "url": url})
        assert (status, found["error"]["field"]) == (422, "url")
        path = f"/api/v1/webhooks/{(await add(ana, url='http://10.0.0.5/'))['id']}"
        assert (await ana.json("PATCH", path, {"url": url}))[0] == 422
        await app.execute("UPDATE webhooks SET url = $1", url)
        assert (await ana.json("PATCH", path, {"name": "renamed"}))[0] == 200


async def test_a_new_secret_instead_of_a_lost_one_is_used_at_once(app: WebApp, ana: Client) -> None:
    hook = (await add(ana))["id"]
    later = datetime.now(UTC) + DAY
    await app.execute(
        "INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at,"
        " next_at) VALUES ($1, 'msg_1', 'tweets.matched', '{1}', 'waiting', now(), $2)",
        hook,
        later,
    )
    due = "SELECT next_at <= now() FROM webhook_deliveries"
    await ana.json("POST", f"/api/v1/webhooks/{hook}/secret")
    assert not await app.value(due)
    await app.execute("UPDATE webhooks SET secrets = NULL")
    await ana.json("POST", f"/api/v1/webhooks/{hook}/secret")
    assert await app.value(due)


async def test_a_webhook_follows_only_tracks_that_its_owner_sees(app: WebApp, ana: Client) -> None:
    other = await app.add_track(owner="bo")
    status, found = await ana.json(
        "POST", "/api/v1/webhooks", {"name": "mine", "url": ADDRESS, "tracks": [other]}
    )
    assert status == 422
    assert found["error"]["field"] == "tracks"
    await app.share(other, "ana")
    await add(ana, tracks=[other])


async def test_a_webhook_without_its_tracks_says_that_nothing_is_sent(
    app: WebApp, ana: Client
) -> None:
    track = await app.add_track()
    await add(ana, tracks=[track])
    await add(ana, name="all")
    assert "Nothing is sent" not in await ana.page("/webhooks/1")
    await app.execute("DELETE FROM tracks")
    assert "Nothing is sent" in await ana.page("/webhooks/1")
    assert "Nothing is sent" not in await ana.page("/webhooks/2")


async def test_tracks_that_are_not_changed_are_not_checked_again(app: WebApp, ana: Client) -> None:
    """Also one that was deleted meanwhile; a new one is."""
    gone, kept = await app.add_track("snow"), await app.add_track("rain")
    path = f"/api/v1/webhooks/{(await add(ana, tracks=[gone]))['id']}"
    await app.execute("DELETE FROM tracks WHERE id = $1", gone)
    status, found = await ana.json("PATCH", path, {"name": "renamed"})
    assert (status, found["name"], found["tracks"]) == (200, "renamed", [gone])
    status, found = await ana.json("PATCH", path, {"tracks": [kept, gone]})
    assert (status, found["tracks"]) == (200, [gone, kept])
    status, found = await ana.json("PATCH", path, {"tracks": [gone, kept, 99]})
    assert status == 422
    assert "Track 99 does not exist" in found["error"]["message"]


async def test_only_what_will_be_tried_has_a_next_try(app: WebApp, ana: Client) -> None:
    """What waits for a webhook that is disabled has none; what is sent again has one."""
    hook = (await add(ana))["id"]
    await app.execute(
        "INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at)"
        " VALUES ($1, 'msg_1', 'tweets.matched', '{1}', 'waiting', now())",
        hook,
    )

    async def has_next_try() -> bool:
        _, found = await ana.json("GET", f"/api/v1/webhooks/{hook}/deliveries")
        [cell] = re.findall('data-label="Next try">(.*)</td>', await ana.page(f"/webhooks/{hook}"))
        shown = found["deliveries"][0]["next_at"] is not None
        assert shown == bool(cell)
        return shown

    assert await has_next_try()
    await app.execute("UPDATE webhooks SET state = 'disabled'")
    assert not await has_next_try()
    await app.execute("UPDATE webhook_deliveries SET state = 'again'")
    assert await has_next_try()


async def test_a_user_has_a_limited_number_of_webhooks(make_app: MakeApp) -> None:
    async with make_app(sinks={"webhooks": {"max_per_user": 2}}) as app:
        ana = await app.log_in("ana")
        await add(ana, name="1")
        await add(ana, name="2")
        body = {"name": "3", "url": ADDRESS}
        status, found = await ana.json("POST", "/api/v1/webhooks", body)
        assert (status, found["error"]["code"]) == (409, "conflict")
        assert "2 webhooks, the limit" in found["error"]["message"]


async def test_two_webhooks_of_a_user_have_two_names(app: WebApp, ana: Client) -> None:
    await add(ana)
    status, found = await ana.json("POST", "/api/v1/webhooks", {"name": "mine", "url": ADDRESS})
    assert (status, found["error"]["field"]) == (409, "name")
    await add(await app.log_in("bo"))


async def test_others_do_not_see_a_webhook_and_admins_do(app: WebApp, ana: Client) -> None:
    hook = (await add(ana))["id"]
    delivery = await delivered(app, hook)
    bo, root = await app.log_in("bo"), await app.log_in("root", "admin")
    calls = [
        ("GET", f"/api/v1/webhooks/{hook}", None),
        ("PATCH", f"/api/v1/webhooks/{hook}", {"paused": True}),
        ("POST", f"/api/v1/webhooks/{hook}/secret", None),
        ("POST", f"/api/v1/webhooks/{hook}/test", None),
        ("GET", f"/api/v1/webhooks/{hook}/deliveries", None),
        ("POST", f"/api/v1/webhook-deliveries/{delivery}/send-again", None),
        ("DELETE", f"/api/v1/webhooks/{hook}", None),
    ]
    for method, path, body in calls:
        assert (await bo.json(method, path, body))[0] == 404, path
    assert (await bo.json("GET", "/api/v1/webhooks"))[1] == {"webhooks": []}
    assert (await bo.get(f"/webhooks/{hook}"))[0] == 404
    for method, path, body in calls:
        assert (await root.json(method, path, body))[0] in (200, 204), path
    viewer = await app.log_in("vi", "viewer")
    assert (await viewer.json("GET", "/api/v1/webhooks"))[0] == 403


async def test_tracks_of_others_are_offered_with_their_owner(app: WebApp, ana: Client) -> None:
    await app.add_track("snow", "ana")
    root = await app.log_in("root", "admin")
    assert "snow of ana" in plain_text(await root.page("/webhooks"))
    assert "snow of ana" not in plain_text(await ana.page("/webhooks"))


async def test_a_new_secret_keeps_the_former_one_for_a_day(app: WebApp, ana: Client) -> None:
    made = await add(ana)
    before = datetime.now(UTC)
    _, renewed = await ana.json("POST", f"/api/v1/webhooks/{made['id']}/secret")
    assert renewed["secret"] != made["secret"]
    until = datetime.fromisoformat(renewed["webhook"]["old_secret_until"])
    assert before + DAY <= until <= datetime.now(UTC) + DAY
    assert await secrets_of(app, made["id"]) == [renewed["secret"], made["secret"]]


async def test_pause_and_resume_keep_the_position(app: WebApp, ana: Client) -> None:
    hook = (await add(ana))["id"]
    before = await app.value("SELECT position FROM webhooks")
    path = f"/api/v1/webhooks/{hook}"
    assert (await ana.json("PATCH", path, {"paused": True}))[1]["state"] == "paused"
    await app.execute("UPDATE webhooks SET state = 'disabled', reason = 'It fails.'")
    _, found = await ana.json("PATCH", path, {"paused": False})
    assert (found["state"], found["reason"]) == ("active", "")
    assert await app.value("SELECT position FROM webhooks") == before


async def test_a_delivery_is_sent_again_with_its_id_and_not_twice(app: WebApp, ana: Client) -> None:
    delivery = await delivered(app, (await add(ana))["id"], "dead")
    path = f"/api/v1/webhook-deliveries/{delivery}/send-again"
    status, found = await ana.json("POST", path)
    assert (status, found["state"], found["message_id"]) == (200, "again", "msg_1")
    assert (await ana.json("POST", path))[0] == 409


async def test_a_delivery_of_an_archived_day_is_sent_again_as_any_other(
    app: WebApp, ana: Client
) -> None:
    hook = (await add(ana))["id"]
    delivery = await delivered(app, hook, "dead")
    day = await app.value("SELECT tweet_received_at(1)::date")
    await app.execute("INSERT INTO archives (day, state, path) VALUES ($1, 'dropped', 'a')", day)
    path = f"/api/v1/webhook-deliveries/{delivery}/send-again"
    status, found = await ana.json("POST", path)
    assert (status, found["state"]) == (200, "again")


async def test_a_day_that_was_archived_before_it_was_sent_is_shown_and_not_sent_again(
    app: WebApp, ana: Client
) -> None:
    hook = (await add(ana))["id"]
    why = "Export the day (page Exports) to get them."
    delivery = await delivered(app, hook, "dead")
    await app.execute("UPDATE webhook_deliveries SET tweets = '{}', result = $1", why)
    _, found = await ana.json("GET", f"/api/v1/webhooks/{hook}/deliveries?state=dead")
    assert [each["result"] for each in found["deliveries"]] == [why]
    page = await ana.page(f"/webhooks/{hook}")
    assert why in page
    assert "send-again" not in page
    path = f"/api/v1/webhook-deliveries/{delivery}/send-again"
    status, found = await ana.json("POST", path)
    assert (status, found["error"]["message"]) == (409, why)


async def test_tests_and_messages_sent_again_are_limited(app: WebApp, ana: Client) -> None:
    hook = (await add(ana))["id"]
    answers = [(await ana.json("POST", f"/api/v1/webhooks/{hook}/test"))[0] for _ in range(11)]
    assert answers == [200] * 10 + [429]


async def test_what_a_receiver_answers_is_shown_as_text(app: WebApp, ana: Client) -> None:
    for number, text in enumerate(HOSTILE):
        printable = "".join(filter(str.isprintable, text))
        hook = (await add(ana, name=f"{number} {printable}"[:100]))["id"]
        await delivered(app, hook, "dead", text)
        assert_harmless(await ana.page(f"/webhooks/{hook}"))
        await app.execute("DELETE FROM webhooks")


async def test_a_webhook_goes_with_its_user(app: WebApp, ana: Client) -> None:
    await delivered(app, (await add(ana))["id"])
    await app.execute("DELETE FROM users WHERE name = 'ana'")
    assert await app.value("SELECT count(*) FROM webhook_deliveries") == 0

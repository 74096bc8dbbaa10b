"""Messages of Mastodon, on every way that they come, and what they say."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from statuses import SERVER, account, decoded, frame, status, tweet_of
from stream.errors import Reject
from stream.networks.mastodon.decode import is_opted_out
from stream.networks.mastodon.html_text import html_to_text
from stream.networks.mastodon.wire_types import Account, AccountField
from stream.tweet import ControlNotice, Deletion, NativeId, Tweet

CHANGED = ControlNotice("ignored", "filters_changed")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain\n  words", "plain words"),
        ("<p>one<br>two<br />three</p><p>four</p>", "one\ntwo\nthree\n\nfour"),
        ("<p>one</p>\n  <p>two</p>\n", "one\n\ntwo"),
        ("<p>a<br><br>b</p>", "a\n\nb"),
        ("<p>a &amp; b &lt;c&gt; &quot;d&quot; &#39;e&#39; &eacute;</p>", "a & b <c> \"d\" 'e' é"),
        ("<p>it<b>al</b>ic <em> x </em>y</p>", "italic x y"),
        ("<p>to do:</p><ul><li>one</li><li><p>two</p></li></ul>", "to do:\n\n• one\n• two"),
        ("<ol><li>a</li><li>b<ul><li>c</li></ul></li></ol>d", "1. a\n2. b\n• c\n\nd"),
        ("<p>x</p><pre><code>a\n  b</code></pre><p>y</p>", "x\n\na\n  b\n\ny"),
        ("<blockquote><p>they say</p></blockquote><p>no</p>", "they say\n\nno"),
        ("<ruby>東<rp>(</rp><rt>とう</rt><rp>)</rp>京</ruby>タワー", "東京タワー"),
        ('<p class="quote-inline">RE: <a href="https://x.example/1">x</a></p><p>yes</p>', "yes"),
        ("a<script>alert(1)</script><style>b{}</style>c<!-- d -->e", "ace"),
        ("<frameset><p>kept</p>", "kept"),
        ('<p>smile <img alt=":)" src="x"></p>', "smile :)"),
        ("<p>unclosed <b>tags & bare < signs", "unclosed tags & bare < signs"),
        ("<p></p>", ""),
        ("<div>" * 5000 + "deep" + "</div>" * 5000, "deep"),
    ],
)
def test_html_becomes_the_text_that_a_browser_shows(html: str, text: str) -> None:
    assert html_to_text(html).text == text


def test_a_shortened_link_is_read_in_full_and_by_its_address() -> None:
    link = (
        '<p>see <a href="https://news.example/2026/long?x=1&amp;y=2" rel="nofollow"><span '
        'class="invisible">https://</span><span class="ellipsis">news.example/2026/lo</span><span '
        'class="invisible">ng?x=1&amp;y=2</span></a> and <a href="https://b.example/">here</a></p>'
    )
    found = tweet_of(status(link)).own
    assert found.text == "see https://news.example/2026/long?x=1&y=2 and here"
    assert found.links == ("https://news.example/2026/long?x=1&y=2", "https://b.example/")


def test_a_post_has_its_global_address_as_id_and_its_author_with_a_server() -> None:
    found = tweet_of(status())
    assert found == Tweet(
        native_id=NativeId(f"{SERVER}/users/ann/statuses/1101"),
        kind="original",
        own=found.own,
        text="Snow in town",
        url=f"{SERVER}/@ann/1101",
        created_at=datetime(2026, 11, 20, 10, 35, 0, 120_000, UTC),
        lang="en",
        server_id="1101",
    )
    assert (found.own.author, found.own.author_id) == (
        "ann@social.example",
        f"{SERVER}/users/ann",
    )
    remote = tweet_of(status(account=account("bob", "other.example", uri=None))).own
    assert (remote.author, remote.author_id) == ("bob@other.example", "https://other.example/@bob")


def test_all_ways_that_a_status_comes_give_the_same_tweet() -> None:
    one = status('<p>Zoë &amp; 東京 🎉 \\ "quoted"</p>')
    text = json.dumps(one).encode()
    tweets = [
        decoded(body)
        for body in (
            frame(one),
            json.dumps({"event": "update", "payload": text.decode()}).encode(),
            b'{"stream":["public"],"event":"update","payload":%b,"refilled":true}' % text,
            text,
        )
    ]
    assert tweets == [tweets[0]] * 4
    assert isinstance(tweets[0], Tweet)
    assert tweets[0].text == 'Zoë & 東京 🎉 \\ "quoted"'
    assert not tweets[0].edited


def test_what_postgres_refuses_is_repaired_inside_the_payload_too() -> None:
    payload = json.dumps(status()).replace("Snow", "a\\u0000b\\ud800c")
    found = decoded(frame(payload))
    assert isinstance(found, Tweet)
    assert found.text == "a\ufffdb\ufffdc in town"


def test_an_edit_is_a_new_version_of_the_same_post() -> None:
    found = decoded(frame(status("<p>Rain</p>", edited_at="2026-11-20T11:00:00Z"), "status.update"))
    assert isinstance(found, Tweet)
    assert (found.edited, found.text, found.native_id) == (
        True,
        "Rain",
        f"{SERVER}/users/ann/statuses/1101",
    )


@pytest.mark.parametrize("payload", ['"1101"', "1101"])
def test_a_deletion_names_the_id_on_the_server(payload: str) -> None:
    body = f'{{"stream":["public"],"event":"delete","payload":{payload}}}'.encode()
    assert decoded(body) == Deletion(NativeId("1101"), of_server=True)


def test_a_content_warning_is_part_of_the_text() -> None:
    found = tweet_of(status("<p>They lost</p>", spoiler_text="Politics"))
    assert found.text == found.own.text == "Politics\n\nThey lost"
    assert tweet_of(status("", spoiler_text="Politics")).text == "Politics"


def test_alt_texts_polls_and_cards_are_descriptions() -> None:
    found = tweet_of(
        status(
            media_attachments=[
                {"type": "image", "description": "a cat"},
                {"type": "gifv", "description": None},
                {"type": "video", "description": "a dog"},
                {"type": "audio"},
                {"type": "unknown", "description": "?"},
            ],
            poll={"id": "1", "options": [{"title": "yes"}, {"title": "no"}]},
            card={"url": "https://n.example/1", "title": "News", "description": "of today"},
        )
    )
    assert found.media == ("photo", "animated_gif", "video", "audio")
    assert found.own.descriptions == ("a cat", "a dog", "?", "yes", "no", "News", "of today")
    assert found.own.links == ("https://n.example/1",)


def test_names_and_tags_have_lists_of_their_own_and_are_no_links() -> None:
    content = (
        f'<p><span class="h-card"><a href="{SERVER}/@bob" class="u-url mention">@<span>bob</span>'
        f'</a></span> <a href="https://other.example/users/eve">@eve</a> '
        f'<a href="{SERVER}/tags/Cafe" class="mention hashtag" rel="tag">#<span>Café</span></a></p>'
    )
    mentions = [
        {"id": "7", "username": "bob", "acct": "bob", "url": f"{SERVER}/@bob"},
        {
            "id": "8",
            "username": "eve",
            "acct": "eve@other.example",
            "url": "https://other.example/users/eve",
        },
    ]
    tags = [{"name": "cafe", "url": f"{SERVER}/tags/Cafe"}, {"name": "Snow", "url": None}]
    found = tweet_of(status(content, mentions=mentions, tags=tags)).own
    assert found.text == "@bob @eve #Café"
    assert found.mentions == ("bob@social.example", "eve@other.example")
    assert found.hashtags == ("Café", "Snow")  # as written; and one that is not marked
    assert found.links == ()


def test_cashtags_are_found_in_the_text() -> None:
    assert tweet_of(status("<p>buy $TSLA for $5</p>")).own.cashtags == ("TSLA",)


def test_a_reply_names_whom_it_answers() -> None:
    mentions = [{"id": "7", "username": "bob", "acct": "bob", "url": f"{SERVER}/@bob"}]
    answer: dict[str, Any] = {
        "in_reply_to_id": "55",
        "in_reply_to_account_id": "7",
        "mentions": mentions,
    }
    found = tweet_of(status(**answer))
    assert (found.kind, found.reply_to) == ("reply", "bob@social.example")
    itself = tweet_of(status(in_reply_to_id="55", in_reply_to_account_id=account()["id"]))
    assert itself.reply_to == "ann@social.example"
    unknown = tweet_of(status(in_reply_to_id="55", in_reply_to_account_id="3"))
    assert (unknown.kind, unknown.reply_to) == ("reply", None)


def test_a_boost_has_the_text_of_the_boosted_post() -> None:
    boosted = status(
        "<p>Original</p>",
        account=account("bob", "other.example"),
        uri="https://other.example/notes/5",
        language="de",
        media_attachments=[{"type": "image"}],
    )
    found = tweet_of(status("<p>Original</p>", reblog=boosted, language=None, uri=f"{SERVER}/a/1"))
    assert (found.kind, found.text, found.lang) == ("repost", "Original", "de")
    assert found.native_id == f"{SERVER}/a/1"
    assert (found.own.text, found.own.author) == ("", "ann@social.example")
    assert found.reposted is not None
    assert (found.reposted.author, found.media) == ("bob@other.example", ("photo",))


def test_a_quoted_post_is_read_only_with_its_authors_consent() -> None:
    quoted = status("<p>Quoted</p>", account=account("bob", "other.example"))

    def quote(**quote: Any) -> Tweet:
        return tweet_of(status(quote=quote))

    accepted = quote(state="accepted", quoted_status=quoted)
    assert accepted.quoted is not None
    assert (accepted.kind, accepted.quoted.text) == ("quote", "Quoted")
    for state in ("pending", "rejected", "revoked", "deleted", "unauthorized", "something new"):
        found = quote(state=state, quoted_status=quoted)
        assert (found.kind, found.quoted) == ("quote", None)
    shallow = quote(state="accepted", quoted_status_id="77")
    assert (shallow.kind, shallow.quoted) == ("quote", None)
    other_software = quote(**quoted)
    assert other_software.quoted is not None


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00"])
def test_an_impossible_time_is_left_out(text: str) -> None:
    assert tweet_of(status(created_at=text)).created_at is None


@pytest.mark.parametrize(
    ("who", "opted_out"),
    [
        (Account(), False),
        (Account(noindex=False, indexable=True), False),
        (Account(noindex=True), True),
        (Account(indexable=False), True),
        (Account(note='<p>I <a href="x">#<span>NoBot</span></a></p>'), True),
        (Account(note="<p>#nobots please</p>"), True),
        (Account(note="<p>#noindex</p>"), True),
        (Account(note="<p>no bots, #nobotany</p>"), False),
        (Account(fields=[AccountField("bots", "#nobot")]), True),
        (Account(fields=[AccountField("#nobot", "thanks")]), True),
    ],
)
def test_accounts_can_opt_out(who: Account, opted_out: bool) -> None:
    assert is_opted_out(who) is opted_out


def test_an_opted_out_author_or_boosted_author_marks_the_tweet() -> None:
    shy = account(noindex=True)
    assert tweet_of(status(account=shy)).opted_out
    assert tweet_of(status(reblog=status(account=shy))).opted_out
    assert not tweet_of(status()).opted_out


@pytest.mark.parametrize(
    ("body", "notice"),
    [
        (
            b'{"stream":["user"],"event":"filters_changed"}',
            ControlNotice("ignored", "filters_changed"),
        ),
        (
            b'{"event":"filters_changed","payload":"undefined"}',
            ControlNotice("ignored", "filters_changed"),
        ),
        (frame({"id": "1"}, "notification"), ControlNotice("ignored", "notification")),
        (frame({"id": "1"}, "new.event"), ControlNotice("unknown", "new.event")),
        (
            b'{"error":"Unknown stream type","status":400}',
            ControlNotice("error", "Unknown stream type", 400),
        ),
    ],
)
def test_other_messages_are_notices(body: bytes, notice: ControlNotice) -> None:
    assert decoded(body) == notice


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "bad_shape"),
        (b"[]", "not_object"),
        (b'{"event":"update"}', "not_json"),
        (b'{"event":"update","payload":"{\\"id\\":"}', "not_json"),
        (b'{"event":"update","payload":"[]"}', "not_object"),
        (frame(status(uri=None)), "no_id"),
        (frame(status(uri="x" * 2000)), "no_id"),
        (b'{"event":"delete","payload":""}', "no_id"),
        (b'{"event":"delete"}', "no_id"),
        (b'{"event":"delete","payload":{"id":"1"}}', "no_id"),
    ],
)
def test_what_cannot_be_stored_is_a_reject(body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        decoded(body)
    assert refused.value.reason == reason


def test_parts_of_a_wrong_type_cost_only_themselves() -> None:
    found = tweet_of(status(tags="none", poll=5, mentions=[3, {"acct": "bob", "url": None}], id=7))
    assert (found.text, found.server_id) == ("Snow in town", "7")
    assert found.own.mentions == ("bob",)

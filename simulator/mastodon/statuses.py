"""Invented statuses of Mastodon: HTML, tags, content warnings, alt texts, polls, other servers."""

import html
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from simulator.payload import Json
from simulator.vocabulary import LANGUAGE_WEIGHTS, LANGUAGES, SYLLABLES

HOST = "social.example"
OTHER_HOSTS = ("harbour.example", "tram.example.org", "tidal.example.net")
CROWD = 300  # accounts that write most of the posts
ALT_TEXTS = ("A tram in the rain", "Zwei Katzen auf einem Sofa", "港の夕焼け", "")
_PLACES = ("text", "text", "text", "text", "warning", "alt", "poll")


class Writer(msgspec.Struct, frozen=True):
    """An account; `host` empty: of this server."""

    number: int
    name: str
    host: str = ""

    @property
    def acct(self) -> str:
        """The name as this server shows it."""
        return f"{self.name}@{self.host}" if self.host else self.name

    @property
    def site(self) -> str:
        """The address of the account's server."""
        return f"https://{self.host or HOST}"


class StatusWriter:
    """Writes statuses. They contain one of the words only on request."""

    def __init__(self, rng: random.Random, words: Sequence[str]) -> None:
        self.rng = rng
        self.words = [word.lstrip("#@").casefold() for word in words]
        self.crowd = tuple(self._invent(number) for number in range(CROWD))

    def status(self, status_id: str, at: float, word: str | None = None) -> Json:
        """A new public post at this time; with this word somewhere."""
        rng = self.rng
        language = rng.choices(LANGUAGES, LANGUAGE_WEIGHTS)[0]
        writer = rng.choice(self.crowd)
        tags = [tag for tag in language.tags if self._is_free(tag) and rng.random() < 0.1]
        place, word = "text", word or ""
        if word.startswith("@"):
            name, _, host = word[1:].partition("@")
            writer, word = Writer(CROWD + 1, name, "" if host == HOST else host), ""
        elif word.startswith("#"):
            tags.append(word[1:])
            word = ""
        elif word:
            place = rng.choice(_PLACES)
        parts = [rng.choice(some) for some in (language.openings, language.middles, language.ends)]
        text = language.gap.join(part if self._is_free(part) else "…" for part in parts)
        content = f"<p>{html.escape(text)}</p>"
        if word and place == "text":
            content += f"<p>{html.escape(word)}</p>"
        made = self._frame(status_id, at, writer)
        made |= {"language": language.code, "content": content + _tag_links(writer, tags)}
        made["tags"] = [{"name": t.lower(), "url": f"{writer.site}/tags/{t}"} for t in tags]
        self._attach(made, place, word)
        return made

    def _attach(self, made: Json, place: str, word: str) -> None:
        """Content warning, image and poll; one of them may hold the word."""
        rng = self.rng
        if place == "warning" or rng.random() < 0.05:
            made["spoiler_text"] = f"About: {word}" if place == "warning" else "Long"
        if place == "alt" or rng.random() < 0.15:
            alt = word if place == "alt" else rng.choice(ALT_TEXTS)
            image: Json = {"id": f"{made['id']}1", "type": "image", "description": alt}
            made["media_attachments"] = [image]
        if place == "poll" or rng.random() < 0.03:
            titles = ("Yes", word if place == "poll" else "No")
            options = [{"title": title, "votes_count": 0} for title in titles]
            made["poll"] = {"id": f"{made['id']}2", "options": options, "votes_count": 0}

    def _frame(self, status_id: str, at: float, writer: Writer) -> Json:
        """The fields that every status has."""
        uri = f"{writer.site}/users/{writer.name}/statuses/{status_id}"
        created = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        return {
            "id": status_id,
            "created_at": created.replace("+00:00", "Z"),
            "in_reply_to_id": None,
            "in_reply_to_account_id": None,
            "sensitive": False,
            "spoiler_text": "",
            "visibility": "public",
            "uri": uri,
            "url": f"{writer.site}/@{writer.name}/{status_id}",
            "edited_at": None,
            "reblog": None,
            "account": _account(writer),
            "media_attachments": [],
            "mentions": [],
            "emojis": [],
            "card": None,
            "poll": None,
        }

    def _invent(self, number: int) -> Writer:
        name = "".join(self.rng.choices(SYLLABLES, k=3)) + str(number)
        host = self.rng.choice(OTHER_HOSTS) if self.rng.random() < 0.6 else ""
        return Writer(number + 1, name, host)

    def _is_free(self, part: str) -> bool:
        """Whether a part holds none of the words."""
        return not any(word in part.casefold() for word in self.words)


def _account(writer: Writer) -> Json:
    return {
        "id": str(writer.number),
        "username": writer.name,
        "acct": writer.acct,
        "display_name": writer.name.title(),
        "bot": False,
        "noindex": False,
        "indexable": True,
        "note": "",
        "url": f"{writer.site}/@{writer.name}",
        "uri": f"{writer.site}/users/{writer.name}",
        "fields": [],
        "emojis": [],
    }


def _tag_links(writer: Writer, tags: Sequence[str]) -> str:
    links = (
        f'<a href="{writer.site}/tags/{tag}" class="mention hashtag" rel="tag">'
        f"#<span>{html.escape(tag)}</span></a>"
        for tag in tags
    )
    text = " ".join(links)
    return f"<p>{text}</p>" if text else ""

"""Invented post records of Bluesky: text, facets by UTF-8 bytes, embeds, replies, labels."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone

import msgspec

from simulator.bluesky.accounts import Account, Accounts
from simulator.bluesky.identifiers import POSTS, cid
from simulator.payload import Json
from simulator.vocabulary import LANGUAGE_WEIGHTS, LANGUAGES, SITES, Language

EMOJI = ("👩‍👩‍👧", "🏳️‍🌈", "❤️", "👍🏽", "🇳🇴", "🤔", "☕")
ALT_TEXTS = (
    "A tram in the rain", "Zwei Katzen auf einem Sofa", "港の夕焼け", "Un café sobre la mesa",
    "Screenshot of a timetable", "",
)  # fmt: skip
TITLES = (
    "Slow trains, fast rivers",
    "Tomato soup in ten minutes",
    "電車の時刻表",
    "La bibliothèque",
)
LABELS = ("graphic-media", "nudity", "porn", "sexual")
REGIONS = {"en": "en-US", "pt": "pt-BR", "zh": "zh-Hans", "es": "es-419"}


class Reference(msgspec.Struct, frozen=True):
    """A post that others reply to or quote."""

    uri: str
    cid: str
    root_uri: str
    root_cid: str


class Text:
    """A text being written, and its facets by UTF-8 byte offsets."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.bytes = 0
        self.facets: list[Json] = []

    def add(self, part: str, feature: Json | None = None) -> None:
        """Append a part after a space, with a facet if it has a feature."""
        if self.parts:
            self.parts.append(" ")
            self.bytes += 1
        start = self.bytes
        self.parts.append(part)
        self.bytes += len(part.encode())
        if feature is not None:
            index = {"byteStart": start, "byteEnd": self.bytes}
            self.facets.append({"index": index, "features": [feature]})

    def tag(self, name: str) -> None:
        """Append a hashtag; `name` without its sigil."""
        self.add("#" + name, {"$type": "app.bsky.richtext.facet#tag", "tag": name})

    def mention(self, account: Account) -> None:
        feature: Json = {"$type": "app.bsky.richtext.facet#mention", "did": account.did}
        self.add("@" + account.handle, feature)

    def link(self, address: str) -> None:
        """Append a link that the text shortens; `address` without its scheme."""
        shown = address if len(address) < 24 else address[:21] + "..."
        self.add(shown, {"$type": "app.bsky.richtext.facet#link", "uri": "https://" + address})

    def __str__(self) -> str:
        return "".join(self.parts)


class RecordWriter:
    """Writes records. Posts contain one of the words only on request."""

    def __init__(self, rng: random.Random, accounts: Accounts, words: Sequence[str]) -> None:
        self.rng = rng
        self.accounts = accounts
        self.words = [word.lstrip("#@").casefold() for word in words]
        self.languages = tuple(self._without_words(language) for language in LANGUAGES)
        self.sites = self._clean(SITES)
        self.recent: list[Reference] = []  # posts to reply to

    def post(self, micros: int, word: str | None = None) -> Json:
        """A new record, created about now; with this word somewhere."""
        rng = self.rng
        language = rng.choices(self.languages, LANGUAGE_WEIGHTS)[0]
        place = "text" if word is None else rng.choice(_places(word))
        text = Text()
        if rng.random() < 0.3:
            text.add(rng.choice(EMOJI))
        if word is not None and place == "text":
            self._add_word(text, word)
        for _ in range(rng.choice((1, 1, 1, 2))):
            parts = (language.openings, language.middles, language.ends)
            text.add(language.gap.join(rng.choice(part) for part in parts))
        self._add_entities(text, language)
        record: Json = {"$type": POSTS, "createdAt": self._created(micros)}
        self._add_fields(record, language)
        if place == "tags":
            record["tags"] = [(word or "").removeprefix("#")]
        embed = self._with_word(place, word or "") or self._embed()
        if embed is not None:
            record["embed"] = embed
        if text.facets:
            record["facets"] = text.facets
        record["text"] = str(text)
        return record

    def _add_fields(self, record: Json, language: Language) -> None:
        """Reply, languages, tags outside the text, labels."""
        rng = self.rng
        if rng.random() < 0.3 and self.recent:
            record["reply"] = _reply(rng.choice(self.recent))
        if rng.random() < 0.9:
            record["langs"] = self._langs(language.code)
        if rng.random() < 0.05:
            record["tags"] = list(language.tags[:2])
        if rng.random() < 0.02:
            values = [{"val": rng.choice(LABELS)}]
            record["labels"] = {"$type": "com.atproto.label.defs#selfLabels", "values": values}

    def remember(self, uri: str, content: str, record: Json) -> None:
        """Note a post that later ones reply to or quote."""
        reply = record.get("reply")
        root = reply["root"] if isinstance(reply, dict) else {"uri": uri, "cid": content}
        self.recent.append(Reference(uri, content, root["uri"], root["cid"]))
        del self.recent[:-200]

    def _add_word(self, text: Text, word: str) -> None:
        if word.startswith("#") and self.rng.random() < 0.7:
            text.tag(word[1:])
        else:
            text.add(word)

    def _add_entities(self, text: Text, language: Language) -> None:
        rng = self.rng
        if rng.random() < 0.1:
            text.mention(rng.choice(self.accounts.crowd))
        if rng.random() < 0.3 and language.tags:
            text.tag(rng.choice(language.tags))
        if rng.random() < 0.15 and self.sites:
            text.link(rng.choice(self.sites))

    def _langs(self, code: str) -> list[str]:
        dice = self.rng.random()
        if dice < 0.1:
            return [REGIONS.get(code, code)]
        return [code, "en"] if dice < 0.15 and code != "en" else [code]

    def _created(self, micros: int) -> str:
        """What clients write: mostly milliseconds and Z, a few otherwise."""
        moment = datetime.fromtimestamp(micros / 1e6, UTC) - timedelta(
            milliseconds=self.rng.randrange(200, 3000)
        )
        dice = self.rng.random()
        if dice < 0.92:
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if dice < 0.96:
            return moment.astimezone(timezone(timedelta(hours=9))).isoformat()
        return moment.isoformat(timespec="seconds")

    def _with_word(self, place: str, word: str) -> Json | None:
        """An embed that holds the word."""
        if place == "alt":
            return self._images(f"{self.rng.choice(ALT_TEXTS)} {word}".strip())
        if place in {"title", "description"}:
            return self._external(**{place: f"{self.rng.choice(TITLES)}: {word}"})
        return None

    def _embed(self) -> Json | None:
        """Any embed, or none."""
        rng = self.rng
        kinds = ("images", "external", "video", "gallery", "record", "")
        kind = rng.choices(kinds, (15, 12, 3, 2, 8, 60))[0]
        if kind == "record" and self.recent:
            record = _strong(rng.choice(self.recent))
            quote: Json = {"$type": "app.bsky.embed.record", "record": record}
            if rng.random() < 0.7:
                return quote
            media = rng.choice((self._images, self._gallery))(rng.choice(ALT_TEXTS))
            return {"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": media}
        makers: dict[str, Callable[[], Json]] = {
            "images": self._images,
            "external": self._external,
            "video": self._video,
            "gallery": self._gallery,
        }
        return makers[kind]() if kind in makers else None

    def _images(self, alt: str | None = None) -> Json:
        alt = self.rng.choice(ALT_TEXTS) if alt is None else alt
        alts = [alt, *[""] * self.rng.choice((0, 0, 1, 3))]
        images = [self._image(each) for each in alts]
        return {"$type": "app.bsky.embed.images", "images": images}

    def _gallery(self, alt: str = "") -> Json:
        items = [
            {"$type": "app.bsky.embed.gallery#image", **self._image(alt)}
            for _ in range(self.rng.randrange(5, 21))
        ]
        return {"$type": "app.bsky.embed.gallery", "items": items}

    def _image(self, alt: str) -> Json:
        ratio = {"width": 1200, "height": 800}
        return {"alt": alt, "aspectRatio": ratio, "image": self._blob("image/jpeg")}

    def _video(self) -> Json:
        return {
            "$type": "app.bsky.embed.video",
            "alt": self.rng.choice(ALT_TEXTS),
            "aspectRatio": {"width": 1280, "height": 720},
            "presentation": self.rng.choice(("default", "gif")),
            "video": self._blob("video/mp4"),
        }

    def _external(self, title: str | None = None, description: str = "") -> Json:
        site = self.rng.choice(self.sites or ("example.net/",))
        external: Json = {
            "description": description,
            "title": title or self.rng.choice(TITLES),
            "uri": "https://" + site,
        }
        if self.rng.random() < 0.7:
            external["thumb"] = self._blob("image/jpeg")
        return {"$type": "app.bsky.embed.external", "external": external}

    def _blob(self, kind: str) -> Json:
        link = cid(self.rng.randbytes(8), codec=0x55)
        size = self.rng.randrange(20_000, 900_000)
        return {"$type": "blob", "ref": {"$link": link}, "mimeType": kind, "size": size}

    def _without_words(self, language: Language) -> Language:
        return msgspec.structs.replace(
            language,
            openings=self._clean(language.openings),
            middles=self._clean(language.middles),
            ends=self._clean(language.ends),
            tags=self._clean(language.tags),
        )

    def _clean(self, parts: Sequence[str]) -> tuple[str, ...]:
        kept = [part for part in parts if not any(word in part.casefold() for word in self.words)]
        return tuple(kept) or ("…",)


def _places(word: str) -> tuple[str, ...]:
    """Where a word can be: it is the text in most posts."""
    if word.startswith("#"):
        return ("text", "text", "text", "tags")
    return ("text", "text", "text", "text", "alt", "title", "description")


def _strong(reference: Reference) -> Json:
    return {"cid": reference.cid, "uri": reference.uri}


def _reply(parent: Reference) -> Json:
    return {
        "parent": _strong(parent),
        "root": {"cid": parent.root_cid, "uri": parent.root_uri},
    }

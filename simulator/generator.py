"""Generates realistic posts; the same seed gives the same topics and accounts."""

import random
import string
import time
import urllib.parse
import zlib

import msgspec

from simulator.posts import EPOCH_MS, Area, Author, Constraints, Link, Media, Mention, Post, Tag
from simulator.vocabulary import (
    APPS,
    AREAS,
    CASHTAGS,
    HOBBIES,
    LANGUAGE_WEIGHTS,
    LANGUAGES,
    ORGANISATIONS,
    SITES,
    SYLLABLES,
    Language,
)

CROWD = 600  # accounts that write most of the posts
_FIRST_ID = 7_000_000_000  # invented accounts have ids from here


class People:
    """Invented accounts. The same name always gives the same account."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.known: dict[str, Author] = {}
        self.organisations = tuple(
            self._add(make_account(handle, name, verified=True)) for handle, name in ORGANISATIONS
        )
        self.crowd = tuple(self._add(_invent(rng, number)) for number in range(CROWD))

    def account(self, who: str) -> Author:
        """The account with this handle or numeric id; invented if unknown."""
        who = who.removeprefix("@")
        found = self.known.get(who.lower())
        if found is None:
            # Not cached: rules can ask for any number of names.
            found = (
                make_account(f"u{who}", f"No. {who}", int(who))
                if who.isdigit()
                else make_account(who, who)
            )
        return found

    def _add(self, author: Author) -> Author:
        self.known[author.handle.lower()] = author
        self.known[str(author.id)] = author
        return author


def make_account(
    handle: str, name: str, number: int | None = None, *, verified: bool = False
) -> Author:
    """An account whose numbers are derived from its handle."""
    figure = zlib.crc32(handle.lower().encode())
    return Author(
        id=_FIRST_ID + figure if number is None else number,
        handle=handle,
        name=name,
        description=HOBBIES[figure % len(HOBBIES)],
        location="" if figure % 3 else "Somewhere",
        created_ms=1_300_000_000_000 + figure % 400_000_000 * 1000,
        followers=figure % 5000,
        following=figure % 900,
        posts=figure % 40_000,
        verified=verified,
    )


def _invent(rng: random.Random, number: int) -> Author:
    first = "".join(rng.choices(SYLLABLES, k=2))
    last = "".join(rng.choices(SYLLABLES, k=2))
    handle = f"{first}_{last}{number}"[:15]
    return make_account(handle, f"{first.title()} {last.title()}", verified=rng.random() < 0.03)


_LETTERS = string.ascii_letters + string.digits


class Draft:
    """The text of a post being written: parts joined by spaces, and the offsets of its entities."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.text = ""
        self.hashtags: list[Tag] = []
        self.cashtags: list[Tag] = []
        self.mentions: list[Mention] = []
        self.links: list[Link] = []

    def add(self, part: str) -> tuple[int, int]:
        """Append a part and return its start and end."""
        if self.text:
            self.text += " "
        start = len(self.text)
        self.text += part
        return start, start + len(part)

    def hashtag(self, text: str) -> None:
        self.hashtags.append(Tag(*self.add("#" + text), text))

    def cashtag(self, text: str) -> None:
        self.cashtags.append(Tag(*self.add("$" + text), text))

    def mention(self, who: Author) -> None:
        self.mentions.append(Mention(*self.add("@" + who.handle), who))

    def link(self, address: str) -> None:
        """Append a shortened link; `address` may lack its scheme."""
        expanded = address if "://" in address else "https://" + address
        display = urllib.parse.unquote(expanded.split("://", 1)[1].removeprefix("www."))
        if len(display) > 27:
            display = display[:26] + "…"
        short = self._short()
        self.links.append(Link(*self.add(short), short, expanded, display.rstrip("/")))

    def attach(self, media: Media, author: Author, post_id: int) -> None:
        """Append a media item, which is one more short link in the text."""
        part = "photo" if media.kind == "photo" else "video"
        expanded = f"https://x.com/{author.handle}/status/{post_id}/{part}/1"
        short = self._short()
        self.links.append(
            Link(*self.add(short), short, expanded, "pic.x.com/" + short[-10:], media)
        )

    def _short(self) -> str:
        return "https://t.co/" + "".join(self.rng.choices(_LETTERS, k=10))


_BY_CODE = {language.code: language for language in LANGUAGES}
_ANYTHING = Constraints()


class Generator:
    """Makes one post at a time; within given `Constraints`."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.people = People(seed)
        self.last_id = 0

    def post(self, constraints: Constraints = _ANYTHING) -> Post:
        """A new post that satisfies the constraints, with other content at random."""
        match constraints.kind or self._random_kind(retweet=0.15, reply=0.15, quote=0.08):
            case "retweet":
                return self._repost(constraints)
            case "reply":
                whom = self._account(constraints.reply_to)
                # The post replied to is a little older than the reply.
                asked = self._new_id() - self.rng.randrange(1 << 40)
                return self._write(constraints, reply_to=asked, reply_to_author=whom)
            case "quote":
                return self._write(constraints, quoted=self._write(_ANYTHING))
            case _ if constraints.reply_to is not None:
                return self._write(
                    constraints, reply_to_author=self.people.account(constraints.reply_to)
                )
            case _:
                return self._write(constraints)

    def _random_kind(self, **shares: float) -> str | None:
        dice = self.rng.random()
        for name, share in shares.items():
            if dice < share:
                return name
            dice -= share
        return None

    def _new_id(self) -> int:
        now = (int(time.time() * 1000) - EPOCH_MS << 22) | self.rng.getrandbits(22)
        self.last_id = max(self.last_id + 1, now)
        return self.last_id

    def _account(self, who: str | None) -> Author:
        return self.people.account(who) if who else self.rng.choice(self.people.crowd)

    def _repost(self, constraints: Constraints) -> Post:
        original = self._write(
            msgspec.structs.replace(
                constraints, author=constraints.repost_of, kind=None, reply_to=None
            )
        )
        author = self._account(constraints.author)
        return Post(
            id=self._new_id(),
            author=author,
            text=original.text,
            lang=original.lang,
            reposted=original,
            app=self.rng.choice(APPS),
        )

    def _write(
        self,
        constraints: Constraints,
        *,
        reply_to: int | None = None,
        reply_to_author: Author | None = None,
        quoted: Post | None = None,
    ) -> Post:
        rng = self.rng
        number = self._new_id()
        author = self._writer(constraints)
        language = self._language(constraints.lang)
        draft = Draft(rng)
        if reply_to_author is not None:
            draft.mention(reply_to_author)
        self._add_text(draft, language, constraints)
        self._add_entities(draft, language, constraints)
        self._add_media(draft, constraints, author, number)
        if quoted is not None:
            draft.link(f"https://x.com/{quoted.author.handle}/status/{quoted.id}")
        area = self._area(constraints)
        point = constraints.point
        if point is None and area is not None and rng.random() < 0.4:
            west, south, east, north = area.box
            point = (round(rng.uniform(west, east), 6), round(rng.uniform(south, north), 6))
        return Post(
            id=number,
            author=author,
            text=draft.text,
            lang=constraints.lang or language.code,
            hashtags=tuple(draft.hashtags),
            cashtags=tuple(draft.cashtags),
            mentions=tuple(draft.mentions),
            links=tuple(draft.links),
            area=area,
            point=point,
            reply_to=reply_to,
            reply_to_author=reply_to_author,
            quoted=quoted,
            app=rng.choice(APPS),
        )

    def _writer(self, constraints: Constraints) -> Author:
        if constraints.author is not None:
            return self.people.account(constraints.author)
        pool = self.people.organisations if constraints.verified else self.people.crowd
        return self.rng.choice(pool)

    def _language(self, code: str | None) -> Language:
        if code is not None and code in _BY_CODE:
            return _BY_CODE[code]
        return self.rng.choices(LANGUAGES, LANGUAGE_WEIGHTS)[0]

    def _add_text(self, draft: Draft, language: Language, constraints: Constraints) -> None:
        rng = self.rng
        before = rng.random() < 0.5
        if not before:
            for words in constraints.words:
                draft.add(words)
        # A few posts are too long for the basic text field.
        for _ in range(rng.choice((9, 5)) if rng.random() < 0.06 else rng.choice((1, 1, 1, 2))):
            parts = (language.openings, language.middles, language.ends)
            draft.add(language.gap.join(rng.choice(part) for part in parts))
        if before:
            for words in constraints.words:
                draft.add(words)

    def _add_entities(self, draft: Draft, language: Language, constraints: Constraints) -> None:
        rng = self.rng
        for who in constraints.mentions:
            draft.mention(self.people.account(who))
        if "mentions" in constraints.entities or rng.random() < 0.12:
            draft.mention(rng.choice(self.people.organisations))
        for tag in constraints.hashtags:
            draft.hashtag(tag)
        if "hashtags" in constraints.entities or rng.random() < 0.3:
            draft.hashtag(rng.choice(language.tags))
        for tag in constraints.cashtags:
            draft.cashtag(tag)
        if "cashtags" in constraints.entities or rng.random() < 0.03:
            draft.cashtag(rng.choice(CASHTAGS))
        if constraints.link is not None:
            draft.link(constraints.link)
        if "links" in constraints.entities or rng.random() < 0.2:
            draft.link(rng.choice(SITES))

    def _add_media(
        self, draft: Draft, constraints: Constraints, author: Author, number: int
    ) -> None:
        rng = self.rng
        if constraints.media is None and rng.random() > 0.15:
            return
        if constraints.media == "photo" or (constraints.media is None and rng.random() < 0.7):
            media = Media(number - 1, "photo", 1200, 800)
        else:
            media = Media(number - 1, "video", 1280, 720, rng.randrange(3, 120) * 1000)
        draft.attach(media, author, number)

    def _area(self, constraints: Constraints) -> Area | None:
        if constraints.point is not None:
            lon, lat = constraints.point
            box = (lon - 0.05, lat - 0.05, lon + 0.05, lat + 0.05)
            return Area(
                "00sim000000there", "There", "There, Somewhere", "Nowhere", "ZZ", "poi", box
            )
        for area in AREAS:
            wanted = (constraints.area or "").lower()
            if wanted in {area.name.lower(), area.full_name.lower(), area.id}:
                return area
            if constraints.country is not None and constraints.country.upper() == area.country_code:
                return area
        if "geo" in constraints.entities or self.rng.random() < 0.04:
            return self.rng.choice(AREAS)
        return None

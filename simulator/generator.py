"""Believable posts without end: the same seed talks about the same things."""

import random
import time

import msgspec

from simulator.draft import Draft
from simulator.people import People
from simulator.posts import EPOCH_MS, Area, Author, Media, Post, Wish
from simulator.words import (
    APPS,
    AREAS,
    CASHTAGS,
    LANGUAGE_WEIGHTS,
    LANGUAGES,
    SITES,
    Language,
)

_BY_CODE = {language.code: language for language in LANGUAGES}
_NO_WISH = Wish()


class Generator:
    """Makes one post at a time; a `Wish` says what it should contain."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.people = People(seed)
        self.last_id = 0

    def post(self, wish: Wish = _NO_WISH) -> Post:
        """A new post that contains what is wished for, and whatever else comes to mind."""
        match wish.kind or self._chance(retweet=0.15, reply=0.15, quote=0.08):
            case "retweet":
                return self._repost(wish)
            case "reply":
                whom = self._reader(wish.reply_to)
                # Answered posts are a little older than the answer.
                asked = self._new_id() - self.rng.randrange(1 << 40)
                return self._write(wish, reply_to=asked, reply_to_author=whom)
            case "quote":
                return self._write(wish, quoted=self._write(_NO_WISH))
            case _ if wish.reply_to is not None:
                return self._write(wish, reply_to_author=self.people.named(wish.reply_to))
            case _:
                return self._write(wish)

    def _chance(self, **shares: float) -> str | None:
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

    def _reader(self, who: str | None) -> Author:
        return self.people.named(who) if who else self.rng.choice(self.people.crowd)

    def _repost(self, wish: Wish) -> Post:
        original = self._write(
            msgspec.structs.replace(wish, author=wish.repost_of, kind=None, reply_to=None)
        )
        author = self._reader(wish.author)
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
        wish: Wish,
        *,
        reply_to: int | None = None,
        reply_to_author: Author | None = None,
        quoted: Post | None = None,
    ) -> Post:
        rng = self.rng
        number = self._new_id()
        author = self._writer(wish)
        language = self._language(wish.lang)
        draft = Draft(rng)
        if reply_to_author is not None:
            draft.mention(reply_to_author)
        self._talk(draft, language, wish)
        self._decorate(draft, language, wish)
        self._attach(draft, wish, author, number)
        if quoted is not None:
            draft.link(f"https://x.com/{quoted.author.handle}/status/{quoted.id}")
        area = self._area(wish)
        point = wish.point
        if point is None and area is not None and rng.random() < 0.4:
            west, south, east, north = area.box
            point = (round(rng.uniform(west, east), 6), round(rng.uniform(south, north), 6))
        return Post(
            id=number,
            author=author,
            text=draft.text,
            lang=wish.lang or language.code,
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

    def _writer(self, wish: Wish) -> Author:
        if wish.author is not None:
            return self.people.named(wish.author)
        pool = self.people.organisations if wish.verified else self.people.crowd
        return self.rng.choice(pool)

    def _language(self, code: str | None) -> Language:
        if code is not None and code in _BY_CODE:
            return _BY_CODE[code]
        return self.rng.choices(LANGUAGES, LANGUAGE_WEIGHTS)[0]

    def _talk(self, draft: Draft, language: Language, wish: Wish) -> None:
        rng = self.rng
        before = rng.random() < 0.5
        if not before:
            for words in wish.words:
                draft.add(words)
        # Every now and then somebody has much to say: too long for a plain post.
        for _ in range(rng.choice((9, 5)) if rng.random() < 0.06 else rng.choice((1, 1, 1, 2))):
            parts = (language.openings, language.middles, language.ends)
            draft.add(language.gap.join(rng.choice(part) for part in parts))
        if before:
            for words in wish.words:
                draft.add(words)

    def _decorate(self, draft: Draft, language: Language, wish: Wish) -> None:
        rng = self.rng
        for who in wish.mentions:
            draft.mention(self.people.named(who))
        if "mentions" in wish.wants or rng.random() < 0.12:
            draft.mention(rng.choice(self.people.organisations))
        for tag in wish.hashtags:
            draft.hashtag(tag)
        if "hashtags" in wish.wants or rng.random() < 0.3:
            draft.hashtag(rng.choice(language.tags))
        for tag in wish.cashtags:
            draft.cashtag(tag)
        if "cashtags" in wish.wants or rng.random() < 0.03:
            draft.cashtag(rng.choice(CASHTAGS))
        if wish.link is not None:
            draft.link(wish.link)
        if "links" in wish.wants or rng.random() < 0.2:
            draft.link(rng.choice(SITES))

    def _attach(self, draft: Draft, wish: Wish, author: Author, number: int) -> None:
        rng = self.rng
        if wish.media is None and rng.random() > 0.15:
            return
        if wish.media == "photo" or (wish.media is None and rng.random() < 0.7):
            media = Media(number - 1, "photo", 1200, 800)
        else:
            media = Media(number - 1, "video", 1280, 720, rng.randrange(3, 120) * 1000)
        draft.attach(media, author, number)

    def _area(self, wish: Wish) -> Area | None:
        if wish.point is not None:
            lon, lat = wish.point
            box = (lon - 0.05, lat - 0.05, lon + 0.05, lat + 0.05)
            return Area(
                "00sim000000there", "There", "There, Somewhere", "Nowhere", "ZZ", "poi", box
            )
        for area in AREAS:
            wanted = (wish.area or "").lower()
            if wanted in {area.name.lower(), area.full_name.lower(), area.id}:
                return area
            if wish.country is not None and wish.country.upper() == area.country_code:
                return area
        if "geo" in wish.wants or self.rng.random() < 0.04:
            return self.rng.choice(AREAS)
        return None

"""The text of one post while it is written: keeps the offsets of everything that is named in it."""

import random
import string
import urllib.parse

from simulator.posts import Author, Link, Media, Mention, Tag

_LETTERS = string.ascii_letters + string.digits


class Draft:
    """Appends parts, with a space between them, and remembers where each stands."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.text = ""
        self.hashtags: list[Tag] = []
        self.cashtags: list[Tag] = []
        self.mentions: list[Mention] = []
        self.links: list[Link] = []

    def add(self, part: str) -> tuple[int, int]:
        """Append a part; its start and end."""
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
        """A shortened link; `address` with or without its scheme."""
        expanded = address if "://" in address else "https://" + address
        display = urllib.parse.unquote(expanded.split("://", 1)[1].removeprefix("www."))
        if len(display) > 27:
            display = display[:26] + "…"
        short = self._short()
        self.links.append(Link(*self.add(short), short, expanded, display.rstrip("/")))

    def attach(self, media: Media, author: Author, post_id: int) -> None:
        """Media stand in the text as one more short link."""
        part = "photo" if media.kind == "photo" else "video"
        expanded = f"https://x.com/{author.handle}/status/{post_id}/{part}/1"
        short = self._short()
        self.links.append(
            Link(*self.add(short), short, expanded, "pic.x.com/" + short[-10:], media)
        )

    def _short(self) -> str:
        return "https://t.co/" + "".join(self.rng.choices(_LETTERS, k=10))

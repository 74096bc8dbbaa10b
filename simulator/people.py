"""Invented accounts: a crowd that is the same for the same seed, and anybody by name or id."""

import random
import zlib

from simulator.posts import Author
from simulator.words import HOBBIES, ORGANISATIONS, SYLLABLES

CROWD = 600  # accounts that write most of the posts
_FIRST_ID = 7_000_000_000  # invented accounts have ids from here


class People:
    """Who writes and who is mentioned; the same name is always the same account."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.known: dict[str, Author] = {}
        self.organisations = tuple(
            self._add(make(handle, name, verified=True)) for handle, name in ORGANISATIONS
        )
        self.crowd = tuple(self._add(_invent(rng, number)) for number in range(CROWD))

    def named(self, who: str) -> Author:
        """The account with this handle or numeric id; invented when nobody has heard of it."""
        who = who.removeprefix("@")
        found = self.known.get(who.lower())
        if found is None:
            # Not remembered: the names that rules ask for are without end.
            found = make(f"u{who}", f"No. {who}", int(who)) if who.isdigit() else make(who, who)
        return found

    def _add(self, author: Author) -> Author:
        self.known[author.handle.lower()] = author
        self.known[str(author.id)] = author
        return author


def make(handle: str, name: str, number: int | None = None, *, verified: bool = False) -> Author:
    """An account whose figures follow from its handle alone."""
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
    return make(handle, f"{first.title()} {last.title()}", verified=rng.random() < 0.03)

"""What happens on the simulated network: posts, edits, deletions, accounts, handles, syncs."""

import base64
import random
from collections import deque
from collections.abc import Callable

import msgspec

from simulator.bluesky import hostile
from simulator.bluesky.accounts import GONE, Account, Accounts, Record
from simulator.bluesky.event_log import Event, EventLog, iso_micros
from simulator.bluesky.identifiers import POSTS, cid, tid
from simulator.bluesky.records import RecordWriter
from simulator.bluesky.sent_log import SentPosts
from simulator.core import Core
from simulator.payload import Json

RELAY_SEQ = 30_000_000_000  # where the relay's own sequence begins
DELETE_AFTER = 8  # posts between a post and its deletion
ACTIVE_MIN = 100  # accounts that always remain
OTHERS = ("app.bsky.feed.like", "app.bsky.feed.repost", "app.bsky.graph.follow")


_sorted_json = msgspec.json.Encoder(order="deterministic").encode  # as records are on the wire


class Post(msgspec.Struct, eq=False):
    """A post that may still be edited or deleted."""

    account: Account
    rkey: str
    record: Json


class Activity:
    """Appends events to the log; `modes` of the faults decide which besides posts."""

    def __init__(self, core: Core, log: EventLog) -> None:
        settings = core.settings
        self.core = core
        self.log = log
        self.rng = random.Random(settings.seed)  # noqa: S311  repeatable, not secret
        self.accounts = Accounts(settings.seed)
        self.writer = RecordWriter(self.rng, self.accounts, settings.words)
        self.sent = SentPosts()
        self.made = 0
        self.relayed = 0  # events with a sequence number of the relay
        self.last_tid = 0
        self.now = 0  # µs; never decreases
        self.recent: deque[Post] = deque(maxlen=100)
        self.doomed: deque[tuple[int, Post]] = deque()  # number after which it is deleted

    def history(self) -> None:
        """Make the posts that were there before the start."""
        jetstream = self.core.settings.jetstream
        start = self.core.now() - jetstream.history_seconds
        for number in range(jetstream.history):
            self.post(int((start + number * jetstream.history_seconds / jetstream.history) * 1e6))
        self.log.trim()

    def post(self, micros: int | None = None) -> None:
        """One more post, at this time or now, and what the modes add to it."""
        self._tick(micros)
        self.made += 1
        word = self._word()
        if word is not None and word.startswith(("@", "did:")):
            self._create(self.accounts.named(word), "", matching=True)
        else:
            account = self.accounts.author(self.rng)
            self._create(account, word, matching=word is not None)
        for mode, act in self._extras:
            if self._due(mode, 50):
                act(self)
        self._likes()
        while self.doomed and self.doomed[0][0] <= self.made:
            self._delete(self.doomed.popleft()[1])

    def _word(self) -> str | None:
        settings = self.core.settings
        if not settings.words or self.made % settings.words_every:
            return None
        return settings.words[self.made // settings.words_every % len(settings.words)]

    def _create(self, account: Account, word: str | None, *, matching: bool) -> None:
        rev = self._tid()
        rkey = f"notes:{self.made}" if self._due("wrong-types", 40) else self._tid()
        record = self.writer.post(self.now, word or None)
        spoiled = self._spoil(record)
        post = Post(account, rkey, record)
        early = self._due("deletes", 10) and self.made // self._every("deletes", 10) % 2 == 1
        if early:
            self._delete(post, self._tid())
        elif self._due("deletes", 10):
            self.doomed.append((self.made + DELETE_AFTER, post))
        content = self._store(post, keep=not early)
        self._commit(account.did, rev, "create", post.rkey, content)
        self.sent.add(native_id(account.did, rkey), matching=matching)
        if not early:
            self.recent.append(post)
        if not early and not spoiled:
            self.writer.remember(f"at://{account.did}/{POSTS}/{rkey}", content.cid, record)

    def _store(self, post: Post, *, keep: bool = True) -> Record:
        value = _sorted_json(post.record)
        record = Record(post.rkey, cid(value), value)
        if keep:
            post.account.keep(record, self.core.settings.jetstream.records)
        return record

    def _spoil(self, record: Json) -> bool:
        """Break a record as the modes say; True when it was broken."""
        spoiled = False
        for mode, spoil in (
            ("wrong-types", hostile.wrong_types),
            ("bad-facets", hostile.bad_facets),
            ("bad-clocks", hostile.bad_clock),
        ):
            if self._due(mode, 5):
                spoil(record, self.made // self._every(mode, 5))
                spoiled = True
        return spoiled

    def _delete(self, post: Post, rev: str | None = None) -> None:
        post.account.records.pop(post.rkey, None)
        if post in self.recent:
            self.recent.remove(post)
        self._append(
            post.account.did, "commit", POSTS, _head(rev or self._tid(), "delete", POSTS, post.rkey)
        )
        self.sent.deleted.append(native_id(post.account.did, post.rkey))

    def edit(self) -> None:
        """Replace the text of a recent post; a word goes into some that had none."""
        if not self.recent:
            return
        post = self.rng.choice(self.recent)
        if any(post is doomed for _, doomed in self.doomed):
            return
        post.record = {**post.record, "text": f"{post.record.get('text', '')} (edited)"}
        name = native_id(post.account.did, post.rkey)
        self.sent.edited.append(name)
        self._commit(post.account.did, self._tid(), "update", post.rkey, self._store(post))

    def change_status(self) -> None:
        """An account goes, or one that only went for a while returns."""
        away = [a for a in self.accounts.crowd if a.status and a.status != "deleted"]
        if away and (self.rng.random() < 0.5 or self.accounts.active_count() < ACTIVE_MIN):
            account, status = self.rng.choice(away), ""
        elif self.accounts.active_count() < ACTIVE_MIN:
            return
        else:
            account, status = self.accounts.author(self.rng), self.rng.choice(GONE)
        account.status = status
        self.sent.accounts[account.did] = status or "active"
        self._append_status(account)

    def _append_status(self, account: Account) -> None:
        """The #account event; it may repeat."""
        body: Json = {"active": not account.status, "did": account.did}
        for _ in range(self.rng.choice((1, 1, 2))):
            body |= {"seq": self._relay_seq(), "time": iso_micros(self.now)}
            if account.status:
                body["status"] = account.status
            self._append(account.did, "account", "", b"", msgspec.json.encode(body))

    def change_handle(self) -> None:
        """An account gets another handle; the event may lack it."""
        account = self.accounts.author(self.rng)
        self.accounts.rename(account)
        body: Json = {"did": account.did, "seq": self._relay_seq(), "time": iso_micros(self.now)}
        dice = self.rng.random()
        if dice < 0.9:
            body["handle"] = account.handle if dice < 0.8 else "handle.invalid"
        self._append(account.did, "identity", "", b"", msgspec.json.encode(body))

    def sync(self) -> None:
        """An author's chain breaks: what their PDS holds differs from what was sent."""
        if not self.recent:
            return
        post = self.rng.choice(self.recent)
        account = post.account
        self.recent = deque((p for p in self.recent if p.account is not account), maxlen=100)
        self.doomed = deque(item for item in self.doomed if item[1].account is not account)
        account.records.pop(post.rkey, None)
        self.sent.vanished.append(native_id(account.did, post.rkey))
        added = Post(account, self._tid(), self.writer.post(self.now))
        self._store(added)
        self.sent.resynced.append(native_id(account.did, added.rkey))
        rev = self._tid()
        body: Json = {
            "blocks": {"$bytes": base64.b64encode(self.rng.randbytes(60)).decode().rstrip("=")},
            "did": account.did,
            "rev": rev,
            "seq": self._relay_seq(),
            "time": iso_micros(self.now),
        }
        self._append(account.did, "sync", "", b"", msgspec.json.encode(body))
        for record in account.records.values():  # only v2 gets these rows
            self._commit(account.did, rev, "create", record.rkey, record, resync=True)

    def _likes(self) -> None:
        likes = self.core.faults.mode("likes")
        for number in range((likes.n or 3) if likes else 0):
            collection = OTHERS[number % len(OTHERS)]
            subject = self.rng.choice(self.accounts.crowd).did
            value = msgspec.json.encode(
                {"$type": collection, "createdAt": iso_micros(self.now), "subject": subject}
            )
            head = _head(self._tid(), "create", collection, self._tid())
            account = self.accounts.author(self.rng)
            self._append(account.did, "commit", collection, head, value, cid(value))

    _extras: tuple[tuple[str, Callable[["Activity"], None]], ...] = (
        ("edits", edit),
        ("accounts", change_status),
        ("identities", change_handle),
        ("syncs", sync),
    )

    def _every(self, mode: str, default: int) -> int:
        armed = self.core.faults.mode(mode)
        return (armed.n if armed else None) or default

    def _due(self, mode: str, default: int) -> bool:
        """Is the mode on, and this post its turn?"""
        if self.core.faults.mode(mode) is None:
            return False
        return self.made % self._every(mode, default) == 0

    def _commit(
        self, did: str, rev: str, operation: str, rkey: str, record: Record, *, resync: bool = False
    ) -> None:
        value = record.value
        if self.core.faults.mode("escapes"):
            value = hostile.escaped(value)
        head = _head(rev, operation, POSTS, rkey)
        self._append(did, "commit", POSTS, head, value, record.cid, resync=resync)

    def _append(
        self,
        did: str,
        kind: str,
        collection: str,
        head: bytes,
        record: bytes = b"",
        content: str = "",
        *,
        resync: bool = False,
    ) -> None:
        event = Event(
            self.log.tip, self.now, self.now, did, kind, collection, head, record, content, resync
        )
        self.log.append(event)
        self._tick(self.now + 1)

    def _tick(self, micros: int | None) -> None:
        """Advance the time, unless the next event shares it."""
        shared = self.core.faults.mode("same-time")
        if shared is None or self.log.tip % (shared.n or 5) == 0:
            self.now = max(self.now, micros or int(self.core.now() * 1e6))

    def _tid(self) -> str:
        """A new TID, greater than all before."""
        self.last_tid = max(self.last_tid + 1, self.now)
        return tid(self.last_tid, self.core.settings.seed)

    def _relay_seq(self) -> int:
        self.relayed += 1
        return RELAY_SEQ + self.relayed


def native_id(did: str, rkey: str) -> str:
    """How a post is named in /sim/sent."""
    return f"{rkey}/{did}"


def _head(rev: str, operation: str, collection: str, rkey: str) -> bytes:
    return msgspec.json.encode(
        {"rev": rev, "operation": operation, "collection": collection, "rkey": rkey}
    )[1:-1]

"""Invented Bluesky accounts: DID, handle, status, and the posts that their PDS keeps."""

import random
import zlib

import msgspec

from simulator.bluesky.identifiers import plc_did
from simulator.payload import Json
from simulator.vocabulary import HOBBIES, SYLLABLES

CROWD = 600  # accounts that write most of the posts
DOMAIN = "bsky.example"  # of the handles
WEB_DIDS = ("did:web:tram.example.com", "did:web:harbour.example.org")
GONE = ("deleted", "takendown", "suspended", "deactivated")


class Record(msgspec.Struct, frozen=True):
    """One version of a post in its author's repository."""

    rkey: str
    cid: str
    value: bytes  # JSON


class Account(msgspec.Struct):
    """One account; its repository holds posts by record key, oldest first."""

    did: str
    handle: str
    name: str
    status: str = ""  # empty: active
    renamed: int = 0  # handle changes so far
    records: dict[str, Record] = msgspec.field(default_factory=dict)

    def keep(self, record: Record, limit: int) -> None:
        """Store a version; drop the oldest post beyond the limit."""
        self.records[record.rkey] = record
        while len(self.records) > limit:
            del self.records[next(iter(self.records))]


class Accounts:
    """All accounts; the same seed gives the same ones, a name always the same account."""

    def __init__(self, seed: int) -> None:
        self.by_did: dict[str, Account] = {}
        self.by_handle: dict[str, Account] = {}
        rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.crowd = tuple(self._invent(rng, number) for number in range(CROWD))

    def named(self, who: str) -> Account:
        """The account with this handle or DID; invented when unknown."""
        who = who.removeprefix("@").lower()
        found = self.by_did.get(who) or self.by_handle.get(who)
        if found is None:
            rng = random.Random(zlib.crc32(who.encode()))  # noqa: S311  repeatable, not secret
            is_did = who.startswith("did:")
            did = who if is_did else plc_did(rng)
            handle = f"{who.rpartition(':')[2][:18]}.{DOMAIN}" if is_did else who
            found = self._add(Account(did, handle, handle.partition(".")[0]))
        return found

    def find(self, who: str) -> Account | None:
        """The account with this handle or DID, if there is one."""
        return self.by_did.get(who) or self.by_handle.get(who.lower())

    def author(self, rng: random.Random) -> Account:
        """An active account."""
        while (chosen := rng.choice(self.crowd)).status:
            pass
        return chosen

    def rename(self, account: Account) -> None:
        """Give an account a new handle; the old one resolves no more."""
        self.by_handle.pop(account.handle, None)
        account.renamed += 1
        base = account.handle.partition(".")[0].partition("-")[0]
        account.handle = f"{base}-{account.renamed}.{DOMAIN}"
        self.by_handle[account.handle] = account

    def active_count(self) -> int:
        """Active accounts of the crowd."""
        return sum(not account.status for account in self.crowd)

    def _invent(self, rng: random.Random, number: int) -> Account:
        first, last = ("".join(rng.choices(SYLLABLES, k=2)) for _ in range(2))
        did = WEB_DIDS[number] if number < len(WEB_DIDS) else plc_did(rng)
        handle = f"{first}{last}{number}.{DOMAIN}"
        if did.startswith("did:web:"):
            handle = did.removeprefix("did:web:")
        return self._add(Account(did, handle, f"{first.title()} {last.title()}"))

    def _add(self, account: Account) -> Account:
        self.by_did[account.did] = account
        self.by_handle[account.handle] = account
        return account


def did_document(account: Account, pds: str) -> Json:
    """The DID document, as the PLC directory answers."""
    return {
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": account.did,
        "alsoKnownAs": [f"at://{account.handle}"],
        "verificationMethod": [
            {
                "id": f"{account.did}#atproto",
                "type": "Multikey",
                "controller": account.did,
                "publicKeyMultibase": "zQ3sh" + account.did[-20:].replace(":", "x") * 2,
            }
        ],
        "service": [
            {
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": pds,
            }
        ],
    }


def profile(account: Account) -> Json:
    """The public profile, as `app.bsky.actor.getProfile` answers."""
    figure = zlib.crc32(account.did.encode())
    return {
        "did": account.did,
        "handle": account.handle,
        "displayName": account.name,
        "description": HOBBIES[figure % len(HOBBIES)],
        "followersCount": figure % 5000,
        "followsCount": figure % 900,
        "postsCount": len(account.records),
    }

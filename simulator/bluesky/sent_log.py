"""The truth to compare a collector with: every post, edit and deletion of the network."""

from simulator.payload import Json


class SentPosts:
    """Native ids `{rkey}/{did}`, each list in the order in which things happened."""

    def __init__(self) -> None:
        self.ids: list[str] = []  # posts created
        self.matching: list[str] = []  # those that hold one of the words
        self.deleted: list[str] = []
        self.edited: list[str] = []
        self.vanished: list[str] = []  # gone from the PDS without a deletion, before a #sync
        self.resynced: list[str] = []  # on the PDS, and on v2, only since a #sync
        self.accounts: dict[str, str] = {}  # status by DID, where it ever changed
        self.others = 0  # lines of a replay that are not posts

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, name: str, *, matching: bool = False) -> None:
        """Note a post."""
        self.ids.append(name)
        if matching:
            self.matching.append(name)

    def shown(self, start: int) -> Json:
        """The body of /sim/sent: posts from index `start` on, everything else wholly."""
        return {
            "count": len(self.ids),
            "ids": self.ids[start:],
            "matching": self.matching,
            "deleted": self.deleted,
            "edited": self.edited,
            "vanished": self.vanished,
            "resynced": self.resynced,
            "accounts": self.accounts,
        }

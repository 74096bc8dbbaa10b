"""How one webhook is, and what became of its messages since this daemon began to serve it."""

from stream.store.webhook_deliveries import Delivery, Try
from stream.store.webhooks import State


class WebhookStatus:
    """The state of a webhook, and counts that only rise."""

    def __init__(self, webhook_id: int, state: State) -> None:
        self.id = webhook_id
        self.state = state
        self.delivered = 0  # messages
        self.failed = 0  # tries
        self.given_up = 0  # messages
        self.waiting_since: float | None = None  # seconds since 1970: of the oldest that waits

    def wait_for(self, delivery: Delivery) -> None:
        """This message is the next one: what is in it waits."""
        first_at = delivery.first_at if delivery.event == "tweets.matched" else None
        self.waiting_since = (first_at or delivery.created_at).timestamp()

    def count(self, found: Try, *, given_up: bool = False) -> None:
        """Count a try."""
        if found.reason:
            self.failed += 1
            self.given_up += given_up
        elif found.status is not None:  # else nothing was left to send
            self.delivered += 1

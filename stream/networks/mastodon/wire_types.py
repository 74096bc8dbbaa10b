"""The parts of a status that are looked at; everything else stays in the stored bytes.

Mastodon reference, "Status object". Every field has a default and may be null.
"""

import msgspec

Id = str | int | None  # as some server may have written it


class AccountField(msgspec.Struct, gc=False):
    """A line of an account's profile: name and HTML."""

    name: str | None = None
    value: str | None = None


class Account(msgspec.Struct, gc=False):
    """The author of a status. `acct`: the handle, without its server when that sends it."""

    id: Id = None
    username: str | None = None
    acct: str | None = None
    uri: str | None = None
    url: str | None = None
    note: str | None = None  # HTML
    fields: list[AccountField] | None = None
    noindex: bool | None = None
    indexable: bool | None = None


class Mention(msgspec.Struct, gc=False):
    """An account named in the text."""

    id: Id = None
    username: str | None = None
    acct: str | None = None
    url: str | None = None


class Tag(msgspec.Struct, gc=False):
    """A hashtag without its sigil."""

    name: str | None = None
    url: str | None = None


class Attachment(msgspec.Struct, gc=False):
    """A picture, film or sound. `description`: its alt text."""

    type: str | None = None
    description: str | None = None


class Card(msgspec.Struct, gc=False):
    """The preview of a link."""

    url: str | None = None
    title: str | None = None
    description: str | None = None


class Option(msgspec.Struct, gc=False):
    """An option of a poll."""

    title: str | None = None


class Poll(msgspec.Struct, gc=False):
    """A poll."""

    options: list[Option] | None = None


class Status(msgspec.Struct, gc=False):
    """A post, or a boost of one (`reblog`)."""

    id: Id = None
    uri: str | None = None
    url: str | None = None
    created_at: str | None = None
    content: str | None = None  # HTML
    spoiler_text: str | None = None  # the content warning, plain text
    language: str | None = None
    in_reply_to_id: Id = None
    in_reply_to_account_id: Id = None
    account: Account | None = None
    reblog: "Status | None" = None
    quote: "Quote | None" = None
    media_attachments: list[Attachment] | None = None
    mentions: list[Mention] | None = None
    tags: list[Tag] | None = None
    card: Card | None = None
    poll: Poll | None = None


class Quote(Status, gc=False):
    """A quotation: the quoted status, or only its id; some servers send the status itself."""

    state: str | None = None
    quoted_status: Status | None = None


class Envelope(msgspec.Struct, gc=False):
    """One message of the stream, or a status alone, as the REST API sends it.

    `payload`: a string, of JSON for a status; the collector's own frames hold the status itself.
    """

    event: str | None = None
    payload: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    status: int | None = None  # the HTTP status of an error
    uri: str | None = None
    account: msgspec.Raw = msgspec.Raw()

"""Who makes a request, and what they may do."""

from typing import Literal

import msgspec

from stream.store.sessions import SCOPES, KeyOwner, Rights, Scope
from stream.store.users import Role
from stream.tweet import UserId

Access = Literal["public", "viewer", "user", "admin"]

_RANK: dict[Access, int] = {"public": 0, "viewer": 1, "user": 2, "admin": 3}
_NEEDED: dict[Scope, Access] = {"read": "viewer", "write": "user", "admin": "admin"}


class Person(msgspec.Struct, frozen=True):
    """A user, and how they authenticated: a browser by a session, a program by a token."""

    id: UserId
    name: str
    role: Role
    scopes: frozenset[Scope]
    session: bytes | None = None  # its hash; None: by a token
    csrf: str = ""  # what forms of this session must carry
    time_zone: str | None = None  # in which pages show times; None: the browser's
    locale: str | None = None  # in which pages write dates; None: the browser's
    token: bytes | None = None  # its hash; None: by a session

    @classmethod
    def of_session(cls, owner: KeyOwner, session: bytes, csrf: str) -> "Person":
        role, scopes = owner.rights
        dates = owner.time_zone, owner.locale
        return cls(owner.id, owner.name, role, scopes, session, csrf, *dates)

    @classmethod
    def of_token(cls, owner: KeyOwner, token: bytes) -> "Person":
        return cls(owner.id, owner.name, *owner.rights, token=token)

    def reaches(self, access: Access) -> bool:
        """Whether the role allows this, whatever the scopes of the token."""
        return _RANK[self.role] >= _RANK[access]

    def may(self, access: Access, scope: Scope = "read") -> bool:
        """Whether both the role and the scopes of the token allow this."""
        return self.reaches(access) and scope in self.scopes

    @property
    def usable(self) -> list[Scope]:
        """The scopes that allow anything in this role."""
        return [scope for scope in SCOPES if self.may(_NEEDED[scope], scope)]

    @property
    def key(self) -> bytes:
        """The hash of the session or token they authenticated with."""
        return self.session or self.token or b""

    @property
    def rights(self) -> Rights:
        return Rights(self.role, self.scopes)

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

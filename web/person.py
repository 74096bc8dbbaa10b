"""Who is asking, and what such a person may do."""

from typing import Literal, NamedTuple, NewType

import msgspec

UserId = NewType("UserId", int)
Role = Literal["admin", "user", "viewer"]
Scope = Literal["read", "write", "admin"]
Access = Literal["public", "viewer", "user", "admin"]

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
_RANK: dict[Access, int] = {"public": 0, "viewer": 1, "user": 2, "admin": 3}
_NEEDED: dict[Scope, Access] = {"read": "viewer", "write": "user", "admin": "admin"}


class Rights(NamedTuple):
    """How far somebody reaches who came in by a session or a token."""

    role: Role
    scopes: frozenset[Scope]


class Person(msgspec.Struct, frozen=True):
    """A user, and how he came in: by a session of the browser, or by a token of a program."""

    id: UserId
    name: str
    role: Role
    scopes: frozenset[Scope]
    session: bytes | None = None  # its hash; None: by a token
    csrf: str = ""  # what forms of this session must carry

    def reaches(self, access: Access) -> bool:
        """Whether the role reaches this far, whatever the token is for."""
        return _RANK[self.role] >= _RANK[access]

    def may(self, access: Access, scope: Scope = "read") -> bool:
        """Whether the role reaches this far, and the token, where there is one."""
        return self.reaches(access) and scope in self.scopes

    @property
    def usable(self) -> list[Scope]:
        """The scopes that are good for something in this role."""
        return [scope for scope in SCOPES if self.may(_NEEDED[scope], scope)]

    @property
    def rights(self) -> Rights:
        return Rights(self.role, self.scopes)

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

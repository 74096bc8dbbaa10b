"""Addresses that are shown to people."""

import re

_LOGIN = re.compile(r"//([^:/@]*):.*@")  # greedy: a password may itself contain an unescaped / or @
_PARAMETER = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def safe_url(url: str) -> str:
    """The same address with *** for every password; for logs, `status` and `check-config`."""
    return _PARAMETER.sub(r"\1***", _LOGIN.sub(r"//\1:***@", url))

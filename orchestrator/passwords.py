"""Passwords in URIs: used to connect, and never kept or shown."""

from __future__ import annotations

import re

HOLDS_PASSWORD = "holds a password, which others could read; put the whole URI into $MLFLOW_TRACKING_URI"

_PASSWORDS = re.compile(
    r"(?P<http>https?://[^/:@\s]*):[^/\s]*@"  # behind the host a colon means a port, and "@" may stand in a path
    r"|(?P<database>\b(?!https?:)\w[\w+.-]*://[^/:@\s]*):\S*@"  # SQLAlchemy allows "/" in a password
    r"|(?P<option>[?&;](?:password|passwd|pwd|sslpassword|odbc_connect)=)[^&;\s]*",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """A URI, or a text with URIs in it, less the passwords: postgresql://ada:secret@host/db -> //ada@host/db."""
    return _PASSWORDS.sub(lambda m: f"{m['http'] or m['database']}@" if m["option"] is None else m["option"], text)

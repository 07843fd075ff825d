"""Addresses of what lies on no disk of this machine: s3://bucket/folder, gs://bucket/folder, file:///mnt/folder.

Reached by fsspec, with the credentials and endpoints that its packages find where they run: s3fs reads AWS_* variables
and ~/.aws, gcsfs takes Google's application default credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from segsweep.trainables.components import DataError
from segsweep.trainables.storage import FULL, STORAGE

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

EXTRAS: Mapping[str, str] = {"s3": "s3", "gs": "gcs", "file": ""}  # protocol -> the extra of segsweep that it needs
WITHOUT_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
UNFINISHED = ".part"  # the end of a file's name while it is written
CREDENTIALS = (
    "~/.aws/credentials, AWS_* variables or a role for s3://, `gcloud auth application-default login` for gs://"
)


def is_address(text: str) -> bool:
    return "://" in text


@dataclass(frozen=True)
class Address:
    """A folder, or a file, that fsspec reaches."""

    text: str  # without a slash at its end

    @classmethod
    def of(cls, text: str) -> Address:
        """Raises DataError for a protocol that is not known, and for a password, which would be shown everywhere."""
        protocol, _, rest = text.partition("://")
        if protocol not in EXTRAS:
            known = ", ".join(f"{name}://" for name in EXTRAS)
            raise DataError(f"{protocol}:// is not known. Give {known} or a folder of this machine")
        if "@" in rest.partition("/")[0]:
            raise DataError(f"{protocol}:// with an @: addresses are recorded and hold no password; use {CREDENTIALS}")
        if not rest.strip("/"):
            raise DataError(f"{text}: names no bucket and no folder")
        return cls(text.rstrip("/"))

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, below: str | Path) -> Address:
        path = PurePosixPath(below)
        return Address(f"{self.text}/{path}") if path.parts else self

    @property
    def name(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """Raises DataError where only a bucket is named."""
        return Address.of(self.text.rpartition("/")[0])


Root: TypeAlias = Path | Address  # where a dataset lies


def absence(root: Root | None) -> str:
    """Why no folder is there, and what to do; "" if one is. Asks, but fetches nothing."""
    if isinstance(root, Address):
        try:
            Remotes(root).check()
        except DataError as error:
            return str(error)
    elif root is not None and not root.is_dir():
        remedy = "put the data there, give `root:`, or set SEGSWEEP_DATA to the folder of your datasets"
        return f"there is no folder {root}; {remedy}"
    return ""


class Remote(NamedTuple):
    """A file at an address."""

    name: str  # below the address, with slashes; of an address that is a file, its last part
    path: str  # as fsspec calls it
    size: int
    tag: str  # another one once the contents are: an ETag, else the time of change
    changed_ns: int | None  # since 1970


class Remotes:
    """What lies at an address. Every method raises DataError where it cannot be told."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._fsspec, self._path = self._ask(lambda: _opened(address))

    def check(self) -> None:
        """Ask whether a folder is there, and no more."""
        if self._ask(lambda: self._fsspec.info(self._path))["type"] != "directory":
            raise DataError(f"{self._address}: is a file. Give the folder that it lies in")

    def files(self) -> list[Remote]:
        """All of them, by name; never none."""
        found = self._ask(lambda: self._fsspec.find(self._path, detail=True))
        files = [self._remote(path, facts) for path, facts in found.items() if not path.endswith("/")]
        if not files:
            self._ask(lambda: self._fsspec.info(self._path))  # says why, if there is no such bucket
            raise DataError(_nothing(self._address), STORAGE)
        return sorted(files)

    def fetch(self, remote: Remote, to: Path) -> None:
        """Write it to a file of this machine. Raises OSError where this machine's disk is full."""
        self._ask(lambda: self._fsspec.get_file(remote.path, str(to)))

    def folders(self) -> list[str]:
        """The names of those directly below; none where nothing is there."""
        try:
            found = self._ask(lambda: self._fsspec.ls(self._path, detail=True))
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        return sorted(str(at["name"]).rstrip("/").rpartition("/")[2] for at in found if at["type"] == "directory")

    def read(self, name: str) -> bytes | None:
        """The contents of a file; None if it is not there."""
        try:
            return bytes(self._ask(lambda: self._fsspec.cat_file(self._at(name))))
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def write(self, name: str, contents: bytes) -> None:
        """Make a file, or replace it: whole, or not at all."""
        self._replace(name, lambda path: self._fsspec.pipe_file(path, contents))

    def put(self, name: str, file: Path) -> None:
        """Likewise, with the contents of a file of this machine."""
        self._replace(name, lambda path: self._fsspec.put_file(str(file), path))

    def remove(self, name: str) -> None:
        """A file, if it is there."""
        try:
            self._ask(lambda: self._fsspec.rm_file(self._at(name)))
        except DataError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _replace(self, name: str, write: Callable[[str], object]) -> None:
        """An object appears once it is whole; a file of a file system has to be given its name then."""
        path = self._at(name)
        if "file" not in self._fsspec.protocol:
            self._ask(lambda: write(path))
            return

        def act() -> None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            beside = f"{path}{UNFINISHED}"
            write(beside)
            Path(beside).replace(path)

        self._ask(act)

    def _remote(self, path: str, facts: Mapping[str, Any]) -> Remote:
        name = path.removeprefix(self._path.rstrip("/")).removeprefix("/") or self._address.name
        if {"", ".", ".."} & {*name.split("/")}:  # would lie elsewhere on a disk
            raise DataError(f"{self._address}: holds '{name}', which is no name of a file on a disk; rename it")
        changed = next((facts[key] for key in ("LastModified", "updated", "mtime") if facts.get(key)), None)
        changed_ns = _nanoseconds(changed)
        tag = facts.get("ETag") or facts.get("etag") or changed_ns
        return Remote(name, path, int(facts["size"]), str(tag), changed_ns)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:  # each package fails in its own ways
            if isinstance(error, DataError) or (isinstance(error, OSError) and error.errno in FULL):
                raise
            raise DataError(_told(self._address, error), STORAGE) from error


def is_outage(error: DataError) -> bool:
    """It may answer again, as it would not for want of a package, of credentials or of a bucket."""
    cause = error.__cause__
    never = isinstance(cause, ImportError | PermissionError | FileNotFoundError)
    return cause is not None and not never and type(cause).__name__ not in WITHOUT_CREDENTIALS


def _opened(address: Address) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    files, path = url_to_fs(str(address), skip_instance_cache=True, use_listings_cache=False)
    return files, str(path)


def _nanoseconds(changed: datetime | str | float | None) -> int | None:
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return None if changed is None else round(changed * 1e6) * 1000  # floats have no room for nanoseconds


def _told(address: Address, error: Exception) -> str:
    protocol = address.text.partition("://")[0]
    if isinstance(error, ImportError):
        return f"{address}: {protocol}:// needs a package here: pip install 'segsweep[{EXTRAS[protocol]}]'"
    if isinstance(error, FileNotFoundError):
        return _nothing(address)
    if type(error).__name__ in WITHOUT_CREDENTIALS:
        return f"{address}: this machine has no credentials for it. Give it some: {CREDENTIALS}"
    why = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, PermissionError):
        return (
            f"{address}: access denied ({why}). Give this machine credentials that may list and read it,"
            f" and write to it where sweeps are kept: {CREDENTIALS}"
        )
    remedy = "look at the network, and at AWS_ENDPOINT_URL for a store that is not Amazon's"
    return f"{address}: cannot be used ({type(error).__name__}: {why}). If it is there, {remedy}"


def _nothing(address: Address) -> str:
    return f"there is nothing at {address}: no such bucket, or no file whose path begins so. Put the data there"

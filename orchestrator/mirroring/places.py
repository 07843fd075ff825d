"""Where on this machine's disk a sweep runs that is kept at an address, and back.

    $SEGSWEEP_CACHE/sweeps/s3=3A=2F=2Fbucket=2Fsweeps/NAME

The folder's name is the address, so a path tells where the sweep is kept, and nothing has to be looked up.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.addresses import Address
from segsweep.trainables.components import DataError
from segsweep.trainables.places import cache_folder

WORKING = "sweeps"  # may be run; what the address lacks is only here
READING = "sweeps_elsewhere"  # journals alone, of sweeps that are looked at from here
LONGEST_NAME = 255  # of a folder, on the usual file systems


def address_given(text: str, place: str) -> Address:
    """Of the user; place: where it was given. Raises InputError."""
    try:
        address = Address.of(text)
    except DataError as error:
        raise InputError(Mistake(place, str(error))) from None
    if len(_as_name(address)) > LONGEST_NAME:
        raise InputError(Mistake(place, f"{text} is too long; give an address of less than {LONGEST_NAME} characters"))
    return address


def working_storage(storage: Address) -> Path:
    """The folder here of the sweeps that are kept at `storage`. Makes nothing."""
    return cache_folder() / WORKING / _as_name(storage)


def reading_storage(storage: Address) -> Path:
    """Likewise, for copies of journals."""
    return cache_folder() / READING / _as_name(storage)


def storage_address(storage: Path) -> Address | None:
    """The address whose sweeps lie in that folder; None of any other folder."""
    whole = storage.absolute()
    if whole.parent.name not in (WORKING, READING) or whole.parent.parent.resolve() != cache_folder():
        return None
    text = unquote(whole.name.replace("=", "%"))
    return Address(text) if "://" in text else None


def address_of(folder: Path) -> Address | None:
    """Where the sweep in that folder is kept; None if nowhere else."""
    storage = storage_address(folder.absolute().parent)
    return None if storage is None else storage / folder.name


def _as_name(address: Address) -> str:
    """A % in a path would be taken for an escape by whatever makes URLs of paths."""
    return quote(str(address), safe="").replace("%", "=")

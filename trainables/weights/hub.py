"""Weights in the cache of the Hugging Face hub: whether they are there, and how they get there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from segsweep.trainables.components import WeightsError
from segsweep.trainables.weights.sources import IN_FOLDER

ANSWER_TIMEOUT_S = 10.0
SHARDED = "model.safetensors.index.json"


def is_cached(repository: str) -> bool:
    """Whether some revision of it lies in the cache. `*` stands for any letters. No network."""
    from huggingface_hub import constants

    snapshots = f"models--{repository.replace('/', '--')}/snapshots/*"
    return any(any(Path(constants.HF_HUB_CACHE).glob(f"{snapshots}/{name}")) for name in (*IN_FOLDER[:2], SHARDED))


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


@contextmanager
def asked_only_in_need(repository: str, revision: str | None) -> Iterator[None]:
    """Inside, libraries take what is in the cache as it is, and give up at once where the hub does not answer.

    Otherwise they ask for a newer version at every start, and without a network they keep asking for half a minute.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    cached = cached_file(repository, revision, *IN_FOLDER[:2], SHARDED) is not None
    constants.HF_HUB_OFFLINE = before or cached or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    """Whether there is a way to the hub; a proxy is taken for one."""
    address = urlsplit(endpoint)
    if getproxies():
        return True
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), ANSWER_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def cached_file(repository: str, revision: str | None, *names: str) -> Path | None:
    """The first of the files that lies in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def fetched(repository: str, revision: str | None) -> Path:
    """A repository's file of weights, out of the cache or else the hub. Raises WeightsError."""
    from huggingface_hub import hf_hub_download

    failures: list[OSError] = []
    for name in IN_FOLDER[:2]:
        try:
            path = Path(hf_hub_download(repository, name, revision=revision))
        except OSError as error:  # every error of the hub is one
            failures.append(error)
            continue
        fetch_statements(repository, revision)
        return path
    at = f" --revision {revision}" if revision else ""
    raise unavailable(f"encoder_weights '{repository}'", f"{repository}{at}", failures[0])


def fetch_statements(repository: str, revision: str | None) -> None:
    """The files that tell how to normalise, and under which licence; what is not there is not missed."""
    from huggingface_hub import hf_hub_download

    for name in ("config.json", "preprocessor_config.json", "README.md"):
        with suppress(OSError):
            hf_hub_download(repository, name, revision=revision)


def unavailable(weights: str, download: str, error: Exception) -> WeightsError:
    """weights: as the user named them; download: the arguments of `hf download` that fetch them."""
    return WeightsError(f"{weights} cannot be loaded ({cause(error)}). {remedy(download)}")


def remedy(download: str) -> str:
    """What to put where."""
    from huggingface_hub import constants

    return (
        f"Where there is a network, run `hf download {download}` and copy the folder that it makes to this machine's "
        f"cache, {constants.HF_HUB_CACHE} (HF_HOME moves it); or set encoder_weights: none"
    )


def cause(error: Exception) -> str:
    """The first line of an error; libraries add pages of advice for their own callers."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]

"""What this machine knows of the Hub: who asks, where it is, what the cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weibnb.io.files import natural_order
from weibnb.io.hub_places import COMMIT, Place
from weibnb.io.ranges import origin
from weibnb.messages import shortened


def huggingface_hub() -> Any:
    """Import huggingface_hub, which not everybody has."""
    try:
        import huggingface_hub as hub
    except ImportError as err:
        raise ImportError(
            "to read from the Hugging Face Hub needs huggingface_hub, which is not installed: "
            "pip install 'weibnb[hub]'"
        ) from err
    return hub


def hub_constants() -> Any:
    """Give what the environment says of the Hub: where it is, its cache, whether to ask at all."""
    huggingface_hub()
    from huggingface_hub import constants

    return constants


def hub_address() -> str:
    """Give the address of the Hub: HF_ENDPOINT, or its own."""
    return str(hub_constants().ENDPOINT)


def request_headers(url: str) -> dict[str, str]:
    """Give the headers of a request: with the token for the Hub, without for any other host."""
    from huggingface_hub.utils._headers import build_hf_headers

    token = None if origin(url) == origin(hub_address()) else False
    headers: dict[str, str] = build_hf_headers(token=token, library_name="weibnb")
    return headers


def hub_client() -> Any:
    """Give the client of huggingface_hub: its proxies and certificates, and its offline mode."""
    from huggingface_hub import get_session

    return get_session()


def cache_of(repository: str) -> Path:
    """Give the folder of a repository in the cache."""
    folder = f"models--{repository.replace('/', '--')}"
    return Path(hub_constants().HF_HUB_CACHE) / folder


def cached_commit(place: Place) -> str:
    """Give the commit that a revision was when it was last downloaded, if it was."""
    revision = place.revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    if ".." in revision.split("/") or "\0" in revision:
        return ""
    try:
        commit = (cache_of(place.repository) / "refs" / revision).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return commit if COMMIT.fullmatch(commit) else ""


def told_of_cache(place: Place) -> str:
    """Say which revisions the cache holds."""
    refs = cache_of(place.repository) / "refs"
    try:
        names = sorted((path.name for path in refs.iterdir()), key=natural_order)
    except OSError:
        names = []
    if not names:
        return f"The cache holds nothing of {place.repository}."
    listed = ", ".join(map(shortened, names[:8]))
    return f"The cache holds {listed}; HF_HUB_OFFLINE=1 reads only the cache."

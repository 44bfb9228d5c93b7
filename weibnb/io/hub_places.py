"""What names a model on the Hugging Face Hub: ``hf://org/name@revision/folder``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from weibnb.io.files import CheckpointError

#: What names a model, its revision and a folder in it.
HUB_URL = re.compile(
    r"hf://(?:models/)?(?P<id>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/@]+))?(?:/(?P<path>.*))?"
)
#: What is a commit, and no name of a branch or a tag.
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or file, of a repository at a revision; "" is the Hub's default, ``main``."""

    repository: str
    revision: str = ""
    folder: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart.

        Examples
        --------
        >>> Place.of("hf://EleutherAI/pythia-70m@step1000")
        Place(repository='EleutherAI/pythia-70m', revision='step1000', folder='')
        """
        found = HUB_URL.fullmatch(url)
        path = (found["path"] or "").strip("/") if found else ""
        if found is None or ".." in path.split("/") or len(url) > 1000:
            form = "It is hf://org/name, hf://org/name@revision or hf://org/name@revision/folder."
            raise CheckpointError(url, "this names no model on the Hub", form)
        return cls(found["id"], unquote(found["revision"] or ""), path)

    @property
    def url(self) -> str:
        """Write it as one."""
        at = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://{self.repository}{at}{f'/{self.folder}' if self.folder else ''}"

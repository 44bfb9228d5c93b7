"""A server on 127.0.0.1 that speaks the Hub's routes, and another host for its files.

It can drop, delay, truncate, throttle, expire and lie; every request is recorded.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "hf_planted" + "Secret0123456789"


class Content:
    """Bytes of a file: in memory, or of a path that is read part by part."""

    def __init__(self, data: bytes | Path) -> None:
        self.data = data
        self.size = data.stat().st_size if isinstance(data, Path) else len(data)
        if isinstance(data, bytes):
            self.sha256 = hashlib.sha256(data).hexdigest()
        else:
            self.sha256 = hashlib.sha256(str(data).encode()).hexdigest()

    def part(self, start: int, stop: int) -> bytes:
        if isinstance(self.data, bytes):
            return self.data[start:stop]
        with self.data.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


@dataclass
class Faults:
    """What goes wrong, and how many times."""

    drop_after: int = -1  # bytes of a body after which the connection is cut
    drops: int = 0
    busy: list[dict[str, str]] = field(default_factory=list)  # headers of answers 429
    busy_api: list[dict[str, str]] = field(default_factory=list)
    expire_after: int = 10**9  # requests that a link is good for
    expired_status: int = 403
    whole_for_range: bool = False
    shift_range: int = 0  # bytes by which the told range begins too late
    lie_range: str = ""  # a Content-Range in place of the true one
    lie_tag: list[str] = field(default_factory=list)
    short_by: int = 0  # bytes that a body lacks, though its headers promise them not
    compressed: bool = False
    rate: float = 0.0  # bytes a second of each connection
    delay: float = 0.0  # seconds until an answer of the host of files
    redirect_file: str = ""  # where the file host redirects to
    location: str = ""  # where /resolve redirects to, in place of the file host
    ignore_if_match: bool = False


@dataclass
class Request:
    host: str
    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


class FakeHub:
    """Repositories by id, revision and file name."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, Content]]] = {}
        self.commits: dict[tuple[str, str], str] = {}
        self.static: dict[str, Content] = {}  # on the host of files, by path
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.faults = Faults()
        self.requests: list[Request] = []
        self.in_flight = self.most_in_flight = 0
        self._uses: dict[str, int] = {}
        self._links = 0
        self._lock = threading.Lock()
        self._servers = [self._serve(_Hub), self._serve(_Files)]

    def _serve(self, handler: type[_Handler]) -> ThreadingHTTPServer:
        bound = type(handler.__name__, (handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def files(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, repository: str, files: dict[str, Any], revision: str = "main") -> str:
        """Put files into a repository; give the commit."""
        contents = {
            name: data if isinstance(data, Content) else Content(data)
            for name, data in files.items()
        }
        told = "".join(f"{name}{content.sha256}" for name, content in contents.items())
        commit = hashlib.sha1(f"{repository}{told}{revision}".encode()).hexdigest()  # noqa: S324
        self.repositories.setdefault(repository, {})[revision] = contents
        self.repositories[repository][commit] = contents
        self.commits[repository, revision] = commit
        return commit

    def move(self, repository: str, revision: str) -> None:
        """Let a revision be another commit from now on."""
        self.commits[repository, revision] = hashlib.sha1(b"moved").hexdigest()  # noqa: S324

    def link(self, content: Content) -> str:
        """Sign a link to a file, good for some requests."""
        with self._lock:
            self._links += 1
            return f"{self.files}/blob/{content.sha256}?signature=sig{self._links}"

    def may_use(self, signature: str) -> bool:
        with self._lock:
            self._uses[signature] = self._uses.get(signature, 0) + 1
            return self._uses[signature] <= self.faults.expire_after

    def content(self, sha256: str) -> Content | None:
        for revisions in self.repositories.values():
            for files in revisions.values():
                for content in files.values():
                    if content.sha256 == sha256:
                        return content
        return None

    def count(self, method: str = "", host: str = "", start: str = "") -> int:
        """Count the requests so far of a kind."""
        return sum(
            one.method.startswith(method)
            and one.host.startswith(host)
            and one.path.startswith(start)
            for one in self.requests
        )

    @property
    def bytes_sent(self) -> int:
        return sum(one.sent for one in self.requests if one.host == "files")


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    host = ""
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._record()
        self.answer()

    def do_GET(self) -> None:
        self._record()
        self.answer()

    def _record(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request_made = Request(self.host, self.command, self.path, headers)
        self.hub.requests.append(self.request_made)

    def answer(self) -> None:
        raise NotImplementedError

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self.reply(200, kind | (headers or {}), json.dumps(value).encode())

    def refuse(self, status: int, code: str, message: str = "no") -> None:
        self.reply(status, {"X-Error-Code": code, "X-Error-Message": message})


class _Hub(_Handler):
    """The Hub itself."""

    host = "hub"

    def answer(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        if path.startswith("/api") and hub.faults.busy_api:
            self.reply(429, hub.faults.busy_api.pop(0))
            return
        if path == "/api/models":
            author = parse_qs(urlsplit(self.path).query).get("author", [""])[0]
            names = [n for n in hub.repositories if n.startswith(f"{author}/")]
            self.json([{"id": name, "_id": "0", "private": False} for name in names])
            return
        parts = [unquote(part) for part in path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if api else parts[:2])
        if repository in hub.gated and not self._logged_in():
            self.refuse(401, "GatedRepo", f"Access to {repository} is restricted")
        elif repository not in hub.repositories or (
            repository in hub.private and not self._logged_in()
        ):
            self.refuse(401 if not self._logged_in() else 404, "RepoNotFound")
        elif api:
            self._api(repository, parts[4:])
        else:
            self._resolve(repository, parts[3], "/".join(parts[4:]))

    def _logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _api(self, repository: str, rest: list[str]) -> None:
        hub = self.hub
        if rest == ["refs"]:
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for (of, name), commit in hub.commits.items()
                if of == repository
            ]
            self.json({"branches": branches, "converts": [], "tags": []})
            return
        kind, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
        files = hub.repositories[repository].get(revision)
        if files is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif kind == "revision":
            commit = hub.commits.get((repository, revision), revision)
            self.json({"id": repository, "modelId": repository, "_id": "0", "sha": commit})
        else:
            self._tree(files, "/".join(rest[2:]))

    def _tree(self, files: dict[str, Content], folder: str) -> None:
        start = f"{folder}/" if folder else ""
        found: list[dict[str, Any]] = []
        for name, content in files.items():
            if not name.startswith(start) or "/" in name[len(start) :]:
                continue
            entry = {"type": "file", "path": name, "size": content.size, "oid": "0" * 40}
            if not name.endswith(".json"):
                entry["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": 134}
            else:
                entry["oid"] = content.sha256[:40]
            found.append(entry)
        if folder and not found:
            self.refuse(404, "EntryNotFound")
        else:
            self.json(found)

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        hub = self.hub
        files = hub.repositories[repository].get(revision)
        if files is None or name not in files:
            code = "RevisionNotFound" if files is None else "EntryNotFound"
            self.refuse(404, code)
            return
        content, small = files[name], name.endswith(".json")
        headers = {
            "X-Repo-Commit": hub.commits.get((repository, revision), revision),
            "Accept-Ranges": "bytes",
            "ETag": f'"{content.sha256[:40] if small else content.sha256}"',
        }
        if small:
            if self.command == "HEAD":
                self.reply(200, headers | {"Content-Length": str(content.size)})
            else:
                send_file(self, content, headers)
            return
        link = hub.faults.location or hub.link(content)
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(content.size)}
        self.reply(302, headers | {"Location": link})


class _Files(_Handler):
    """The host of large files."""

    host = "files"

    def answer(self) -> None:
        hub, faults = self.hub, self.hub.faults
        with hub._lock:
            hub.in_flight += 1
            hub.most_in_flight = max(hub.most_in_flight, hub.in_flight)
        try:
            time.sleep(faults.delay)
            self._answer(faults)
        finally:
            with hub._lock:
                hub.in_flight -= 1

    def _answer(self, faults: Faults) -> None:
        parts = urlsplit(self.path)
        content = self.hub.content(parts.path.rpartition("/")[2])
        signature = parse_qs(parts.query).get("signature", [""])[0]
        static = self.hub.static.get(parts.path)
        if static is not None and not faults.busy:
            tag = f'"static-{static.sha256[:8]}"'
            if self.headers.get("If-Match", tag) != tag:
                self.reply(412, {})
                return
            send_file(self, static, {"ETag": tag, "Accept-Ranges": "bytes"}, faults)
        elif faults.redirect_file:
            self.reply(302, {"Location": faults.redirect_file})
        elif content is None:
            self.reply(404, {})
        elif not self.hub.may_use(signature):
            self.reply(faults.expired_status, {})
        elif faults.busy:
            self.reply(429, faults.busy.pop(0))
        else:
            tag = f'"file-{content.sha256[:8]}"'
            if faults.lie_tag:
                tag = faults.lie_tag.pop(0)
            wanted = self.headers.get("If-Match")
            if wanted and wanted != tag and not faults.ignore_if_match:
                self.reply(412, {})
                return
            send_file(self, content, {"ETag": tag, "Accept-Ranges": "bytes"}, faults)


def send_file(
    handler: _Handler, content: Content, headers: dict[str, str], faults: Faults | None = None
) -> None:
    """Send a file or a range of it, with what goes wrong."""
    faults = faults or Faults()
    start, stop, status = 0, content.size, 200
    asked = handler.headers.get("Range")
    if asked and not faults.whole_for_range:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop, status = int(first), min(int(last) + 1, content.size), 206
        if start >= content.size:
            handler.reply(416, {"Content-Range": f"bytes */{content.size}"})
            return
        told = f"bytes {start + faults.shift_range}-{stop - 1}/{content.size}"
        headers = headers | {"Content-Range": faults.lie_range or told}
    if faults.compressed:
        headers = headers | {"Content-Encoding": "gzip"}
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    length = stop - start - faults.short_by
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    until = start + length
    cut = faults.drops > 0 and 0 <= faults.drop_after < length
    if cut:
        faults.drops -= 1
        until = start + faults.drop_after
    _send(handler, content, start, until, faults.rate)
    if cut:
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.close()


def _send(handler: _Handler, content: Content, start: int, until: int, rate: float) -> None:
    """Send bytes, no faster than the rate."""
    began, block = time.monotonic(), 1 << 18
    for at in range(start, until, block):
        part = content.part(at, min(at + block, until))
        try:
            handler.wfile.write(part)
        except OSError:  # the client has gone
            handler.close_connection = True
            return
        if len(part) < min(at + block, until) - at:  # the file lacks what its size promised
            handler.close_connection = True
            return
        handler.request_made.sent += len(part)
        if rate:
            due = began + (at + len(part) - start) / rate
            time.sleep(max(0.0, due - time.monotonic()))


def quoted(text: str) -> str:
    return quote(text, safe="")

"""The part of the Hub's HTTP interface that an upload needs, on this machine, strict about what it is sent."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_right"


class Hub:
    """Repositories by name, each a mapping of paths to contents.

    Attributes:
        commits: for each the paths that it added and those that it deleted.
        sent: how many bytes arrived as large files.
        refuse: the status with which writing is refused, or None.
        stop_after: commits after which the server fails, or None.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.commits: list[tuple[list[str], list[str]]] = []
        self.large: dict[str, bytes] = {}
        self.sent = 0
        self.refuse: int | None = None
        self.stop_after: int | None = None
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _may(self) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials in Authorization header"}, 401)
            return False
        if self.hub.refuse:
            self._answer({"error": "not yours"}, self.hub.refuse)
            return False
        return True

    def _repo(self, path: str, before: str, after: str) -> str:
        return path.removeprefix(before).split(after)[0]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._may():
            return
        if path.startswith("/api/datasets/") and "/tree/" in path:
            repo = self.hub.repos[self._repo(path, "/api/datasets/", "/tree/")]
            self._answer(
                [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in repo.items()]
            )
        elif (name := path.removeprefix("/api/datasets/").removesuffix("/revision/main")) in self.hub.repos:
            self._answer({"id": name, "sha": "1" * 40, "siblings": []})
        else:
            self._answer({"error": path}, 404)

    def do_PUT(self) -> None:
        oid, content = urlsplit(self.path).path.removeprefix("/store/"), self._body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self.hub.sent += len(content)
        self._answer({})

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        if not self._may():
            return
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            self.hub.created.append(told)
            if name in self.hub.repos:
                self._answer(
                    {"error": "You already created this dataset repo", "url": f"{self.hub.url}/datasets/{name}"}, 409
                )
                return
            self.hub.repos[name] = {".gitattributes": b"*.png filter=lfs"}
            self._answer({"url": f"{self.hub.url}/datasets/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._answer({"warnings": [], "errors": []})
        elif "/preupload/" in path:
            repo = self.hub.repos[self._repo(path, "/api/datasets/", "/preupload/")]
            self._answer({"files": [self._mode(file, repo) for file in json.loads(body)["files"]]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [self._transfer(item) for item in json.loads(body)["objects"]]
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit(self._repo(path, "/api/datasets/", "/commit/"), body)
        else:
            self._answer({"error": path}, 404)

    def _mode(self, file: dict[str, Any], repo: dict[str, bytes]) -> dict[str, Any]:
        large = file["path"].endswith((".png", ".mp4", ".parquet"))
        known = repo.get(file["path"])
        oid = {} if known is None else {"oid": hashlib.sha256(known).hexdigest() if large else _oid(known)}
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid}

    def _transfer(self, item: dict[str, Any]) -> dict[str, Any]:
        told = {"oid": item["oid"], "size": item["size"]}
        upload = {"upload": {"href": f"{self.hub.url}/store/{item['oid']}"}}
        return told if item["oid"] in self.hub.large else {**told, "actions": upload}

    def _commit(self, name: str, body: bytes) -> None:
        repo = self.hub.repos[name]
        if self.hub.stop_after is not None and len(self.hub.commits) >= self.hub.stop_after:
            self._answer({"error": "the server fell over"}, 500)
            return
        added, deleted = [], []
        for line in body.splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "file":
                repo[value["path"]] = base64.b64decode(value["content"])
                added.append(value["path"])
            elif told["key"] == "lfsFile":
                repo[value["path"]] = self.hub.large[value["oid"]]
                added.append(value["path"])
            elif told["key"] == "deletedFile":
                del repo[value["path"]]
                deleted.append(value["path"])
        self.hub.commits.append((added, deleted))
        self._answer({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/1", "commitOid": "1" * 40, "success": True})


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()

"""A base model from the hub, over its real client and a server of this test: fetched once, for all homes."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.project import environment
from tests.tiny import tiny_model

COMMIT = "ab" * 20
FOUND = """
import sys
from pathlib import Path
from loop.models import find
print(find("some/model", *map(Path, sys.argv[1:])))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The address of a hub that has `some/model` at one commit."""
    model = tiny_model(tmp_path / "source")
    files = [file for file in sorted(model.iterdir()) if not file.name.startswith(".")]

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            content = self.content(self.path.partition("?")[0])
            self.send_response(200 if content else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def content(self, path: str) -> bytes:
            listed = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in files]
            if path == f"/api/models/some/model/tree/{COMMIT}":
                return json.dumps(listed).encode()
            if path.startswith("/api/models/some/model"):
                siblings = [{"rfilename": file.name} for file in files]
                return json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode()
            named = path.removeprefix(f"/some/model/resolve/{COMMIT}/")
            return next((file.read_bytes() for file in files if file.name == named), b"")

        def log_message(self, *_: object) -> None:
            """Nothing: the test reads the command's own output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def found(hub: str, *places: Path, offline: str) -> Path:
    variables = environment() | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", FOUND, *map(str, places)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_a_model_is_fetched_once_into_the_cache_by_its_commit_and_found_without_the_hub(
    hub: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    made = found(hub, tmp_path / "one", cache, offline="0")
    assert made == cache / f"some--model@{COMMIT[:16]}"
    assert (made / "model.safetensors").read_bytes() == (tmp_path / "source" / "model.safetensors").read_bytes()
    assert found("http://127.0.0.1:9", tmp_path / "two", cache, offline="1") == made
    assert not (tmp_path / "one").exists()

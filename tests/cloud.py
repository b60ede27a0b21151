"""A Cloud Storage of the tests' own: an emulator on a free port, and throw-away credentials for it."""

import contextlib
import http.server
import json
import logging
import threading
from pathlib import Path

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems
from gcp_storage_emulator.server import RequestHandler, create_server

from records.files import path_of

BUCKET = "gs://people"


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives everybody an access token, as Google's server gives one for a key."""

    def do_POST(self):
        content = json.dumps({"access_token": "any", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def emulated_storage(folder):
    """Runs the emulator in threads of this process, with the empty bucket `BUCKET`; everybody finds it.

    Args:
        folder: an existing `Path` for the file of credentials. They are of a kind that asks nobody but us.

    Yields:
        A list to which every request's first line is added, e.g. ``GET /storage/v1/b/people/o?… HTTP/1.1``.
    """
    requests = []
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RequestHandler, "log_message", lambda self, *_: requests.append(self.requestline))
        tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        store = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET.removeprefix("gs://"))
        store.start()
        credentials = {
            "type": "external_account_authorized_user",
            "audience": "none",
            "refresh_token": "none",
            "token_url": f"http://127.0.0.1:{tokens.server_port}/token",
            "client_id": "none",
            "client_secret": "none",
        }
        (folder / "credentials.json").write_text(json.dumps(credentials))
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{store._api._httpd.server_port}")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "credentials.json"))
        patch.setenv("GOOGLE_CLOUD_PROJECT", "none")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(auth._Credentials, "_credentials_init", False)  # Beam keeps the first it finds
        try:
            type(path_of(BUCKET).fs).clear_instance_cache()  # fsspec keeps connections, with their addresses
            yield requests
        finally:
            type(path_of(BUCKET).fs).clear_instance_cache()
            store.stop()
            tokens.shutdown()
            tokens.server_close()


def upload(folder, path):
    """Copies a folder of this machine with everything in it to a store's path."""
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file():
            put(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def put(path, content):
    """Writes bytes to a store's path."""
    with FileSystems.create(path, compression_type="uncompressed") as file:
        file.write(content)


def stored(path):
    """{name below the path: content} of everything that a store has there."""
    (match,) = FileSystems.match([f"{path}/**"])
    found = {}
    for metadata in match.metadata_list:
        with FileSystems.open(metadata.path, compression_type="uncompressed") as file:
            found[metadata.path.removeprefix(f"{path}/")] = file.read()
    return found

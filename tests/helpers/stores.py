"""A store for the tests of this process: the emulator of `tests.helpers.cloud`, found by everybody; its
files.
"""

import contextlib
import http.server
import json
import logging
from pathlib import Path

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems
from gcp_storage_emulator.server import RequestHandler

from hrpose.storage import path_of
from tests.helpers import cloud

BUCKET = f"gs://{cloud.BUCKET}"


@contextlib.contextmanager
def store_of_this_process(folder):
    """Runs the emulator with an empty bucket `BUCKET`, for this process and those that it starts.

    Args:
        folder: an existing `Path` for credentials and for copies of shards.

    Yields:
        A list to which every request's first line is added, e.g. ``GET /storage/v1/b/people/o?... HTTP/1.1``.
    """
    requests = []
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # More requests at a time than the five that the server lets wait, after which each takes a second.
        patch.setattr(http.server.HTTPServer, "request_queue_size", 128)
        environment = stack.enter_context(cloud.emulated_storage(folder))
        patch.setattr(RequestHandler, "log_message", lambda self, *_: requests.append(self.requestline))
        for name, value in environment.items():
            patch.setenv(name, value)
        account = json.loads((folder / "key.json").read_text())
        # Of another kind than the key: with that, google-auth asks Google itself where requests may go.
        credentials = {
            "type": "external_account_authorized_user",
            "audience": "none",
            "refresh_token": "none",
            "token_url": account["token_uri"],
            "client_id": "none",
            "client_secret": "none",
        }
        (folder / "credentials.json").write_text(json.dumps(credentials))
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "credentials.json"))
        patch.setenv("GOOGLE_CLOUD_PROJECT", "none")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, value in (("_credentials_init", False), ("_credentials", None)):
            patch.setattr(auth._Credentials, name, value)  # Beam keeps the first it finds
        try:
            type(path_of(BUCKET).fs).clear_instance_cache()  # fsspec keeps connections, with their addresses
            yield requests
        finally:
            type(path_of(BUCKET).fs).clear_instance_cache()


def upload(folder, path):
    """Copies a folder of this host with everything in it to a store's path."""
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

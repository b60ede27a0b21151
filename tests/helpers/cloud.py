"""A Cloud Storage of the tests' own: an emulator on a free port, and credentials for it to throw away."""

import contextlib
import http.server
import json
import threading

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import create_server

BUCKET = "people"


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives everybody an access token, as Google's server gives one to the owner of a key."""

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
    """Runs the emulator in threads of this process, with an empty bucket `BUCKET`.

    Args:
        folder: an existing `Path` for the key file.

    Yields:
        The environment variables by which Beam, google-cloud-storage and gcsfs find it.
    """
    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    store = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    store.start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "none",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "nobody@none.iam.gserviceaccount.com",
        "token_uri": f"http://127.0.0.1:{tokens.server_port}/token",
    }
    (folder / "key.json").write_text(json.dumps(account))
    try:
        yield {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{store._api._httpd.server_port}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "key.json"),
        }
    finally:
        store.stop()
        tokens.shutdown()
        tokens.server_close()

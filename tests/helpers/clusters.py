"""What TF_CONFIG says of several machines."""

import json

HOSTS = ["a:1", "b:1", "c:1"]


def tf_config(kinds, kind="worker", index=0):
    return json.dumps({"cluster": kinds, "task": {"type": kind, "index": index}})

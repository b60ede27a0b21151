"""A disk that gets full while some file is being written."""

from pathlib import Path


def full_disk_at(name, monkeypatch):
    """Makes writing fail, half-way, for every file with `name` in its name."""
    write = Path.write_bytes

    def write_half(path, content):
        if name not in path.name:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)

"""A shard's records between the images they are cut from and the file they end in."""

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import spool
from pipelines.spool import Spool


@given(st.dictionaries(st.binary(max_size=4), st.binary(max_size=40), max_size=20), st.integers(0, 200))
def test_records_come_out_in_the_order_of_their_keys_again_and_again(records, in_memory):
    """Whether they are in memory, in a file, or went into one on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_IN_MEMORY", in_memory)
        with Spool() as taken:
            for key, record in records.items():
                taken.add(key, record)
                assert sorted(taken) == sorted(list(taken))
            for _ in range(2):
                assert list(taken) == [record for _, record in sorted(records.items())]
            assert len(taken) == len(records)


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool() as taken:

        def write(record):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(taken._file, "write", write)
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
            taken.add(b"key", b"record")

"""Equal input, equal bytes: whatever lies in memory."""

from __future__ import annotations

import gzip

import numpy as np

from engine.io.gzip_out import GzipOut


def test_it_is_gzip() -> None:
    rng = np.random.default_rng(1)
    pieces = [bytes(352), rng.integers(0, 9, 300_000).astype(np.uint8).data, bytes(100)]
    out = GzipOut()
    for piece in pieces:
        out.write(piece)
    assert gzip.decompress(out.finish()) == b"".join(bytes(piece) for piece in pieces)


def test_the_bytes_do_not_depend_on_addresses() -> None:
    """A compressor that hashes its own address shows it once in about 5000 times."""
    start = (348).to_bytes(4, "little") + bytes(348)
    seen, held = set(), []
    for _ in range(30_000):
        out = GzipOut()
        out.write(start)
        out.write(bytes(2000))
        seen.add(out.finish())
        held.append(out)  # so that each lies elsewhere
        del held[: len(held) - 12_000]
    assert len(seen) == 1

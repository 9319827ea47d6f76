"""Several processes encode what one would, in order, and neither hang nor leave a process behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.models import ColBERT, workers

from .conftest import TEXTS

pytestmark = pytest.mark.slow


def test_a_pool_gives_what_one_process_gives(model: ColBERT, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {number % 10}" for number, text in enumerate(TEXTS * 4)]
    alone = model.encode(texts, is_query=False)
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    try:
        together = model.encode_multi_process(texts, pool, is_query=False, chunk_size=5)
        assert len(together) == len(texts)
        for left, right in zip(together, alone, strict=True):
            assert np.allclose(left, right, atol=1e-5)
        queries = model.encode(TEXTS, pool=pool, packed=True, precision="float16")
        assert (len(queries), queries.dtype) == (len(TEXTS), np.float16)
        assert sum(len(chunk) for chunk in model.encode_stream(iter(texts), pool=pool, chunk_size=3)) == len(texts)
        # A stream that is abandoned, or a text that is refused, leaves nothing behind for the next call.
        next(model.encode_stream(iter(texts), pool=pool, chunk_size=3))
        with pytest.raises(InvalidInput, match="text 9 is NoneType"):
            model.encode([*texts[:9], None], pool=pool, chunk_size=2)
        assert len(model.encode(texts[0], is_query=False, pool=pool)) == len(alone[0])
        monkeypatch.setattr(workers, "_CHUNK_TEXTS", 5)
        fewer, expected = (model.encode(texts, is_query=False, pool_factor=2, pool=where) for where in (pool, None))
        assert [len(rows) for rows in fewer] == [len(rows) for rows in expected]
        stream = model.encode_stream(iter(texts), pool=pool, chunk_size=3)
        next(stream)
        with pytest.raises(InvalidInput, match="encoding for another call"):
            model.encode(texts, pool=pool)
        stream.close()
        assert len(model.encode(texts, pool=pool)) == len(texts)
        pool["processes"][0].kill()
        pool["processes"][1].kill()
        with pytest.raises(RuntimeError, match="died"):
            model.encode(texts, pool=pool)
    finally:
        model.stop_multi_process_pool(pool)


def test_ten_thousand_documents_with_256_file_descriptors(backbone: Path) -> None:
    script = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        from serotine.models import ColBERT
        if __name__ == "__main__":
            model = ColBERT({str(backbone)!r}, embedding_size=16, document_length=40, device="cpu")
            texts = [f"bat {{number}} " + "moth " * (number % 7) for number in range(10_000)]
            packed = model.encode(texts, is_query=False, device=["cpu", "cpu"], packed=True)
            expected = [len(rows) for rows in model.encode(texts[-50:], is_query=False)]
            assert len(packed) == 10_000, len(packed)
            assert packed.lengths[-50:].tolist() == expected
            print("all there")
    """
    script_file = backbone / "many.py"
    script_file.write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, script_file], capture_output=True, text=True, timeout=300, check=False)
    assert "all there" in done.stdout, done.stderr[-2000:]

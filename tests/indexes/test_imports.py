"""Proves that searching and reranking need numpy alone: no model framework is imported, no pickle is read."""

from __future__ import annotations

import subprocess
import sys

CYCLE = """
import importlib.util, sys, tempfile
found = []
sys.addaudithook(lambda event, _: found.append(event) if event == "pickle.find_class" else None)
import serotine.indexes, serotine.rank, serotine.retrieve
import numpy as np
documents = [np.eye(4, dtype=np.float32)[:n] for n in (1, 2, 3)]
indexes = [kind(*place) for kind in (serotine.indexes.Exact, serotine.indexes.PLAID)
           for place in ((None, None), (tempfile.mkdtemp(), "index"))]
if importlib.util.find_spec("voyager"):
    indexes.append(serotine.indexes.Voyager(tempfile.mkdtemp(), "index"))
for index in indexes:
    index.add_documents(["a", "b", 3], documents).update_documents("a", documents[2]).remove_documents("b")
    assert len(serotine.retrieve.ColBERT(index).retrieve(documents[0], subset=["a", 3])[0]) == 2
    assert len(serotine.retrieve.XTR(index, trained_for_xtr=True).retrieve(documents[0], subset=["a", 3])[0]) == 2
    assert len(serotine.retrieve.ColBERT(index).retrieve(documents[1], k=1)[0]) == 1
    vectors = index.get_documents_embeddings([["a", 3]])
    assert len(serotine.rank.rerank([["a", 3]], documents[1], vectors)[0]) == 2
heavy = {"torch", "transformers", "sentence_transformers", "scipy", "pandas", "ml_dtypes"} & set(sys.modules)
assert not heavy, heavy
assert not found, found
"""


def test_a_full_cycle_of_add_search_and_rerank_imports_no_framework():
    result = subprocess.run([sys.executable, "-c", CYCLE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_the_packages_imports_none_of_their_parts():
    code = (
        "import sys, serotine.indexes, serotine.rank, serotine.retrieve; "
        "assert 'numpy' not in sys.modules, sorted(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

"""What do these tests share?  A filled index, the texts, and what they must give."""

import pytest

from serotine import indexes, rank, retrieve

from ..evaluation.bats import QUERIES, TEXTS


@pytest.fixture(scope="session")
def index(bundled_model):
    """The documents about bats, bread and tides."""
    return indexes.PLAID(None).add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))


@pytest.fixture(scope="session")
def expected(bundled_model, index):
    """Return what our retriever gives for a query: ``[(id, score), ...]``."""

    def of(query, k):
        ranking = retrieve.ColBERT(index).retrieve(bundled_model.encode([QUERIES.get(query, query)]), k=k)[0]
        return [(hit["id"], pytest.approx(hit["score"], abs=1e-3)) for hit in ranking]

    return of


CANDIDATES = ["salt", "waves", "echoes", "neap", "noctule"]
"""In an order that is no ranking of anything."""


@pytest.fixture(scope="session")
def reranked(bundled_model):
    """Return the ranking of the candidates for a query by `rank.rerank`: ``[(id, score), ...]``."""

    def of(query):
        documents = bundled_model.encode([TEXTS[name] for name in CANDIDATES], is_query=False)
        ranking = rank.rerank([CANDIDATES], bundled_model.encode([QUERIES.get(query, query)]), [documents])[0]
        return [(hit["id"], pytest.approx(hit["score"], abs=1e-3)) for hit in ranking]

    return of

"""How do judgements become training triples?  Query, a relevant text, a random other text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serotine.errors import InvalidInput
from serotine.evaluation._ids import id_text
from serotine.evaluation.qrels import Qrels, normalize_qrels

__all__ = ["get_beir_triples"]


def get_beir_triples(
    documents: Sequence[Mapping[str, Any]], queries: Mapping[Any, str] | Sequence[str], qrels: Qrels, *, seed: int = 0
) -> list[tuple[str, str, str]]:
    """Return ``(query text, relevant text, other text)``, one for each relevant judgement, in the order of the qrels.

    documents, queries, qrels: as `load_custom_dataset` returns them; queries may be a list of texts, one for each query
    of qrels, in its order. The other text is drawn at random from the documents that have no grade of 1 or more for the
    query: mostly an easy negative, and possibly relevant without being judged. The same seed gives the same triples. A
    relevant document that ``documents`` lacks gives no triple.

    Raises:
        InvalidInput: a judged query has no text, or no document is left as a negative.

    Cost O(documents + triples).

    Example:
        >>> documents = [{"id": "a", "text": "bats hunt by echo"}, {"id": "b", "text": "owls hunt by ear"}]
        >>> get_beir_triples(documents, {"q": "who uses echoes?"}, {"q": {"a": 1}})
        [('who uses echoes?', 'bats hunt by echo', 'owls hunt by ear')]
    """
    judged = normalize_qrels(qrels)
    texts = {id_text(document["id"], what="document id"): str(document["text"]) for document in documents}
    query_texts = _query_texts(queries, judged)
    document_ids = list(texts)
    generator = np.random.default_rng(seed)
    triples = []
    for query, judgements in judged.items():
        if query not in query_texts:
            raise InvalidInput(f"query {query!r} has judgements but no text in queries")
        relevant = {document for document, grade in judgements.items() if grade >= 1}
        present = [document for document in judgements if document in relevant and document in texts]
        if present and len(present) == len(document_ids):
            raise InvalidInput(f"query {query!r}: all {len(document_ids)} documents are relevant, none can be negative")
        for document in present:
            negative = _draw_outside(document_ids, relevant, generator)
            triples.append((query_texts[query], texts[document], texts[negative]))
    return triples


def _query_texts(queries: Mapping[Any, str] | Sequence[str], judged: Iterable[str]) -> dict[str, str]:
    if isinstance(queries, Mapping):
        return {id_text(query, what="query id"): text for query, text in queries.items()}
    judged_ids = list(judged)
    if isinstance(queries, str) or len(queries) != len(judged_ids):
        raise InvalidInput(
            f"queries must be {{query id: text}}, or one text for each of the {len(judged_ids)} judged queries"
        )
    return dict(zip(judged_ids, queries, strict=True))


def _draw_outside(document_ids: Sequence[str], relevant: set[str], generator: np.random.Generator) -> str:
    """Draw a document that is not relevant; the caller knows that there is one.

    Drawing until one fits: relevant documents are few among many, so nearly always the first draw.
    """
    while True:
        document = document_ids[int(generator.integers(len(document_ids)))]
        if document not in relevant:
            return document

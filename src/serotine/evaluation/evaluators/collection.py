"""What is a collection, checked?  Ids as text, in order, with the judgements that can be met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from serotine.errors import InvalidInput
from serotine.evaluation._ids import id_text
from serotine.evaluation.qrels import normalize_qrels

__all__ = ["Collection", "read_collection"]


class Collection(NamedTuple):
    """Judged queries and documents in their given order; qrels: ``{query id: {document id: grade}}`` of the queries."""

    query_ids: list[str]
    query_texts: list[str]
    document_ids: list[str]
    document_texts: list[str]
    qrels: dict[str, dict[str, int]]


def read_collection(
    queries: Mapping[Any, str],
    corpus: Mapping[Any, str],
    relevant_docs: Mapping[Any, Any],
    *,
    allow_missing_documents: bool = False,
) -> Collection:
    """Check the arguments of an evaluator. Queries without judgements, and judgements of other queries, are left out.

    Raises:
        InvalidInput: what `ColBERTInformationRetrievalEvaluator` says.
    """
    documents, texts = _texts(corpus, "corpus"), _texts(queries, "queries")
    if not documents:
        raise InvalidInput("corpus is empty, so there is nothing to find")
    qrels = _read_judgements(relevant_docs)
    judged = {query: qrels[query] for query in texts if query in qrels}
    if not judged:
        raise InvalidInput(
            f"none of the {len(texts)} queries has a judgement: queries have ids such as {_first(texts)}, "
            f"relevant_docs has {_first(qrels)}"
        )
    missing = [(query, document) for query in judged for document in judged[query] if document not in documents]
    if missing and not allow_missing_documents:
        raise InvalidInput(
            f"relevant_docs names {len(missing)} documents that corpus lacks, the first is {missing[0][1]!r} of query "
            f"{missing[0][0]!r}. Correct the ids, or count them as not found with allow_missing_documents=True"
        )
    return Collection(
        list(judged), [texts[query] for query in judged], list(documents), list(documents.values()), judged
    )


def _texts(mapping: Mapping[Any, str], what: str) -> dict[str, str]:
    if not isinstance(mapping, Mapping):
        raise InvalidInput(f"{what} must be {{id: text}}, got {type(mapping).__name__}")
    texts: dict[str, str] = {}
    for key, text in mapping.items():
        identifier = id_text(key, what=f"id in {what}")
        if identifier in texts:
            raise InvalidInput(f"{what} has the id {identifier!r} twice, as an integer and as a string; keep one")
        if not isinstance(text, str):
            raise InvalidInput(f"{what}: the text of {identifier!r} is {type(text).__name__}, expected str")
        texts[identifier] = text
    return texts


def _read_judgements(relevant_docs: Mapping[Any, Any]) -> dict[str, dict[str, int]]:
    if not isinstance(relevant_docs, Mapping):
        raise InvalidInput(f"relevant_docs must be {{query id: document ids}}, got {type(relevant_docs).__name__}")
    graded = {}
    for query, judgements in relevant_docs.items():
        if isinstance(judgements, (str, bytes)) or not isinstance(judgements, Iterable):
            raise InvalidInput(
                f"relevant_docs of query {query!r} must be a set of document ids or {{document id: grade}}, got "
                f"{judgements!r}"
            )
        graded[query] = judgements if isinstance(judgements, Mapping) else dict.fromkeys(judgements, 1)
    return normalize_qrels(graded)


def _first(mapping: Mapping[str, Any]) -> str:
    return repr(next(iter(mapping), None))

"""Which documents does an index rank high for a query, besides those known to answer it?  Texts by id, and the search.

A document counts as the same as a text if it differs in spaces only, whatever its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from serotine.errors import InvalidInput
from serotine.rank.reranking import rerank
from serotine.retrieve.colbert import ColBERT
from serotine.retrieve.mining.pairs import Pairs, text_key
from serotine.types import Array, DocumentId

__all__ = ["Candidate", "Encoders", "Searched", "prepare"]

# Texts that are encoded, and whose vectors are in memory, together.
_CHUNK = 4096


class Encoders(NamedTuple):
    """Texts to vectors: one ``(num_tokens, dim)`` array for each."""

    queries: Callable[[list[str]], list[Array]]
    documents: Callable[[list[str]], list[Array]]


class Candidate(NamedTuple):
    """A document that a search returned."""

    text: str
    score: float


class Searched:
    """An index, the texts of its documents, and the model that made its vectors."""

    def __init__(self, index: Any, texts: Mapping[DocumentId, str], encoders: Encoders) -> None:
        self._retriever = ColBERT(index)
        self._index, self._texts, self._encoders = index, texts, encoders
        self._ids: dict[str, list[DocumentId]] = {}
        for document_id, text in texts.items():
            self._ids.setdefault(text_key(text), []).append(document_id)

    def search(self, vectors: list[Array], excluded: list[set[str]], number: int) -> list[list[Candidate]]:
        """Return for each query its ``number`` best documents, fewer if there are fewer; each text once.

        excluded: `text_key` of the texts that may not be returned.
        """
        found: list[list[Candidate]] = [[] for _ in vectors]
        open_queries = list(range(len(vectors)))
        k = number + max(sum(len(self._ids.get(key, ())) for key in keys) for keys in excluded)
        while open_queries:
            rankings = self._retriever.retrieve([vectors[query] for query in open_queries], k=k)
            again = []
            for query, ranking in zip(open_queries, rankings, strict=True):
                found[query] = self._distinct(ranking, excluded[query])[:number]
                if len(found[query]) < number and len(ranking) >= k:
                    again.append(query)
            # Texts that are there several times used up places.
            open_queries, k = again, 2 * k
        return found

    def _distinct(self, ranking: list[Any], excluded: set[str]) -> list[Candidate]:
        seen, kept = set(excluded), []
        for hit in ranking:
            text = self._text(hit["id"])
            if text_key(text) not in seen:
                seen.add(text_key(text))
                kept.append(Candidate(text, hit["score"]))
        return kept

    def _text(self, document_id: DocumentId) -> str:
        if document_id not in self._texts:
            raise InvalidInput(f"the index returned document {document_id!r}, which is not in corpus: give its text")
        return self._texts[document_id]

    def scores(self, vectors: list[Array], texts: list[list[str]]) -> list[list[float]]:
        """Score each query against its own texts, by the index's vectors where it holds a text, as a search does."""
        ids = [[self._ids.get(text_key(text), [None])[0] for text in some] for some in texts]
        stored = self._index.get_documents_embeddings([[each for each in some if each is not None] for some in ids])
        flat = [(text, each) for pair in zip(texts, ids, strict=True) for text, each in zip(*pair, strict=True)]
        missing = [text for text, each in flat if each is None]
        encoded = iter(self._encoders.documents(missing) if missing else ())
        embeddings = []
        for some, vectors_of in zip(ids, map(iter, stored), strict=True):
            embeddings.append([next(encoded if each is None else vectors_of) for each in some])
        numbers = [list(range(len(some))) for some in texts]
        rankings = rerank(numbers, vectors, embeddings)
        by_number = [{hit["id"]: hit["score"] for hit in ranking} for ranking in rankings]
        return [[scores[number] for number in some] for some, scores in zip(numbers, by_number, strict=True)]


def prepare(corpus: Any, index: Any, pairs: Pairs, encoders: Encoders) -> Searched:
    """Return the documents to search, encoded and indexed if they are not yet.

    corpus, index: see `mine_hard_negatives`.

    Raises:
        InvalidInput: they do not go together, or a text is none; it is named.
    """
    is_filled = not (index is None or isinstance(index, str)) and (not hasattr(index, "__len__") or len(index) > 0)
    texts = _read_corpus(corpus, pairs, needs_ids=is_filled)
    if is_filled:
        known = index.documents_ids() if hasattr(index, "documents_ids") else ()
        for document_id in known() if callable(known) else known:
            if document_id not in texts:
                raise InvalidInput(f"document {document_id!r} of the index is not in corpus: give its text")
        return Searched(index, texts, encoders)
    filled = _new_index(index)
    filled.add_documents(list(texts), _encoded(list(texts.values()), encoders.documents))
    return Searched(filled, texts, encoders)


def _new_index(index: Any) -> Any:
    from serotine.indexes import PLAID, Exact

    if index is None or index == "plaid":
        return PLAID(None)
    if index == "exact":
        return Exact()
    if isinstance(index, str):
        raise InvalidInput(f"index must be 'plaid', 'exact' or an index, got {index!r}")
    return index


def _encoded(texts: list[str], encode: Callable[[list[str]], list[Array]]) -> Iterator[Array]:
    for start in range(0, len(texts), _CHUNK):
        yield from encode(texts[start : start + _CHUNK])


def _read_corpus(corpus: Any, pairs: Pairs, *, needs_ids: bool) -> Mapping[DocumentId, str]:
    if isinstance(corpus, Mapping):
        for document_id, text in corpus.items():
            _check_text(text, f"corpus[{document_id!r}]")
        return corpus
    if needs_ids:
        raise InvalidInput("an index that holds documents needs corpus={id: text} of these documents")
    if corpus is not None and (isinstance(corpus, str) or not isinstance(corpus, Iterable)):
        raise InvalidInput(f"corpus must be a list of texts or a dict of id and text, got {type(corpus).__name__}")
    distinct: dict[str, str] = {}
    for number, text in enumerate(corpus or ()):
        distinct.setdefault(text_key(_check_text(text, f"corpus[{number}]")), text)
    for positives in pairs.positives:
        for text in positives:
            distinct.setdefault(text_key(text), text)
    return dict(enumerate(distinct.values()))


def _check_text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"{where} is {text!r}, expected a text")
    return text

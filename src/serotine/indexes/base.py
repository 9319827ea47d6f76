"""What does every index of Serotine offer?  The interface that retrievers, evaluation and tests rely on.

Names and arguments are PyLate's where PyLate has one; ``len(index)``, ``id in index``, `documents_ids`, `close` and
the context manager are additions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from serotine.types import DocumentId, Embeddings, RerankResult

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Index"]


class Index(ABC):
    """Documents' token embeddings under ids, searched by queries' token embeddings.

    A change is all or nothing: a call that raises leaves the index as it was. A document keeps the place at which it
    was added or last updated; documents of equal score are returned in that order.
    """

    @property
    @abstractmethod
    def is_end_to_end_index(self) -> bool:
        """True if a call returns ranked documents; False if it returns hits per query token, to be reranked."""

    @abstractmethod
    def add_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Add documents under ids that are not in the index yet. Returns the index."""

    @abstractmethod
    def update_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Replace the documents of these ids, adding those that the index does not hold. Returns the index."""

    @abstractmethod
    def remove_documents(self, documents_ids: Any, *, missing_ok: bool = True) -> Self:
        """Remove documents; ids that the index does not hold are ignored unless missing_ok is False."""

    @abstractmethod
    def __call__(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> list[list[RerankResult]]:
        """Return for each query its k best documents, best first; fewer if there are fewer."""

    @abstractmethod
    def get_documents_embeddings(self, documents_ids: Any) -> list[Any]:
        """Return the vectors of documents, in the form of the ids: a list, or a list of lists."""

    @abstractmethod
    def documents_ids(self) -> list[DocumentId]:
        """Return the ids of all documents, oldest first."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of documents, those without tokens included."""

    @abstractmethod
    def __contains__(self, document_id: object) -> bool:
        """Whether the index holds a document of this id."""

    @abstractmethod
    def close(self) -> None:
        """Release files and memory; every later use but another close raises InvalidInput."""

    def __bool__(self) -> bool:
        """An index is true even if it is empty, so that ``index or default`` keeps an empty one."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

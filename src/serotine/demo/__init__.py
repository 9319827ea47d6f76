"""What does the demo search and ask?  Python's own docstrings, and questions with judged answers; exports only."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.demo.corpus import Docstring, package_documents, standard_library_documents
    from serotine.demo.questions import QuestionSet, load_questions

__all__ = ["Docstring", "QuestionSet", "load_questions", "package_documents", "standard_library_documents"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Docstring": "serotine.demo.corpus",
        "QuestionSet": "serotine.demo.questions",
        "load_questions": "serotine.demo.questions",
        "package_documents": "serotine.demo.corpus",
        "standard_library_documents": "serotine.demo.corpus",
    },
)

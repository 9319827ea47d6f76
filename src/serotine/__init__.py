"""Serotine: late-interaction retrieval. Encode, index, search, rerank and evaluate.

Importing this package imports none of its parts; each is imported when it is first used.
"""

from serotine._lazy import lazy_exports

__version__ = "0.1.0"

_SUBMODULES = (
    "demo",
    "errors",
    "evaluation",
    "indexes",
    "losses",
    "models",
    "rank",
    "retrieve",
    "scores",
    "types",
    "utils",
    "visualize",
)

__all__ = ["__version__", *_SUBMODULES]  # noqa: PLE0604 - the tuple above holds only strings

__getattr__, __dir__ = lazy_exports(__name__, {name: f"{__name__}.{name}" for name in _SUBMODULES})

"""How good is a model while it is trained?  Evaluators for the trainer's ``evaluator`` argument; exports only."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.evaluation.evaluators.distillation import ColBERTDistillationEvaluator
    from serotine.evaluation.evaluators.information_retrieval import ColBERTInformationRetrievalEvaluator
    from serotine.evaluation.evaluators.nano_beir import NanoBEIREvaluator
    from serotine.evaluation.evaluators.triplet import ColBERTTripletEvaluator

__all__ = [
    "ColBERTDistillationEvaluator",
    "ColBERTInformationRetrievalEvaluator",
    "ColBERTTripletEvaluator",
    "NanoBEIREvaluator",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ColBERTDistillationEvaluator": "serotine.evaluation.evaluators.distillation",
        "ColBERTInformationRetrievalEvaluator": "serotine.evaluation.evaluators.information_retrieval",
        "ColBERTTripletEvaluator": "serotine.evaluation.evaluators.triplet",
        "NanoBEIREvaluator": "serotine.evaluation.evaluators.nano_beir",
    },
    needs=("torch", "sentence_transformers"),
    extra="models",
)

"""Scores of queries against documents: MaxSim over any embeddings, ColBERT's training scores, alignments."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.scores.alignment import Alignment, align
    from serotine.scores.colbert import ColBERTScores, colbert_kd_scores, colbert_scores, colbert_scores_pairwise
    from serotine.scores.dispatch import maxsim, maxsim_pairwise
    from serotine.scores.learnable import Scorer, SimilarityMLP, TokenWeights
    from serotine.scores.packed import maxsim_packed, maxsim_packed_pairwise
    from serotine.scores.quantized import Int8TokenMatrix, dequantize, quantize
    from serotine.scores.reference import maxsim_reference
    from serotine.scores.scorer_files import load_scorer, save_scorer
    from serotine.scores.similarity import SimilarityFunction
    from serotine.scores.xtr import XTRKDScores, XTRScores, xtr_kd_scores, xtr_scores

__all__ = [
    "Alignment",
    "ColBERTScores",
    "Int8TokenMatrix",
    "Scorer",
    "SimilarityFunction",
    "SimilarityMLP",
    "TokenWeights",
    "XTRKDScores",
    "XTRScores",
    "align",
    "colbert_kd_scores",
    "colbert_scores",
    "colbert_scores_pairwise",
    "dequantize",
    "load_scorer",
    "maxsim",
    "maxsim_packed",
    "maxsim_packed_pairwise",
    "maxsim_pairwise",
    "maxsim_reference",
    "quantize",
    "save_scorer",
    "xtr_kd_scores",
    "xtr_scores",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Alignment": "serotine.scores.alignment",
        "ColBERTScores": "serotine.scores.colbert",
        "Int8TokenMatrix": "serotine.scores.quantized",
        "Scorer": "serotine.scores.learnable",
        "SimilarityFunction": "serotine.scores.similarity",
        "SimilarityMLP": "serotine.scores.learnable",
        "TokenWeights": "serotine.scores.learnable",
        "XTRKDScores": "serotine.scores.xtr",
        "XTRScores": "serotine.scores.xtr",
        "align": "serotine.scores.alignment",
        "colbert_kd_scores": "serotine.scores.colbert",
        "colbert_scores": "serotine.scores.colbert",
        "colbert_scores_pairwise": "serotine.scores.colbert",
        "dequantize": "serotine.scores.quantized",
        "load_scorer": "serotine.scores.scorer_files",
        "maxsim": "serotine.scores.dispatch",
        "maxsim_packed": "serotine.scores.packed",
        "maxsim_packed_pairwise": "serotine.scores.packed",
        "maxsim_pairwise": "serotine.scores.dispatch",
        "maxsim_reference": "serotine.scores.reference",
        "quantize": "serotine.scores.quantized",
        "save_scorer": "serotine.scores.scorer_files",
        "xtr_kd_scores": "serotine.scores.xtr",
        "xtr_scores": "serotine.scores.xtr",
    },
)

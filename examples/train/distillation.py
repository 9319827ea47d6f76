"""Train to rank as a cross-encoder does: its scores for some documents of each query are the lesson.

    python examples/train/distillation.py                               # downloads the model, the lists and the texts
    python examples/train/sample.py build/sample
    python examples/train/distillation.py --model minilm --data build/sample/lists --dev build/sample/dev

The data set has three tables: ``train`` with ids and scores, ``queries`` and ``documents`` with the texts, which are
looked up while training reads them. Scores are expected between 0 and 1. On the sample, ``--steps 24 --batch-size 4
--n-ways 8 --learning-rate 3e-5 --query-length 24 --document-length 48`` bring nDCG@10 on dev from .398 to .415.

Published, and the defaults here: bert-base-uncased; lightonai/ms-marco-en-bge (MS MARCO with the scores of a BGE
reranker), 32 documents of each query; batches of 16; one epoch; a learning rate of 1e-5, falling linearly; queries of
32 tokens, documents of 180. Source: PyLate, examples/train/knowledge_distillation.py. It runs in fp16, and compiles the
model; here bf16 where a GPU has it, uncompiled.

With ``--xtr`` scores are XTR's: only tokens count that are among the k most similar to a query's token in the whole
batch. Published for it: k = 256, answerdotai/ModernBERT-base (give it as ``--model``), everything else the same.
Source: PyLate, examples/train/xtr_knowledge_distillation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import recipe
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, scores, utils

PUBLISHED = {
    "model": "bert-base-uncased",
    "data": "lightonai/ms-marco-en-bge",
    "output": Path("output/distillation"),
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 1e-5,
    "query_length": 32,
    "document_length": 180,
}
XTR_K = 256


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    parser = recipe.parser(__doc__, **PUBLISHED)
    parser.add_argument("--n-ways", type=int, default=32, help="documents of each query, at most")
    parser.add_argument("--xtr", action="store_true", help="scores of XTR instead of MaxSim")
    options = recipe.read(parser, words)
    evaluator = recipe.dev_evaluator(options.dev)
    model = recipe.load_model(options)
    # The published normalisation divides by the tokens with a positive maximum.
    metric = scores.XTRKDScores(k=XTR_K, normalization="positive") if options.xtr else None
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=recipe.training_arguments(options, evaluate=evaluator is not None),
        train_dataset=recipe.load_lists(options.data, n_ways=options.n_ways),
        loss=losses.Distillation(model, metric),
        evaluator=evaluator,
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()

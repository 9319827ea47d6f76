"""Train as XTR does: only those document tokens count in a score that a search for tokens would have found.

    python examples/train/xtr.py                                        # downloads the model and the triplets
    python examples/train/sample.py build/sample
    python examples/train/xtr.py --model minilm --data build/sample/triplets

Each token of a query retrieves the k most similar tokens of all documents in the batch; a document is scored by those
of its tokens that were retrieved. So tokens learn to be found among others, not only to be right within their document.
It is a score like another, in any loss; ``distillation.py --xtr`` has it with a teacher. What was trained can be
searched and compared by MaxSim, as here.

Published, and the defaults here: answerdotai/ModernBERT-base; the triplets of sentence-transformers/msmarco-bm25, a
hundredth of them held out; k = 256; a temperature of .05, since scores are averages; batches of 32; one epoch; a
learning rate of 3e-6, falling linearly; queries of 32 tokens, documents of 180. Source: PyLate,
examples/train/xtr_contrastive.py. It runs in fp16, and compiles the model; here bf16 where a GPU has it, uncompiled.

The paper trains otherwise (Lee et al. 2023, "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval"), and
divides by all tokens that retrieved something: ``--normalization retrieved``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import recipe
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, scores, utils

PUBLISHED = {
    "model": "answerdotai/ModernBERT-base",
    "data": "sentence-transformers/msmarco-bm25",
    "output": Path("output/xtr"),
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 3e-6,
    "query_length": 32,
    "document_length": 180,
}


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    parser = recipe.parser(__doc__, **PUBLISHED)
    parser.add_argument("--k", type=int, default=256, help="document tokens that a query token retrieves")
    parser.add_argument("--normalization", choices=["positive", "retrieved"], default="positive", help="see XTRScores")
    parser.add_argument("--temperature", type=float, default=0.05, help="divides the scores")
    options = recipe.read(parser, words)
    train, held_out = recipe.load_triplets(options)
    model = recipe.load_model(options)
    metric = scores.XTRScores(k=options.k, normalization=options.normalization)
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=recipe.training_arguments(options, evaluate=True),
        train_dataset=train,
        eval_dataset=held_out,
        loss=losses.Contrastive(model, metric, temperature=options.temperature),
        evaluator=recipe.triplet_evaluator(held_out),
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()

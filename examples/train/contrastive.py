"""Train with triplets: a query, a document that answers it, and one that does not.

    python examples/train/contrastive.py                                # downloads the model and the triplets
    python examples/train/sample.py build/sample
    python examples/train/contrastive.py --model minilm --data build/sample/triplets

The negatives of a query are its own negative and all documents of the other queries in the batch.

Published, and the defaults here: bert-base-uncased; the triplets of sentence-transformers/msmarco-bm25, 1 % of them
held out; batches of 32; one epoch; a learning rate of 3e-6, falling linearly; queries of 32 tokens, documents of 180.
Source: PyLate, examples/train/contrastive.py. It runs in fp16, and compiles the model; here bf16 where a GPU has it,
uncompiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import recipe
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, utils

PUBLISHED = {
    "model": "bert-base-uncased",
    "data": "sentence-transformers/msmarco-bm25",
    "output": Path("output/contrastive"),
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 3e-6,
    "query_length": 32,
    "document_length": 180,
}


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    options = recipe.read(recipe.parser(__doc__, **PUBLISHED), words)
    train, held_out = recipe.load_triplets(options)
    model = recipe.load_model(options)
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=recipe.training_arguments(options, evaluate=True),
        train_dataset=train,
        eval_dataset=held_out,
        loss=losses.Contrastive(model),
        evaluator=recipe.triplet_evaluator(held_out),
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()

"""Train GTE-ModernColBERT: distillation from a large reranker's scores, begun with a strong single-vector model.

    torchrun --nproc_per_node 8 examples/train/gte_modern_colbert.py    # downloads the model, the lists and the texts
    python examples/train/sample.py build/sample
    python examples/train/gte_modern_colbert.py --model minilm --data build/sample/lists --dev build/sample/dev

Published, and the defaults here: Alibaba-NLP/gte-modernbert-base with a new projection to 128 dimensions;
lightonai/ms-marco-en-bge-gemma (MS MARCO with the scores of bge-reranker-v2-gemma), 32 documents of each query; batches
of 16 per GPU; three epochs; a learning rate of 3e-5, falling linearly without warm-up; bf16; queries of 32 tokens,
documents of 300; NanoBEIR every 500 steps. Source: PyLate, examples/train/gte_modern_colbert.py. It took less than two
hours on eight H100; source: Chaffin & Sourty 2025 (PyLate), section 4.2.

What it should reach: 54.89 nDCG@10 on the mean of BEIR's collections (the same, table 1), which
examples/evaluation/table1.py measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import recipe
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, utils

PUBLISHED = {
    "model": "Alibaba-NLP/gte-modernbert-base",
    "data": "lightonai/ms-marco-en-bge-gemma",
    "dev": "nanobeir",
    "output": Path("output/GTE-ModernColBERT"),
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 3e-5,
    "query_length": 32,
    "document_length": 300,
}


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    options = recipe.read(recipe.parser(__doc__, **PUBLISHED), words)
    model = recipe.load_model(options)
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=recipe.training_arguments(options, evaluate=True),
        train_dataset=recipe.load_lists(options.data, n_ways=32),
        loss=losses.Distillation(model),
        evaluator=recipe.dev_evaluator(options.dev),
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()

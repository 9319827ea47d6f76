"""Run tasks of MTEB with an index of Serotine, so that what is measured is what would be deployed.

    python examples/evaluation/mteb_tasks.py --model lightonai/GTE-ModernColBERT-v1 --tasks SciFact NFCorpus
    python examples/evaluation/mteb_tasks.py --model bundled --tasks SciFact --data DATA    # offline

With --data a task reads DATA/<name in lower case>, a folder in BEIR's layout, instead of downloading. Needs the extra
``mteb``. Results lie where MTEB puts them, under the name of the model and the index.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import mteb

from serotine import evaluation, indexes, models
from serotine.evaluation.mteb import SearchModel, use_local_data

INDEXES = {
    "plaid": lambda: indexes.PLAID(None, show_progress=False),
    "exact": lambda: indexes.Exact(dtype="float16"),
}


def main(words: Sequence[str] | None = None) -> dict[str, float]:
    """Run the tasks, print each main score and return them by task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--tasks", nargs="+", default=["SciFact"])
    parser.add_argument("--index", choices=INDEXES, default="plaid")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args(words)
    model = models.bundled() if arguments.model == "bundled" else models.ColBERT(arguments.model)
    # Figures of two indexes are two entries: MTEB finds earlier results by this name.
    name = arguments.model if "/" in arguments.model else f"serotine/{Path(arguments.model).name}"
    search_model = SearchModel(model, INDEXES[arguments.index], name=f"{name}-{arguments.index}")
    tasks = [mteb.get_task(task) for task in arguments.tasks]
    if arguments.data is not None:
        for task in tasks:
            folder = arguments.data / task.metadata.name.lower()
            use_local_data(task, evaluation.load_custom_dataset(folder))
    # A local folder may hold other texts than MTEB's: such figures are not kept beside those of the real task.
    options = {"cache": None} if arguments.data is not None else {}
    result = mteb.evaluate(search_model, tasks, show_progress_bar=False, **options)
    scores = {each.task_name: each.get_score() for each in result.task_results}
    for task, score in scores.items():
        print(f"{task}: {score:.5f}")
    return scores


if __name__ == "__main__":
    main()

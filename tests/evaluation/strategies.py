"""Which graded judgements and rankings do the property tests draw?"""

from hypothesis import strategies as st

from serotine.evaluation import Run

document_ids = st.integers(0, 14).map("d{}".format)
query_ids = st.integers(0, 5).map("q{}".format)

# Grades from 0: trec_eval's C code does not return from grades below 0 (seen with pytrec_eval-terrier 0.5.11).
qrels = st.dictionaries(
    query_ids, st.dictionaries(document_ids, st.integers(0, 4), min_size=1, max_size=10), min_size=1, max_size=5
)


@st.composite
def runs(draw, name="drawn"):
    """Draw a run whose scores are few and coarse, so that ties are common; also empty rankings."""
    rankings = {}
    for query in draw(st.lists(query_ids, unique=True, max_size=6)):
        documents = draw(st.lists(document_ids, unique=True, max_size=15))
        scores = draw(
            st.lists(st.sampled_from([0.0, 0.5, 1.0, -2.0]), min_size=len(documents), max_size=len(documents))
        )
        rankings[query] = [{"id": document, "score": score} for document, score in zip(documents, scores, strict=True)]
    return Run.from_results(list(rankings.values()), list(rankings), name=name)

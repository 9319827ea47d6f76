"""Which stored token vectors are nearest to each query token?  Indexes whose hits are reranked or added up."""

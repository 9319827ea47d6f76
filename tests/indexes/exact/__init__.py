"""Tests of serotine.indexes.exact."""

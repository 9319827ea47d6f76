"""Tests of serotine.indexes.pylate."""

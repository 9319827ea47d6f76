"""Tests of serotine.indexes.tokens."""

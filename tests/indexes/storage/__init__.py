"""Tests of serotine.indexes.storage."""

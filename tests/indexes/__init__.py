"""Tests of serotine.indexes."""

"""Tests of serotine.indexes.plaid."""

"""Tests of serotine.rank."""

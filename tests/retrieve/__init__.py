"""Tests of serotine.retrieve."""

"""Tests of serotine.evaluation, one file per module."""

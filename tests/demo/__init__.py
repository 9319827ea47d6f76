"""Tests of serotine.demo."""

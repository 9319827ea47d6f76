"""Contracts with other frameworks; each file is skipped where its framework is not installed."""

"""Candidate operations, by family."""

"""Dots to Cats."""

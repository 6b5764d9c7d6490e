"""Objectives: weighted sums of cross-entropies, their terms, and what each reaches."""

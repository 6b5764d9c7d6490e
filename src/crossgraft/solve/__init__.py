"""Solvers: the convex one with its path, and the one gradient loop."""

"""Tells what the kernel was asked to do: a trace as a story or as JSON, and a chapter per topic.

Imports the model and kernel.trace alone: it knows what an operation is, not which ones there are.
"""

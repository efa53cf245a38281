"""Figures of predictions: values, intervals, curves."""

"""Malformed and odd input, made by code, each with the outcome that it must have."""

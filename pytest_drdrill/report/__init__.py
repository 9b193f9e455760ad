"""Renderings of the evidence record: terminal, HTML, Markdown, JSON, JUnit properties.

Every rendering is a pure function of one record and computes no figure of its own.
"""

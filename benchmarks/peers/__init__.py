"""The servers that Easel is measured against, each written as its library's own documentation shows it.

All take the same JSON and answer the same JSON at the same path, but for BentoML, whose batchable methods take lists.
"""

"""Comparisons that take too long for a lesson: what was computed for them, stored, and how to compute it again.

`networks`: notebook 03. `conditioning`: notebook 04. `store`: what they share.
"""

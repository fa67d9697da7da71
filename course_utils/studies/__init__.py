"""Comparisons that take too long for a lesson: what was computed for them, stored, and how to compute it again.

`networks`: notebook 03. `conditioning`: notebook 04. `autoencoders`: notebook 05. `store`: what they share.
"""

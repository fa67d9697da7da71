"""Comparisons that take too long for a lesson: what was computed for them, stored, and how to compute it again.

`networks`: notebook 03. `conditioning`: notebook 04. `autoencoders`: notebook 05. `adversaries`: notebook 06.
`evaluation` and `league`, whose rows are in `entries`: notebook 07. `fusions`: notebook 08. `fast`: notebook 09.
`styles`: notebook 10. `judge`, `pareto` and `store`: what they share.
"""

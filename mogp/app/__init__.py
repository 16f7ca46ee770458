"""Everything with a screen: the command `mogp`, comparisons, fits of tables, experiments.

From Python, use `mogp.app.comparison`, `mogp.app.fits` and `mogp.app.experiments`.
"""

__all__: list[str] = []

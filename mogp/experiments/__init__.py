"""The experiments of both papers, and more: what `mogp experiment` runs."""

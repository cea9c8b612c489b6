"""The contracts between the areas: the inference protocol, the artifact's manifest, and what a golden result proves."""

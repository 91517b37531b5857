"""Training: one loop, exact resume, guards, and the stages of a recipe."""

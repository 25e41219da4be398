"""The network that a genotype describes."""

"""A generated data set: a woven cloth and a metal washer, with defects."""

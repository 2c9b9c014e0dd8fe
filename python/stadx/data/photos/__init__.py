"""Natural photos for pretraining a teacher: where they lie, and random patches of them."""

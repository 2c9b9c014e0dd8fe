"""Teachers: their files, those that come with stadx, and pretraining further ones on photos."""

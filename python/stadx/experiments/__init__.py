"""What the paper measured, and more, from one command each."""

"""Review of images by a person: the page that needs no server, and what is done with its decisions."""

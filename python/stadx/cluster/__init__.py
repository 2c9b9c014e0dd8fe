"""Work on the many machines of a Ray cluster, with images and results wherever fsspec reaches."""

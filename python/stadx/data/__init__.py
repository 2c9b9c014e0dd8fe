"""Images, data sets in the layouts they are published in, and a generated demo set."""

"""Images, folders in the MVTec AD layout, and a generated demo set."""

"""The paper's tables on categories and on classes, beside the printed ones."""

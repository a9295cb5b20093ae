"""The report of an evaluation in a browser: tables, figures, and samples side by side."""

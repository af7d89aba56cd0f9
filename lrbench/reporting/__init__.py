"""Numbers to pages: tables, plots and text."""

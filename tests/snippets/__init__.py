"""The programs that PyLate's paper, README and documentation print, run with the import changed: a file for each."""

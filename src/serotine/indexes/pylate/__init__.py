"""What is in an index that PyLate wrote, and how does it become one of ours?  Files are read, never executed."""

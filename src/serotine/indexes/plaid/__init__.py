"""How is a compressed index used from Python?  PyLate's API for PLAID over the native engine, which does the work."""

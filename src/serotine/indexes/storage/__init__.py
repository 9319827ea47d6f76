"""How does an index of ours keep documents and their vectors, on disk or in memory, through any failure?"""

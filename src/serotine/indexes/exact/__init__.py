"""How does brute-force search keep its documents, and how does it search them?"""

"""How do other frameworks use Serotine?  One module for each, and what they share; nothing is imported from here.

``from serotine.integrations.langchain import LateInteractionRetriever``, and so on: each module imports its framework
(an extra of the same name) when it is imported.
"""

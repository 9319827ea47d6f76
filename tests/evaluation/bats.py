"""Which small collection is there something to find in?  Twelve texts on three subjects, made for these tests."""

from serotine.evaluation.datasets import Dataset

TEXTS = {
    "serotine": "The serotine is a large bat that leaves its roost late in the evening.",
    "noctule": "Noctules fly fast and high above the trees, before it is fully dark.",
    "echoes": "Bats hear the echoes of their own calls and so find moths in the dark.",
    "cave": "In winter some bats hang from the ceiling of a cold cave and hardly breathe.",
    "bread": "Bread rises because yeast turns sugar into gas that the dough holds.",
    "sourdough": "A sourdough starter is flour and water with wild yeast and bacteria.",
    "crust": "Steam in the oven keeps the crust of a loaf soft until it has risen.",
    "salt": "Salt slows the yeast and gives bread its taste.",
    "tides": "The moon pulls at the sea, and twice a day the tide comes in.",
    "neap": "At half moon, sun and moon pull at right angles and neap tides are weak.",
    "waves": "Waves are made by wind that blows over the water for a long way.",
    "harbour": "Ships wait outside the harbour until the water is high enough.",
}
QUERIES = {
    "hunt": "how do bats find insects at night",
    "late": "which animal flies late in the evening",
    "rise": "why does dough become bigger",
    "soft": "what does steam do when baking a loaf",
    "high": "why does the sea rise and fall",
    "weak": "when are tides the smallest",
}
QRELS = {
    "hunt": {"echoes": 2, "noctule": 1, "serotine": 0},
    "late": {"serotine": 2, "noctule": 1},
    "rise": {"bread": 2, "sourdough": 1},
    "soft": {"crust": 1},
    "high": {"tides": 2, "neap": 1, "harbour": 1},
    "weak": {"neap": 2, "tides": 1},
}
DATASET = Dataset([{"id": key, "text": text} for key, text in TEXTS.items()], QUERIES, QRELS)

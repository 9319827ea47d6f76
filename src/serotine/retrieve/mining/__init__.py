"""Which documents look like the answer to a training query and are not?  Exports are in `serotine.retrieve`."""

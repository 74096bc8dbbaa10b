"""Lines to paste into other tools, for a selection of tweets; without tokens and passwords."""

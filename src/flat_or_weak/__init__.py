"""The code of the book *Flat or Weak?*: its experiments, records, claims and figures."""

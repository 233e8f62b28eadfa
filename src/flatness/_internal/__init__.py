"""What the rooms share and no reader needs: argument rules at the public doors, processes.

* `arguments`: single arguments: what they must be, in a word, and the errors that say so.
* `checks`: what public functions require of their arguments, said once, in a line above the
  function.
* `processes`: independent jobs on several processes, with results that do not depend on how many.
* `rules`: rules that an argument must keep beyond its annotation: shapes, labels, ranges,
  choices.
"""

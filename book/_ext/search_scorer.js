// Definitions first: the glossary, then chapters by their titles; pages of functions, which repeat every word, come after.
var Scorer = {
  score: ([docname, , , , score]) => score + (docname === "book/about/glossary" ? 40 : docname.startsWith("book/api/") ? -20 : 0),
  objNameMatch: 11, objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

// Definitions first: the glossary, then pages whose title has every word that is asked for (the list of all statements
// repeats the chapters' titles as headings, and is no more than their equal); pages of functions, which repeat every
// word, come after.
var Scorer = {
  score: ([docname, title, , , score]) => {
    const words = (new URLSearchParams(location.search).get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const named = words.length && words.every((word) => title.toLowerCase().includes(word));
    return score + (named ? 10 : 0) + (docname === "book/about/glossary" ? 40 : docname.startsWith("book/api/") ? -20 : 0);
  },
  objNameMatch: 11, objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

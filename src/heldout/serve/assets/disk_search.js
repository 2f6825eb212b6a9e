// Search by words over HELDOUT_PAPERS, on pages that were opened from disk.
// Each paper is [file, title, date, verdicts, text]; everything is shown as text, never as HTML.
(() => {
  const MOST = 50;
  const COMMON = new Set(
    "a an and are as at be by can do does for from how i in is it my of on or that the this to was what when which why will with".split(" "),
  );
  const words = (text) => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "").match(/[\p{L}\p{N}]+/gu) ?? [];
  // Endings that differ between a question and a title.
  const stem = (word) => {
    if (word.length < 6) return word.replace(/s$/, "");
    const short = word.replace(/(izations?|izing|ising|isations?|ations?|ings?|ions?|ers?|ed|es|s|e)$/, "");
    return short === word ? word : short.replace(/([^aeiouls])\1$/, "$1");  // grokking, grok
  };

  // Whether two words differ by at most one letter that is wrong, missing, added or swapped.
  const near = (a, b) => {
    if (Math.abs(a.length - b.length) > 1 || Math.min(a.length, b.length) < 4) return false;
    let i = 0;
    while (i < a.length && a[i] === b[i]) i += 1;
    const [x, y] = [a.slice(i), b.slice(i)];
    return x.slice(1) === y.slice(1) || x.slice(1) === y || x === y.slice(1) ||
      (x[0] === y[1] && x[1] === y[0] && x.slice(2) === y.slice(2));
  };

  const counted = (text, weight, into) => {
    for (const word of words(text)) into.set(stem(word), (into.get(stem(word)) ?? 0) + weight);
    return into;
  };
  const papers = HELDOUT_PAPERS.map(([file, title, date, verdicts, text]) => ({
    file, title, date, verdicts, text, counts: counted(text, 1, counted(title, 3, new Map())),
  }));
  const inPapers = new Map();
  for (const paper of papers) for (const word of paper.counts.keys()) inPapers.set(word, (inPapers.get(word) ?? 0) + 1);

  const found = (query) => {
    const asked = [...new Set(words(query).filter((word) => !COMMON.has(word)).map(stem))];
    const scores = new Map();
    for (const word of asked) {
      let known = inPapers.has(word) ? [word] : [...inPapers.keys()].filter((other) => near(word, other));
      if (!known.length && word.length > 3) known = [...inPapers.keys()].filter((other) => other.startsWith(word));
      for (const other of known) {
        const rarity = Math.log(1 + papers.length / inPapers.get(other));
        for (const paper of papers) {
          const count = paper.counts.get(other);
          if (count) scores.set(paper, (scores.get(paper) ?? 0) + rarity * count / (count + 2));
        }
      }
    }
    return [...scores].sort((a, b) => b[1] - a[1]).map(([paper]) => paper);
  };

  const element = (name, css, text) => {
    const made = document.createElement(name);
    if (css) made.className = css;
    if (text) made.textContent = text;
    return made;
  };
  const query = (new URLSearchParams(location.search).get("q") ?? "").trim().slice(0, 300);
  if (!query) return;
  document.getElementById("q").value = query;
  document.getElementById("heading").textContent = `Papers on “${query}”`;
  document.title = `Papers on “${query}” · Heldout`;
  const results = found(query);
  const many = results.length === 1 ? "1 paper" : `${results.length} papers`;
  document.getElementById("count").textContent = results.length
    ? `${many}, by words.${results.length > MOST ? ` The first ${MOST} are shown.` : ""}`
    : "No paper has these words. Where heldout serve runs, search is by meaning as well.";
  const list = document.getElementById("results");
  for (const paper of results.slice(0, MOST)) {
    const card = element("li", "card");
    const heading = element("h2");
    const link = element("a", "", paper.title);
    link.href = paper.file;
    heading.append(link);
    const meta = element("p", "meta");
    meta.append(element("time", "", paper.date), " ", element("span", "", paper.verdicts));
    const text = paper.text.length > 320 ? `${paper.text.slice(0, 320).replace(/\s\S*$/, "")}…` : paper.text;
    card.append(heading, meta, element("p", "summary", text));
    list.append(card);
  }
})();

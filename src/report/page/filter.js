/** What an item is in one view (a method beside base or another one), and which items pass the filters. */
report.OUTCOMES = { method: 'win', base: 'loss', tie: 'tie', failed: 'failed', none: '' };

report.outcomeOf = (item, view) => {
  const verdict = item.verdicts[view.name];
  if (!verdict) return 'none';
  return verdict.failed ? 'failed' : verdict.winner;
};
report.gapOf = (item, view) => {
  const verdict = item.verdicts[view.name];
  return verdict?.winner ? verdict.method - verdict.base : null;
};
report.scoreOf = (item) => item.score?.score ?? null;
report.labelsOf = (item) => Object.entries(item.labels).map(([name, value]) => `${name}: ${value}`);

const SORTS = {
  score: (item) => report.scoreOf(item),
  gap: (item, view) => report.gapOf(item, view),
  js: (item, view) => item.responses[view.method]?.js ?? null,
};

// what is searched, made once for each item
const searched = new Map();
const searchedOf = (item) => {
  let text = searched.get(item);
  if (text === undefined) {
    const answers = Object.values(item.responses).map(({ answer = '' }) => answer);
    text = [item.id, item.query, ...answers].join('\n').toLowerCase();
    searched.set(item, text);
  }
  return text;
};

/**
 * The items to show, in order: of `search` (lower case), `outcome` and `label` ('' for any), scores `from` to `to`
 * (null for any), and `sort`, a name of SORTS with "-" before it for the smallest first, or "order". Items without
 * the value that is sorted by come last.
 */
report.filterItems = (items, view, { search, outcome, label, from, to, sort }) => {
  const rows = items.filter((item) => {
    if (outcome && report.outcomeOf(item, view) !== outcome) return false;
    if (label && !report.labelsOf(item).includes(label)) return false;
    const score = report.scoreOf(item);
    if (from !== null && !(score !== null && score >= from)) return false;
    if (to !== null && !(score !== null && score <= to)) return false;
    return search === '' || searchedOf(item).includes(search);
  });
  const value = SORTS[sort.replace('-', '')];
  if (!value) return rows;
  const sign = sort.startsWith('-') ? -1 : 1;
  const rank = (item) => {
    const read = value(item, view);
    return read === null ? Number.NEGATIVE_INFINITY : sign * read;
  };
  return rows
    .map((item) => ({ item, rank: rank(item) }))
    .sort((a, b) => (a.rank === b.rank ? 0 : b.rank - a.rank))
    .map(({ item }) => item);
};

/** The table of win rates: for each method of each run the full set, then the refined one. */
report.table = (runs) => {
  const { make } = report;
  const rows = runs.flatMap((run) =>
    (run.summary?.comparisons ?? []).flatMap((comparison) =>
      ['full', 'refined'].map((set) => ({ run, comparison, set, rates: comparison[set] })),
    ),
  );
  if (rows.length === 0) return false;
  const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
  const percent = (value) => (typeof value === 'number' ? (100 * value).toFixed(1) : '-');
  const rate = (each) =>
    each ? `${percent(each.value)} [${percent(each.low)}, ${percent(each.high)}]` : '-';
  const both = ({ method, base }) =>
    method === null ? '-' : `${method.toFixed(0)} / ${base === null ? '-' : base.toFixed(0)}`;
  // what is the same in all runs stands above the table, not in it
  const names = [
    ['Run', ({ run }) => run.name],
    ['Model', ({ run }) => run.model],
    ['Data set', ({ run }) => run.dataSet],
    ['Core', ({ run }) => run.core],
    ['Judge', ({ run }) => run.judge ?? 'none'],
  ].filter(([, read]) => new Set(rows.map(read)).size > 1);
  const others = rows.some(({ comparison }) => comparison.against !== 'base');
  const words = [
    ...names,
    ['Method', ({ comparison }) => comparison.method],
    ...(others ? [['Against', ({ comparison }) => comparison.against]] : []),
    ['Set', ({ set }) => set],
  ];
  const numbers = [
    ['n', ({ rates }) => rates.judged],
    ['Win rate % [95%]', ({ rates }) => rate(rates.winRate)],
    ['W / T / L', ({ rates }) => `${rates.wins} / ${rates.ties} / ${rates.losses}`],
    ['Ties as half %', ({ rates }) => percent(rates.tiesAsHalf?.value)],
    ['Approx. %', ({ rates }) => percent(rates.approximate.winRate)],
    ['Sign test p', ({ rates }) => rates.signTestP?.toPrecision(2) ?? '-'],
    ['Failed', ({ rates }) => sum(rates.failures)],
    ['Left out', ({ rates }) => sum(rates.leftOut)],
    ['Pending', ({ comparison }) => comparison.pending],
    ['Words / against', ({ comparison }) => both(comparison.words)],
    ['Tokens / against', ({ comparison }) => both(comparison.tokens)],
  ].filter(
    ([name, read]) => !['Pending', 'Left out'].includes(name) || rows.some((row) => read(row) > 0),
  );
  const whole = new Set(['Pending', 'Words / against', 'Tokens / against']); // not of a set
  const head = [
    ...words.map(([name]) => make('th', { scope: 'col' }, name)),
    ...numbers.map(([name]) => make('th', { scope: 'col', class: 'num' }, name)),
  ];
  const body = rows.map((row) =>
    make(
      'tr',
      { class: row.set },
      ...words.map(([, read]) => make('td', {}, read(row))),
      ...numbers.map(([name, read]) =>
        make(
          'td',
          { class: 'num' },
          row.set === 'refined' && whole.has(name) ? '' : String(read(row)),
        ),
      ),
    ),
  );
  document
    .getElementById('table')
    .append(
      make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...body)),
    );
  return true;
};

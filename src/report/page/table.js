/** The table of win rates: for each method of each run the full set, then the refined one. */
report.table = (runs) => {
  const { make } = report;
  const rows = runs.flatMap((run) =>
    (run.summary?.comparisons ?? []).flatMap((comparison) =>
      ['full', 'refined'].map((set) => ({ run, comparison, set, rates: comparison[set] })),
    ),
  );
  if (rows.length === 0) return false;
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
  const words = [
    ...names,
    ['Method', ({ comparison }) => comparison.method],
    ['Set', ({ set }) => set],
  ];
  const numbers = [
    ['n', ({ rates }) => rates.judged],
    ['Win rate % [95%]', ({ rates }) => rate(rates.winRate)],
    ['W / T / L', ({ rates }) => `${rates.wins} / ${rates.ties} / ${rates.losses}`],
    ['Ties as half %', ({ rates }) => percent(rates.tiesAsHalf?.value)],
    ['Approx. %', ({ rates }) => percent(rates.approximate.winRate)],
    ['Sign test p', ({ rates }) => rates.signTestP?.toPrecision(2) ?? '-'],
    ['Failed', ({ rates }) => Object.values(rates.failures).reduce((sum, count) => sum + count, 0)],
    ['Pending', ({ comparison }) => comparison.pending],
    ['Words / base', ({ comparison }) => both(comparison.words)],
    ['Tokens / base', ({ comparison }) => both(comparison.tokens)],
  ].filter(([name]) => name !== 'Pending' || rows.some(({ comparison }) => comparison.pending > 0));
  const whole = new Set(['Pending', 'Words / base', 'Tokens / base']); // not of a set
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

/** What the runs are, and the table of their results. */
report.about = (runs) => {
  const { make } = report;
  const box = document.getElementById('about');
  for (const run of runs) {
    const facts = make('dl', { class: 'facts' });
    for (const [name, value] of run.facts)
      facts.append(make('dt', {}, name), make('dd', {}, value));
    const failures = run.summary ? failureLines(run.summary) : [];
    for (const [name, value] of failures)
      facts.append(make('dt', {}, name), make('dd', { class: 'bad' }, value));
    const settings = make(
      'details',
      {},
      make('summary', {}, 'Settings'),
      make('pre', { tabindex: '0' }, JSON.stringify(run.settings, null, 1)),
    );
    const title = `${run.name}: ${run.model}${run.summary ? `, ${run.dataSet}, ${run.methods.join(', ')}` : ''}`;
    const card = make('details', { class: 'run' }, make('summary', {}, title), facts, settings);
    card.open = runs.length === 1;
    box.append(card);
  }
};

const told = (failures) =>
  Object.entries(failures)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');

function failureLines({ scores, responses, comparisons }) {
  return [
    ...responses.map(({ method, failures }) => [`Failed: ${method}`, told(failures)]),
    ['Failed: scores', told(scores.failures)],
    ...comparisons.map(({ method, full }) => [`Failed: judging ${method}`, told(full.failures)]),
  ].filter(([, text]) => text !== '');
}

report.table = (runs) => {
  const { make } = report;
  const heading = [
    'Model',
    'Data set',
    'Core',
    'Method',
    'Set',
    'n',
    'Win rate % [95%]',
    'W / T / L',
    'Ties as half %',
    'Approx. %',
    'Sign test p',
    'Failed',
    'Pending',
    'Words (base)',
  ];
  const percent = (value) =>
    value === null || value === undefined ? '-' : (100 * value).toFixed(1);
  const rows = runs.flatMap((run) =>
    (run.summary?.comparisons ?? []).flatMap((comparison) =>
      ['full', 'refined'].map((set) => {
        const rates = comparison[set];
        const { winRate, words = comparison.words } = rates;
        return {
          set,
          cells: [
            run.model,
            run.dataSet,
            run.core,
            comparison.method,
            set,
            rates.judged,
            winRate
              ? `${percent(winRate.value)} [${percent(winRate.low)}, ${percent(winRate.high)}]`
              : '-',
            `${rates.wins} / ${rates.ties} / ${rates.losses}`,
            percent(rates.tiesAsHalf?.value),
            percent(rates.approximate.winRate),
            rates.signTestP === null ? '-' : rates.signTestP.toPrecision(2),
            told(rates.failures) || '0',
            comparison.pending,
            words.method === null ? '-' : `${words.method.toFixed(0)} (${words.base.toFixed(0)})`,
          ],
        };
      }),
    ),
  );
  if (rows.length === 0) return false;
  const cell = (tag) => (text, column) =>
    make(tag, column > 4 ? { class: 'num' } : {}, String(text));
  const head = make('thead', {}, make('tr', {}, ...heading.map(cell('th'))));
  const body = make(
    'tbody',
    {},
    ...rows.map(({ set, cells }) => make('tr', { class: set }, ...cells.map(cell('td')))),
  );
  document.getElementById('table').append(make('table', {}, head, body));
  return true;
};

/** Warnings that nobody may miss, and what each run is. */
report.about = (runs) => {
  const { make } = report;
  const several = runs.length > 1;
  const warnings = [
    ...runs
      .filter(({ standIn }) => standIn)
      .map(({ name }) => `${several ? `${name}: ` : ''}the judge or evaluator is a stand-in.`)
      .map((text) => `${text} Its numbers say nothing of the responses: these are not results.`),
    ...runs
      .filter(({ unfinished }) => unfinished.length > 0)
      .map(({ name, unfinished }) => `Unfinished: ${name} (${unfinished.join('; ')}).`),
  ];
  document
    .getElementById('warnings')
    .append(...warnings.map((text) => make('p', { class: 'banner' }, text)));
  const box = document.getElementById('about');
  for (const run of runs) box.append(card(run, !several));

  function card(run, open) {
    const facts = make('dl', { class: 'facts' });
    const add = (name, value, attributes = {}) =>
      facts.append(make('dt', {}, name), make('dd', attributes, value));
    for (const [name, value] of run.facts) add(name, value);
    for (const [name, value] of run.summary ? failureLines(run.summary) : [])
      add(name, value, { class: 'bad' });
    const last = run.sessions.at(-1);
    if (last) add('Made with', last);
    const folded = (title, content) => make('details', {}, make('summary', {}, title), content);
    const title = `${run.name}: ${run.model}${run.summary ? `, ${run.dataSet}, ${run.methods.join(', ')}` : ''}`;
    const element = make('details', { class: 'run' }, make('summary', {}, title), facts);
    if (run.sessions.length > 1)
      element.append(
        folded(
          `All ${run.sessions.length} sessions`,
          make('ol', { class: 'note' }, ...run.sessions.map((each) => make('li', {}, each))),
        ),
      );
    const settings = JSON.stringify(run.settings, null, 1);
    element.append(folded('Settings', make('pre', { tabindex: '0' }, settings)));
    element.open = open;
    return element;
  }

  function failureLines({ scores, responses, comparisons }) {
    const of = (each) =>
      each
        .map(([method, failures]) => [method, report.failures(failures)])
        .filter(([, text]) => text !== '')
        .map(([method, text]) => `${method} ${text}`)
        .join('; ');
    return [
      ['Failed responses', of(responses.map(({ method, failures }) => [method, failures]))],
      ['Failed scores', report.failures(scores.failures)],
      ['Failed verdicts', of(comparisons.map((each) => [report.nameOf(each), each.full.failures]))],
      ['Left out', of(comparisons.map((each) => [report.nameOf(each), each.full.leftOut]))],
    ].filter(([, text]) => text !== '');
  }
};

/** A view or comparison in words. */
report.nameOf = ({ method, against }) =>
  against === 'base' ? method : `${method} against ${against}`;

/** How many failed of each kind, as text. */
report.failures = (failures) =>
  Object.entries(failures)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');

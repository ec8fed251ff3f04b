/** The item browser: filters, list, the item that is chosen, keys, and the address of an item. */
report.browser = (runs) => {
  const { make } = report;
  const by = (id) => document.getElementById(id);
  const state = { run: 0, view: null, ready: false, wanted: false };
  const list = report.itemList(by('list'), (item) => {
    show();
    remember(item);
  });
  const pane = report.itemPane(by('item'), list.focus);

  /** The traces come last in the page: no item is shown before they are read. */
  function show() {
    if (state.ready) pane.show(list.chosen(), state.view);
  }

  function filter() {
    const { items } = runs[state.run];
    const bound = (id) => (by(id).value === '' ? null : Number(by(id).value));
    const rows = report.filterItems(items, state.view, {
      search: by('search').value.trim().toLowerCase(),
      outcome: by('outcome').value,
      label: by('label').value,
      from: bound('score-from'),
      to: bound('score-to'),
      sort: by('sort').value,
    });
    list.set(rows, state.view);
    by('shown').value = `${rows.length} of ${items.length} items`;
    show();
  }

  const LABELS = 500;
  function openRun(index) {
    state.run = index;
    by('run').value = String(index);
    const run = runs[index];
    by('method').replaceChildren(
      ...run.views.map((view) => make('option', { value: view.name }, report.nameOf(view))),
    );
    const named = (name) => run.views.find((view) => view.name === name);
    setView(named(state.view?.name) ?? named('sda') ?? run.views[0]);
    const labels = [...new Set(run.items.flatMap(report.labelsOf))].sort();
    const all = labels.length > LABELS ? `all (of ${labels.length}, ${LABELS} are listed)` : 'all';
    by('label').replaceChildren(
      make('option', { value: '' }, all),
      ...labels.slice(0, LABELS).map((label) => make('option', { value: label }, label)),
    );
  }

  function setView(view) {
    state.view = view;
    by('method').value = view.name;
  }

  function toView(name) {
    setView(runs[state.run].views.find((view) => view.name === name));
    filter();
    remember(list.chosen());
  }

  /** Keeps the item in the address, for a link to it. */
  function remember(item) {
    if (!item) return;
    const address = new URLSearchParams({ item: item.id, method: state.view.name });
    if (runs.length > 1) address.set('run', String(state.run));
    try {
      history.replaceState(null, '', `#${address}`);
    } catch {
      // some browsers refuse it on disk, or many times in a row: the page works without
    }
  }

  /** From #item=ID&method=NAME&run=N. */
  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const run = Number(wanted.get('run') ?? 0);
    openRun(Number.isInteger(run) && runs[run] ? run : 0);
    const view = runs[state.run].views.find(({ name }) => name === wanted.get('method'));
    if (view) setView(view);
    filter();
    const id = wanted.get('item');
    state.wanted = id !== null && list.find(id);
    if (state.ready) toWanted();
  }

  function toWanted() {
    if (state.wanted) by('items').scrollIntoView();
  }

  by('run').replaceChildren(
    ...runs.map(({ name }, index) => make('option', { value: String(index) }, name)),
  );
  by('run').addEventListener('change', ({ target }) => {
    openRun(Number(target.value));
    filter();
  });
  by('method').addEventListener('change', ({ target }) => toView(target.value));
  for (const id of ['outcome', 'label', 'sort', 'score-from', 'score-to', 'search'])
    by(id).addEventListener('input', filter);
  by('filters').addEventListener('submit', (event) => event.preventDefault());

  function nextView() {
    const { options, selectedIndex } = by('method');
    toView(options[(selectedIndex + 1) % options.length].value);
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || by('keys').open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== 'radio')
      return;
    if (event.key === 'j') list.move(1);
    else if (event.key === 'k') list.move(-1);
    else if (event.key === 'm') nextView();
    else if (event.key === 't') pane.toTokens();
    else if (event.key === '/') by('search').focus();
    else if (event.key === '?') by('keys').showModal();
    else if (!/^[1-9]$/.test(event.key) || !pane.shadeBy(Number(event.key) - 1)) return;
    event.preventDefault();
  });
  window.addEventListener('hashchange', () => {
    if (location.hash.startsWith('#item=')) fromAddress();
  });
  fromAddress();
  return {
    /** The traces are there, and the charts above. */
    ready() {
      state.ready = true;
      show();
      toWanted();
    },
    reshade: () => pane.reshade(),
  };
};

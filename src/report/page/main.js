{
  const { runs, filter } = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;
  root.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.getElementById('filter').textContent = filter;
  document.getElementById('stand-in').hidden = !runs.some(({ standIn }) => standIn);
  report.about(runs);
  // one answer needs no list
  document.body.classList.toggle('solo', runs.length === 1 && runs[0].items.length === 1);
  if (!report.table(runs)) document.getElementById('results').hidden = true;
  const browser = report.browser(runs);
  report.chart('outcome-chart', report.outcomes(runs));
  report.chart('score-chart', report.scores(runs));
  report.chart('js-chart', report.course(runs, 'js', 'JS, nats'));
  report.chart('t-chart', report.course(runs, 'temperature', 'T'));
  document.getElementById('curves').hidden = runs.every(({ courses }) => courses.length === 0);
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = report.dark() ? 'light' : 'dark';
    report.redraw();
    browser.reshade();
  });
  document
    .getElementById('help')
    .addEventListener('click', () => document.getElementById('keys').showModal());
  root.dataset.ready = 'true';
}

{
  const { runs, filter, hottest } = JSON.parse(document.getElementById('data').textContent);
  const page = document.documentElement;
  const by = (id) => document.getElementById(id);
  by('filter').textContent = filter;
  report.scaleTemperature(hottest);
  report.about(runs);
  // one answer needs no list
  const solo = runs.length === 1 && runs[0].items.length === 1;
  document.body.classList.toggle('solo', solo);
  if (solo) {
    by('items-title').textContent = 'Answer';
    by('curves-note').textContent = 'The value at each token of the answer.';
  }
  const judged = report.table(runs);
  const traced = runs.some(({ courses }) => courses.length > 0);
  by('results').hidden = !judged;
  by('curves').hidden = !traced;
  for (const link of document.querySelectorAll('nav a'))
    link.hidden = document.querySelector(link.hash).hidden;
  if (solo) document.querySelector('nav a[href="#items"]').textContent = 'Answer';
  const browser = report.browser(runs);

  const toTheme = (theme) => {
    page.dataset.theme = theme;
    report.redraw();
    browser.reshade();
  };
  by('theme').addEventListener('click', () => toTheme(report.dark() ? 'light' : 'dark'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', ({ matches }) =>
    toTheme(matches ? 'dark' : 'light'),
  );
  by('help').addEventListener('click', () => by('keys').showModal());

  // the table and the list are seen before the charts are drawn and the traces are read
  const painted = new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const charts = painted.then(() => {
    if (judged) {
      report.outcomes(by('outcome-chart'), runs);
      report.scores(by('score-charts'), runs);
    }
    if (traced) report.courses(by('course-charts'), runs);
  });
  const read = new Promise((resolve) => document.addEventListener('DOMContentLoaded', resolve));
  Promise.all([charts, read]).then(() => {
    browser.ready();
    page.dataset.ready = 'true';
  });
}

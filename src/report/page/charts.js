/** Charts are drawn again when the theme or the width changes. */
const drawn = [];

/** Draws what `options` gives into an element; it is called again for another theme. */
report.chart = (element, options) => {
  const chart = echarts.init(element, null, { renderer: 'canvas' });
  const draw = () => chart.setOption({ ...common(), ...options() }, true);
  draw();
  drawn.push({ chart, draw });
};
report.redraw = () => {
  for (const { draw } of drawn) draw();
};
let resizing;
window.addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    for (const { chart, draw } of drawn) {
      chart.resize();
      draw();
    }
  }, 100);
});

const common = () => ({
  animation: false,
  backgroundColor: 'transparent',
  textStyle: { color: report.css('--text') },
});
report.axisStyle = (more) => ({
  axisLabel: { color: report.css('--soft') },
  axisLine: { lineStyle: { color: report.css('--line') } },
  splitLine: { lineStyle: { color: report.css('--line') } },
  nameTextStyle: { color: report.css('--soft') },
  ...more,
});
report.legendStyle = (more = {}) => ({
  textStyle: { color: report.css('--text') },
  pageTextStyle: { color: report.css('--soft') },
  top: 0,
  ...more,
});
report.tooltipStyle = (more = {}) => ({
  trigger: 'axis',
  confine: true,
  backgroundColor: report.css('--panel'),
  borderColor: report.css('--line'),
  textStyle: { color: report.css('--text'), fontSize: 12 },
  ...more,
});

/** An element for a chart in `parent`, with a title where there are several. */
report.chartBox = (parent, { title, told, height }) => {
  const { make } = report;
  const element = make('div', { class: 'chart', role: 'img', 'aria-label': told });
  element.style.height = `${height}px`;
  parent.append(make('figure', {}, title ? make('figcaption', {}, title) : null, element));
  return element;
};

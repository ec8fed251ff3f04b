/**
 * The pictures of the pages, from recorded runs: `recorded/NAME.json` (or .jsonl, a trace), each with its command,
 * processor and date.
 *
 *   node docs/figures/draw.mjs [FOLDER]     default: beside this file
 *
 * To record anew: the command that a file names, its output put in the file's place with "command" and "processor" before
 * it; numbers of one machine and one run only.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BarChart, LineChart, ScatterChart } from 'echarts/charts.js';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components.js';
import { init, use } from 'echarts/core.js';
import { SVGRenderer } from 'echarts/renderers.js';

use([
  BarChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  TitleComponent,
  SVGRenderer,
]);

const HERE = fileURLToPath(new URL('.', import.meta.url));
const [WIDTH, HEIGHT] = [760, 320];
/** Text and lines follow the reader's light or dark scheme, through CSS; colours are readable on both. */
const INK = 'currentColor';
const STYLE =
  '<style>svg{color:#24292f}@media (prefers-color-scheme:dark){svg{color:#e6edf3}}</style>';
const FONT = 'system-ui, sans-serif';
const [BLUE, OCHRE, GREY] = ['#2f81f7', '#c98a2b', '#8a93a0'];

const recorded = (name) => JSON.parse(readFileSync(join(HERE, 'recorded', name), 'utf8'));
/** What every picture says below its title */
const source = ({ command, processor, date }) => `${command}\n${processor}, ${date}`;

const label = { fontSize: 12, color: INK };
const axis = (name, more = {}) => ({
  name,
  nameLocation: 'middle',
  nameTextStyle: label,
  nameGap: 30,
  axisLabel: label,
  axisLine: { lineStyle: { color: INK, opacity: 0.4 } },
  splitLine: { lineStyle: { color: INK, opacity: 0.12 } },
  ...more,
});

function draw(title, said, option) {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  chart.setOption({
    animation: false,
    backgroundColor: 'transparent',
    textStyle: { fontFamily: FONT, color: INK },
    title: {
      text: title,
      subtext: said,
      left: 16,
      top: 8,
      textStyle: { fontSize: 15, fontWeight: 600, color: INK, fontFamily: FONT },
      subtextStyle: { fontSize: 10, lineHeight: 15, color: INK, fontFamily: FONT },
    },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg.replace('>', `>${STYLE}`);
}

/** Bars with their numbers, the first on top; in blue what this package does */
function bars(run, title, unit, rows) {
  const fromBelow = [...rows].reverse();
  return draw(title, source(run), {
    grid: { left: 250, right: 180, top: 84, bottom: 48 },
    xAxis: axis(unit, { type: 'value' }),
    yAxis: { type: 'category', data: fromBelow.map(({ name }) => name), axisLabel: label },
    series: {
      type: 'bar',
      barWidth: 22,
      data: fromBelow.map(({ value, ours, told }) => ({
        value,
        itemStyle: { color: ours ? BLUE : GREY },
        label: { formatter: told },
      })),
      label: { show: true, position: 'right', fontSize: 13, color: INK },
    },
  });
}

/** A step's time as a bar: plain, SDA, and SDA in two forwards */
function step() {
  const run = recorded('step.json');
  const rows = Object.entries(run.tokensPerSecond).map(([name, speed]) => {
    const value = 1000 / speed;
    const told = `${value.toFixed(1)} ms, ${speed.toFixed(1)} tokens/s`;
    return { name, value, told, ours: name.includes('one forward') };
  });
  const title = `A decode step of ${run.model}`;
  return bars(run, title, 'ms a step (shorter is better)', rows);
}

/** Tokens a second beside other implementations */
function peers() {
  const run = recorded('peers.json');
  const rows = Object.entries(run.tokensPerSecond).map(([name, value]) => ({
    name,
    value,
    told: value.toFixed(1),
    ours: name.includes('here'),
  }));
  return bars(run, `Decoding ${run.model}`, 'tokens a second (longer is better)', rows);
}

/** JS and T along an answer */
function answer() {
  const [header, ...steps] = readFileSync(join(HERE, 'recorded', 'answer.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const series = (name, key, color, yAxisIndex) => ({
    name,
    type: 'line',
    yAxisIndex,
    symbol: 'none',
    lineStyle: { color, width: 2 },
    itemStyle: { color },
    data: steps.map((each) => each[key]),
  });
  const right = { position: 'right', splitLine: { show: false } };
  return draw('JS and T along an answer', source(header), {
    legend: { right: 16, top: 8, textStyle: label },
    grid: { left: 64, right: 64, top: 84, bottom: 48 },
    xAxis: axis('token', { type: 'category', data: steps.map(({ step: number }) => number) }),
    yAxis: [
      axis('JS, nats', { type: 'value', nameGap: 40 }),
      axis('T', { type: 'value', min: 0, ...right }),
    ],
    series: [series('JS', 'js', OCHRE, 0), series('T', 'temperature', BLUE, 1)],
  });
}

/** How far each type of weights is from the first, by its bits */
function bits() {
  const run = recorded('bits.json');
  const [first, ...others] = run.dtypes;
  const places = (key) =>
    others.map(({ dtype, weight_bytes, accuracy }) => ({
      name: dtype,
      value: [(16 * weight_bytes) / first.weight_bytes, accuracy[key]],
    }));
  const series = (name, key, color, position) => ({
    name,
    type: 'scatter',
    symbolSize: 12,
    itemStyle: { color },
    data: places(key),
    label: {
      show: true,
      position,
      ...label,
      formatter: ({ data }) => `${data.name} ${data.value[1].toPrecision(2)}`,
    },
  });
  return draw("How far quantised weights are from bfloat16's", source(run), {
    legend: { right: 16, top: 8, textStyle: label },
    grid: { left: 76, right: 64, top: 84, bottom: 48 },
    xAxis: axis('bits a weight', { type: 'value', min: 4, max: 10 }),
    yAxis: axis('KL, nats a token', { type: 'value', nameGap: 54, min: 0, max: 0.006 }),
    series: [
      series('P1', 'kl_base', GREY, 'bottom'),
      series("P', of SDA", 'kl_steered', BLUE, 'top'),
    ],
  });
}

/** By the name of their files */
export const PICTURES = { step, answer, peers, bits };

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2] ?? HERE;
  for (const [name, picture] of Object.entries(PICTURES)) {
    writeFileSync(join(folder, `${name}.svg`), picture());
  }
}
